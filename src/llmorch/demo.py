"""The demonstration: a text becomes a reading guide, with parallel branches, a map over its sections and a join."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from pydantic import BaseModel

from .config.environment import MODEL_VARIABLE, default_model
from .definition.functions import step
from .definition.node import each
from .errors import AuthenticationFailed, BadRequest, LLMOrchError, MissingCredential
from .event_lines import to_line
from .hooks.progress import Progress
from .models.block import Block
from .models.payload import Payload
from .orchestrator import Orchestrator
from .report_view import span, spent
from .workflow import Workflow

if TYPE_CHECKING:
    from .run import Run

__all__ = ["Mistake", "Section", "demo", "reading_guide", "split_sections"]

OFFLINE = "offline:auto"
ARTICLE = "lighthouses.md"
EXAMPLE_MODEL = "openai:gpt-5-mini"

_MAX_BYTES = 2_000_000
_MOST_SECTIONS = 24
_LEAST_WORDS = 150  # of a section of a text without headings
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_USERS = (BadRequest, AuthenticationFailed, MissingCredential)


class Mistake(Exception):
    """Something the user can put right; its text says how."""


class Section(BaseModel):
    """A part of the text."""

    title: str
    text: str


@step(pure=True)
def split_sections(text: str) -> list[Section]:
    """The parts of a text: one for each Markdown heading; without headings, runs of paragraphs of similar length."""
    marks = list(_HEADING.finditer(text))
    if len(marks) > 1:
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        found = [
            Section(title=mark[1], text=text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
        ]
        before = text[: marks[0].start()].strip()
        found = [*([Section(title="Beginning", text=before)] if before else []), *found]
    else:
        found = _by_length(text)
    return _merged([section for section in found if section.text])


def _by_length(text: str) -> list[Section]:
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    enough = max(_LEAST_WORDS, len(text.split()) // _MOST_SECTIONS + 1)
    parts: list[list[str]] = [[]]
    for paragraph in paragraphs:
        if sum(len(part.split()) for part in parts[-1]) >= enough:
            parts.append([])
        parts[-1].append(paragraph)
    return [Section(title=f"Part {at}", text="\n\n".join(part)) for at, part in enumerate(parts, 1)]


def _merged(sections: list[Section]) -> list[Section]:
    """Neighbours put together until there are few enough."""
    size = -(-len(sections) // _MOST_SECTIONS) or 1
    groups = [sections[at : at + size] for at in range(0, len(sections), size)]
    return [
        group[0]
        if len(group) == 1
        else Section(title=f"{group[0].title} to {group[-1].title}", text="\n\n".join(one.text for one in group))
        for group in groups
    ]


@step(pure=True)
def count_words(text: str, sections: list[Section]) -> str:
    """The size of the text in words."""
    words = len(text.split())
    minutes = max(1, round(words / 230))
    return f"{words:,} words in {_many(len(sections), 'section')}, about {_many(minutes, 'minute')} to read"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


@step(pure=True)
def write_guide(
    *,
    title: str,
    size: str,
    abstract: str,
    keywords: str,
    questions: str,
    sections: list[Section],
    summaries: list[str],
) -> str:
    """Everything together as one Markdown page."""
    parts = [f"# {title}", f"*{size}*", abstract, f"**Keywords:** {keywords}", f"**To think about**\n\n{questions}"]
    parts += [f"## {section.title}\n\n{summary}" for section, summary in zip(sections, summaries, strict=True)]
    return "\n\n".join(parts)


def reading_guide() -> Workflow[str]:
    """The workflow of the demonstration; its one input is `text`."""
    voice = Block("voice", "You write plainly and only from the text you are given.", role="system")
    summary = Payload("summary", voice, "Summarize this section in two sentences:\n\n{{ section.text }}")
    keywords = Payload(
        "keywords",
        voice,
        "Give the eight keywords of this text, separated by commas and nothing else:\n\n"
        "{{ text | truncate_tokens(30000) }}",
    )
    questions = Payload(
        "questions",
        voice,
        "Write three questions about this text for a reading group, as a numbered list and nothing else:\n\n"
        "{{ text | truncate_tokens(30000) }}",
    )
    abstract = Payload(
        "abstract", voice, "Summarize these notes in four sentences, as one paragraph:\n\n{{ summaries | bullets }}"
    )
    title = Payload(
        "title", voice, "Give one title of at most eight words, and nothing else, for the text of:\n\n{{ abstract }}"
    )

    workflow: Workflow[str] = Workflow("reading-guide", description="A text's title, abstract, keywords and summaries.")
    workflow.input("text", str, description="The text to read.")
    sections = workflow.add(split_sections, name="sections")
    workflow.add(count_words, name="size")
    workflow.add(keywords)
    workflow.add(questions)
    workflow.map(summary, name="summaries", section=each(sections), concurrency=8)
    workflow.add(abstract)
    workflow.add(title)
    return workflow.returns(workflow.add(write_guide, name="guide"))


def demo(file: Path | None, *, model: str | None = None, out: Path) -> int:
    """Run the demonstration and print it; the exit code is 0, 1 for a failed run, 2 for a mistake of the user.

    Args:
        file: The text to read; None for the article that comes with llmorch.
        model: A model's id; None for `LLMORCH_MODEL`, else the offline provider.
        out: The folder for the report and the event log; made when it is missing.

    Raises:
        Mistake: The file, the model or the folder cannot be used; nothing was sent.
    """
    name, text = _read(file)
    chosen = model or default_model()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"the folder {out} cannot be made ({error.strerror}); name another one with --out") from error
    print(f"llmorch demo: a reading guide to {name} ({len(text.split()):,} words)")
    print(f"Model: {chosen}" if chosen else _offline_notice(file))
    print()
    return anyio.run(_carry_out, text, chosen or OFFLINE, out)


def _offline_notice(file: Path | None) -> str:
    argument = f" {file}" if file is not None else ""
    return (
        f"Model: {OFFLINE}. That is no language model: it picks sentences and words out of the text itself, needs no\n"
        "key and no network, and shows how a workflow runs. On a real model:\n\n"
        f"    OPENAI_API_KEY=... python -m llmorch demo{argument} --model {EXAMPLE_MODEL}\n\n"
        f"(or set {MODEL_VARIABLE} once)"
    )


async def _carry_out(text: str, model: str, out: Path) -> int:
    workflow = reading_guide()
    progress = Progress()
    lines: list[str] = []
    async with Orchestrator(model=model) as orchestrator:
        try:
            orchestrator.catalog.resolve(model)
        except LookupError as error:
            raise Mistake(str(error)) from error
        print(orchestrator.plan(workflow, text=text))
        print(flush=True)
        handle = await orchestrator.start(workflow, text=text)
        async for event in handle.events():
            await progress.on_event(event)
            if event.seq is not None:
                lines.append(to_line(event))
        run = await handle.result()
    report, log = out / "report.md", out / "events.jsonl"
    try:
        report.write_text(run.report(), encoding="utf-8")
        log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise Mistake(
            f"{error.filename} cannot be written ({error.strerror}); name another folder with --out"
        ) from error
    return _print_result(run, (report, log))


def _print_result(run: Run[str], written: Sequence[Path]) -> int:
    sys.stderr.flush()
    print()
    if run.error is None:
        print(run.output)
    used = run.usage
    print()
    print("-" * 72)
    print(f"Status    {run.status}")
    print(f"Calls     {used.requests:,}")
    print(f"Tokens    {used.input_tokens:,} in, {used.output_tokens:,} out")
    print(f"Cost      {spent(run.cost)}{' (a price is missing)' if run.cost is None else ''}")
    print(f"Duration  {span(run.duration)}")
    print(f"Report    {written[0]}")
    print(f"Events    {written[1]}", flush=True)
    if run.error is None:
        return 0
    print(f"\nllmorch demo: the run {run.status}: {_reason(run.error)}", file=sys.stderr)
    return 2 if isinstance(run.error, _USERS) else 1


def _reason(error: LLMOrchError) -> str:
    text = str(error)
    return text if error.step is None or error.step in text else f"step {error.step!r}: {text}"


def _read(file: Path | None) -> tuple[str, str]:
    """The name and text of the file to read."""
    if file is None:
        return ARTICLE, _article()
    try:
        size = file.stat().st_size
        content = file.read_bytes() if size <= _MAX_BYTES else b""
    except OSError as error:
        raise Mistake(
            f"{file} cannot be read ({error.strerror}); name a text file, or none for the article of llmorch"
        ) from error
    if size > _MAX_BYTES:
        raise Mistake(f"{file} has {size:,} bytes and the demo reads {_MAX_BYTES:,} at most; name a shorter text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mistake(f"{file} is no UTF-8 text (byte {error.start}); name a text file, or convert it first") from error
    if "\0" in text:
        raise Mistake(f"{file} is a binary file; name a text file")
    if not any(character.isalpha() for character in text):
        raise Mistake(f"{file} holds no words; name a file with a text in it")
    return file.name, text


def _article() -> str:
    """The article of the package, or of the source tree when llmorch runs from there."""
    shipped = files("llmorch") / "_data" / ARTICLE
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    source = Path(__file__).parents[2] / "examples" / "data" / ARTICLE
    if not source.is_file():
        raise Mistake("this installation of llmorch has no article; install it again, or name a text file")
    return source.read_text(encoding="utf-8")
