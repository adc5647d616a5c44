"""Puts one mutant after the other into a copy of the package, and sees whether the tests notice.

First the tests must pass with the copy as it is. A mutant is caught when every test that the table names for it fails
in the test, by an assertion or another error; it is not when the package cannot be imported, and not when the tests
have to be ended because they hang.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.tree import ROOT
from tests.durability.results import keep
from tests.mutants.mutant import PACKAGE, Mutant, Unfit
from tests.mutants.mutants import MUTANTS
from tests.mutants.witness import ORDERS, base_of

__all__ = ["Copy", "Verdict", "main", "tried"]

_LIMIT_S = 150.0
_SOUND_LIMIT_S = 900.0
_SEEDS = {"LLMORCH_KILL_SEED": "7"}  # so that a mutant that is caught today is caught tomorrow
_BROKEN = frozenset({"ImportError", "ModuleNotFoundError", "SyntaxError", "UsageError"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        outcome: `caught`, `survived`, `unfit` (the table is out of date), or `not tried` where its tests cannot run.
        told: What the tests said, or why there is no answer.
        seconds: How long its tests took.
    """

    mutant: Mutant
    outcome: str
    told: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Said:
    """What became of one test with one set of parameters; see `witness`."""

    test: str
    outcome: str
    when: str
    error: str
    why: str

    @property
    def is_noticed(self) -> bool:
        """Whether the test has noticed something, and not only failed to begin."""
        return self.outcome == "failed" and self.when == "call" and self.error not in _BROKEN


class Copy:
    """A copy of the package in a folder of its own, and the tests of this project as processes that import it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.package = folder / "src" / "llmorch"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def put(self, file: str, text: str) -> None:
        """Write a file of the package; no bytecode of what stood there before is left."""
        path = self.package / file
        path.write_text(text, encoding="utf-8")
        for old in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            old.unlink()

    def asked(self, tests: Sequence[str], *, file: str, limit_s: float) -> tuple[list[_Said], str]:
        """What the tests say, and what is wrong when they could not all be asked.

        Args:
            file: Of the package; it must be imported from this copy.
        """
        told = self._folder / "told"
        told.unlink(missing_ok=True)
        module = ".".join(("llmorch", *Path(file).with_suffix("").parts)).removesuffix(".__init__")
        orders = {"package": str(self.package), "module": module, "told": str(told)}
        paths = (self.package.parent, ROOT)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LLMORCH_")},
            **_SEEDS,
            ORDERS: json.dumps(orders),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.witness"]
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [*command, *tests], cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            output.seek(0)
            shown = output.read().decode(errors="replace").strip()[-2000:]
        said = (
            [_Said(**json.loads(line)) for line in told.read_text(encoding="utf-8").splitlines()]
            if told.exists()
            else []
        )
        if code is None:
            return said, f"the tests did not end within {limit_s:g} s"
        return said, "" if code in (0, 1) else f"pytest ended with {code}: {shown}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started; it is the first of a group of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tried(mutants: Iterable[Mutant], copy: Copy, *, skipped: dict[str, str]) -> Iterator[Verdict]:
    """A verdict for each mutant.

    Args:
        skipped: Tests that cannot run here -> why; the others of a mutant are asked all the same.
    """
    for mutant in mutants:
        tests = [test for test in mutant.caught_by if test not in skipped]
        if not tests:
            yield Verdict(mutant, "not tried", skipped[mutant.caught_by[0]], 0.0)
            continue
        try:
            changed = mutant.applied(copy.package)
        except Unfit as error:
            yield Verdict(mutant, "unfit", str(error), 0.0)
            continue
        began, sound = time.monotonic(), (copy.package / mutant.file).read_text(encoding="utf-8")
        copy.put(mutant.file, changed)
        try:
            said, trouble = copy.asked(tests, file=mutant.file, limit_s=_LIMIT_S)
        finally:
            copy.put(mutant.file, sound)
        yield _verdict(mutant, tests, said, trouble=trouble, seconds=time.monotonic() - began)


def _verdict(mutant: Mutant, tests: Sequence[str], said: Sequence[_Said], *, trouble: str, seconds: float) -> Verdict:
    noticed = [one for one in said if one.is_noticed]
    missed = [test for test in tests if not any(_is_of(one.test, test) for one in noticed)]
    if not missed and not trouble:
        return Verdict(mutant, "caught", noticed[0].why.partition("\n")[0], seconds)
    others = [f"{one.test}: {one.why}" for one in said if one.outcome == "failed" and one not in noticed]
    told = "; ".join([*(f"{test} does not notice it" for test in missed), trouble, *others])
    return Verdict(mutant, "survived", told.strip("; "), seconds)


def _is_of(node: str, test: str) -> bool:
    """Whether a test with its parameters is the one that is named with or without them."""
    return node == test or base_of(node) == test


def _sound(mutants: Sequence[Mutant], copy: Copy) -> dict[str, str]:
    """Ask the tests while there is no mutant; tests that cannot run here -> why.

    Raises:
        SystemExit: One fails.
    """
    tests = sorted({test for mutant in mutants for test in mutant.caught_by})
    began = time.monotonic()
    said, trouble = copy.asked(tests, file="__init__.py", limit_s=_SOUND_LIMIT_S)
    faults = [f"{one.test}: {one.why}" for one in said if one.outcome == "failed"]
    unheard = [test for test in tests if not any(_is_of(one.test, test) for one in said)]
    faults += [f"{test} was not found" for test in unheard] if not trouble else [trouble]
    if faults:
        sys.exit("\n".join(["without a mutant the tests must pass:", *faults]))
    ran = {test for test in tests if any(_is_of(one.test, test) and one.outcome == "passed" for one in said)}
    print(f"without a mutant {len(ran)} of {len(tests)} tests pass ({time.monotonic() - began:.0f} s)", flush=True)
    return {test: next(one.why for one in said if _is_of(one.test, test)) for test in tests if test not in ran}


def main() -> None:
    """Try the mutants that are named, or all; exit code 1 when one survives or the table is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; none: all")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in MUTANTS]
    if unknown:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    chosen = [MUTANTS[name] for name in options.names] or list(MUTANTS.values())
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:28} {mutant.file}: {mutant.breaks}")
        return
    with tempfile.TemporaryDirectory(prefix="llmorch-mutants-") as folder:
        copy = Copy(Path(folder))
        verdicts = []
        for verdict in tried(chosen, copy, skipped=_sound(chosen, copy)):
            verdicts.append(verdict)
            print(f"{verdict.outcome:9} {verdict.seconds:5.1f} s  {verdict.mutant.name:28} {verdict.told}", flush=True)
            _keep(verdict)
    count = Counter(verdict.outcome for verdict in verdicts)
    shown = ", ".join(f"{outcome}: {times}" for outcome, times in count.items())
    print(f"{len(verdicts)} mutants in {sum(verdict.seconds for verdict in verdicts):.0f} s; {shown}")
    if count["survived"] or count["unfit"]:
        sys.exit(1)


def _keep(verdict: Verdict) -> None:
    """Keep a line for the report."""
    mutant = verdict.mutant
    tests = ", ".join(test.rpartition("::")[2].replace("_", " ").removeprefix("test ") for test in mutant.caught_by)
    keep(
        "mutants",
        fixture=mutant.name,
        file=mutant.file,
        breaks=mutant.breaks,
        outcome=verdict.outcome,
        told=tests if verdict.outcome == "caught" else verdict.told,
        seconds=round(verdict.seconds, 1),
    )
