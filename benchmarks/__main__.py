"""`python -m benchmarks [row ...]`: measure and print one table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from .rows import ROWS, measured
from .table import Machine, Result, Target, load, markdown, text

_COMMAND = "python -m benchmarks --markdown > docs/benchmarks.md"
_NOTES = """\
Each row is measured in a process of its own, several times and in turn with its floor; the best of each counts, and
for chat calls the turn whose ratio is in the middle. Times are CPU time of the measuring process unless the row says
wall. The mock server of the HTTP rows is another process on the same machine. Absolute figures drift with the machine
and with what else it does (its load is given above); compare the ratios. Targets in seconds were set on a machine on
which a task of a TaskGroup takes 2.7 us and a bare aiohttp call 88 us, 32 at once: where the floors are dearer, all is.
A row that stands twice is one figure beside two floors. `met` compares the target with the figure, with its ratio
(`x`), or with what it adds (`floor +`). Widths grow a little faster than linearly, in bare asyncio too, because
Python's garbage collector walks more live objects; the row without it shows the engine's own growth."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 whether or not targets are met, 1 when a row could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Figures beside the raw floor of the same run."
    )
    parser.add_argument("rows", nargs="*", metavar="row", help=f"any of {', '.join(ROWS)}; default all")
    parser.add_argument("--markdown", action="store_true", help="print a page for the documentation")
    parser.add_argument("--json", action="store_true", help="measure in this process and print JSON lines")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    names = options.rows or list(ROWS)
    if options.json:
        for name in names:
            for result in measured(name):
                print(json.dumps(asdict(result)))
        return 0
    return _table(names, as_page=options.markdown)


def _table(names: Sequence[str], *, as_page: bool) -> int:
    began, busy = time.perf_counter(), load()
    results: list[Result] = []
    failed: list[str] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = _apart(name)
        if found is None:
            failed.append(name)
        else:
            results += found
    machine = (
        *Machine.this().lines,
        f"load average {busy} before, {load()} after, {time.perf_counter() - began:.0f} s in all",
    )
    print(_page(results, machine) if as_page else "\n".join((*machine, "", text(results))))
    for name in failed:
        print(f"row {name!r} could not be measured; see above", file=sys.stderr)
    return 1 if failed else 0


def _apart(name: str) -> list[Result] | None:
    done = subprocess.run([sys.executable, "-m", __package__, "--json", name], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return None
    return [read(json.loads(line)) for line in done.stdout.splitlines()]


def read(fields: dict[str, object]) -> Result:
    target = fields.pop("target")
    return Result(**fields, target=Target(**target) if isinstance(target, dict) else None)  # type: ignore[arg-type]  # our own JSON


def _page(results: Sequence[Result], machine: Sequence[str]) -> str:
    lines = "\n".join(f"- {line}" for line in machine)
    return f"# Benchmarks\n\n```console\n$ {_COMMAND}\n```\n\n{lines}\n\n{markdown(results)}\n\n{_NOTES}"


if __name__ == "__main__":
    sys.exit(main())
