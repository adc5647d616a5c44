"""The fault table in words, as `docs/faults.md`; `python -m tests.wire.fault_page` writes it anew."""

from __future__ import annotations

from pathlib import Path

from llmorch.testing.dialects import DIALECTS
from tests.wire.fault_table import BODIES, CONNECTIONS, STATUSES, STREAMS, Answers, Fault, Outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
_PREFACE = """# Faults

What a call does when the network or the server fails, in every dialect (OpenAI's, Anthropic's, Gemini's, Ollama's),
whether the answer comes whole or as a stream. The tests play each row on raw sockets, over both transports and both
async backends, and compare class, attempts and waits; a good call on the same provider follows each.

*Attempts* are the calls made in all under the default [`Retry`](running.md): 4 at most, with waits of up to 0.5, 1 and
2 seconds between them (and at least half of that), or what the server asks for, if that is longer. Attempts of 1 mean
that nothing is tried again. After the last attempt its error is raised, with the first one as `.first`.

A row without a dialect's name holds for all four; a dialect that a row leaves out has no such fault.
"""


def as_page() -> str:
    """The table in words."""
    parts = [_PREFACE]
    for title, faults in (
        ("Statuses", STATUSES),
        ("Answers under status 200", BODIES),
        ("Connections", CONNECTIONS),
        ("Streams", STREAMS),
    ):
        parts.append(f"## {title}\n\n| the server | whole | stream |\n|---|---|---|")
        parts += [f"| {fault.words} | {_cell(fault, 'whole')} | {_cell(fault, 'stream')} |" for fault in faults]
        parts.append("")
    parts.append(
        "A stream cut at any byte before the end of its terminal event is `StreamTruncated`; after it, an answer.\n"
    )
    parts.append(
        "While a row that sends too much is played (the gzip bomb, 100 MB, a line without end), the call holds at most "
        "64 MiB.\n"
    )
    return "\n".join(parts)


def _cell(fault: Fault, mode: str) -> str:
    """The outcome, by dialect where they differ."""
    by_outcome: dict[str, list[str]] = {}
    for dialect in DIALECTS:
        outcome = fault.outcome(dialect, mode)
        if outcome is not None:
            strict = fault.outcome(dialect, mode, aiohttp=True)
            words = _in_words(outcome)
            if strict is not None and strict != outcome:
                words += f" (over aiohttp: {_in_words(strict)})"
            by_outcome.setdefault(words, []).append(dialect)
    if not by_outcome:
        return "-"
    if sum(map(len, by_outcome.values())) == len(DIALECTS) and len(by_outcome) == 1:
        return next(iter(by_outcome))
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in by_outcome.items())


def _in_words(outcome: Outcome) -> str:
    if isinstance(outcome, Answers):
        what = f"answered with `{outcome.text.encode('unicode_escape').decode()}`" if outcome.text else "answered"
        calls = "".join(f", arguments `{arguments}` as they are" for arguments in outcome.arguments)
        return f"{what}{calls}{'' if outcome.has_usage else ', usage estimated'}"
    waits = "" if outcome.hint is None else f", waits of at least {outcome.hint[1]:g} s"
    spent = " with `spend_limit`" if outcome.spent else ""
    return f"`{outcome.error.__name__}`{spent}, {outcome.attempts} attempt{'s'[: outcome.attempts > 1]}{waits}"


if __name__ == "__main__":
    PAGE.write_text(as_page(), encoding="utf-8")
