"""Writes `docs/reliability-report.md` from the figures that the long form of the proofs has kept.

`LLMORCH_LONG=1 pytest tests/durability`, then `python -m tests.durability.report`. Nothing is typed by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT
from tests.durability.results import RESULTS

__all__ = ["main", "page", "results_in"]

Result = Mapping[str, Any]  # Any: figures as the proofs kept them
_FAULTS = ("lost", "changed", "repeated", "stuck")
_KNOWN = (
    "proof", "store", "fixture", "seed", "runs", "kills", "seconds", "version",
    "kernel", "machine", "python", "sqlite", "file_system", *_FAULTS,
)  # fmt: skip
_MUTANTS = "mutants"
_ABOUT_MUTANTS = """\
## Mutants

Tests that cannot fail prove nothing. `nox -s mutants` puts these bugs into a copy of the package, one after the other,
and carries out the tests that must notice them: {caught} of {count} were noticed.
"""
_HEAD = """\
# Reliability report

This page is written by `python -m tests.durability.report` from the figures that the proofs keep when they are carried
out in their long form. To do it again:

```sh
nox -s durability
python -m tests.durability.report
```

`LLMORCH_RESULTS` names the folder the figures are kept in, `LLMORCH_KILLS` and `LLMORCH_POSTGRES_KILLS` how many random
kills there are on each store, `LLMORCH_KILL_SEED` a seed of the table to repeat.

A process that carries out a workflow is killed with `SIGKILL`, up to three times in a row: at a random moment, after a
line that it wrote, when the model server has its request or just after the answer, or instead of a write to the file
of its store. Another process then finishes the run. What it asks people is answered from a process that has no code of
the workflow: wrongly, rightly by two at once, and once more when it is too late; exactly one answer may count. Counted
is every

- **lost** record: an event, an acknowledged run, or the start of a request that reached the server, that is not there;
- **changed** record: an event, a value, a sum or a result that is not, byte for byte, that of an uninterrupted run;
- **repeated** record: a request or function whose result was recorded, or more requests than were in flight at kills;
- **stuck** run: the next process could not go on, or something was left behind, be it a process of a script.

What was sent is known from the model server's own book, not from the store. `SIGKILL` does not take the system's memory
away, so it says nothing about a loss of power; what is traced instead is that no request leaves before the system has
answered the sync of its start. That what was synced is there afterwards is for the disk and its file system to keep.
"""


def results_in(folder: Path) -> list[Result]:
    """What was kept in a folder; of one proof, store and fixture the last."""
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    kept: dict[tuple[Any, ...], Result] = {}
    for line in lines:
        result: Result = json.loads(line)
        key = tuple(result.get(name) for name in ("proof", "store", "fixture"))
        kept.pop(key, None)
        kept[key] = result
    return list(kept.values())


def page(results: Sequence[Result]) -> str:
    """The page for these results."""
    mutants = [result for result in results if result["proof"] == _MUTANTS]
    results = [result for result in results if result["proof"] != _MUTANTS]
    parts = [_HEAD, "## In all", _totals(results), "## Where it was carried out", _places([*results, *mutants])]
    for proof in dict.fromkeys(result["proof"] for result in results):
        parts += [
            f"## {proof[:1].upper()}{proof[1:]}",
            _rows([result for result in results if result["proof"] == proof]),
        ]
    if mutants:
        parts += [_ABOUT_MUTANTS.format(caught=_caught(mutants), count=len(mutants)), _mutants(mutants)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _caught(mutants: Sequence[Result]) -> int:
    return sum(mutant["outcome"] == "caught" for mutant in mutants)


def _mutants(mutants: Sequence[Result]) -> str:
    """A row for each bug that was put into the code."""
    rows: list[Sequence[object]] = []
    for mutant in mutants:
        told = mutant["told"].replace("|", "\\|").replace("\n", " ")
        noticed = told if mutant["outcome"] == "caught" else f"**{mutant['outcome']}**: {told}"
        rows.append((mutant["fixture"], mutant["file"], mutant["breaks"], noticed, mutant["seconds"]))
    return _table(("mutant", "in", "what it breaks", "the test that notices it", "seconds"), rows)


def _totals(results: Sequence[Result]) -> str:
    head = ("proof", "store", "runs", "kills", *_FAULTS, "seconds")
    rows: list[Sequence[object]] = []
    for proof, store in dict.fromkeys((result["proof"], result.get("store", "")) for result in results):
        same = [result for result in results if (result["proof"], result.get("store", "")) == (proof, store)]
        sums = [_sum(same, name) for name in ("runs", "kills", *_FAULTS)]
        rows.append((proof, store, *sums, _sum(same, "seconds")))
    return _table(head, rows)


def _sum(results: Iterable[Result], name: str) -> str:
    found = [result[name] for result in results if result.get(name) is not None]
    total = sum(found)
    return "" if not found else f"{total:.0f}" if name == "seconds" else f"{total}"


def _places(results: Sequence[Result]) -> str:
    head = ("store", "kernel", "machine", "file system", "Python", "SQLite", "server")
    rows = dict.fromkeys(
        tuple(
            str(result.get(name) or "")
            for name in ("store", "kernel", "machine", "file_system", "python", "sqlite", "version")
        )
        for result in results
    )
    return _table(head, list(rows))


def _rows(results: Sequence[Result]) -> str:
    """A table of one proof; figures of its own have columns of their own."""
    own = list(dict.fromkeys(name for result in results for name in result if name not in _KNOWN))
    usual = ("store", "fixture", "seed", "runs", "kills", *_FAULTS)
    head = [name for name in (*usual, *own, "seconds") if any(result.get(name) is not None for result in results)]
    return _table(head, [[result.get(name, "") for name in head] for result in results])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def main(folder: Path = RESULTS) -> None:
    """Write the page."""
    if not (folder / "results.jsonl").exists():
        sys.exit("no figures were kept; carry the long form out first: LLMORCH_LONG=1 pytest tests/durability")
    (ROOT / "docs" / "reliability-report.md").write_text(page(results_in(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
