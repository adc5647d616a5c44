"""What must hold of the runs that several processes carried out together."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from llmorch import CallFinished, CallStarted, Event, RunResumed, StepSucceeded
from llmorch.engine.state.resume import folded
from llmorch.ports import RunRow, RunStore
from tests.durability.processes_flow import STEPS, answer, noted, workflow


def expected(n: int) -> str:
    """The result of run `n`."""
    plan = answer(f"{n}: plan")
    texts = [answer(f"{n}: part {plan}/{third}") for third in range(3)]
    quoted = "[" + ", ".join(f'"{text}"' for text in texts) + "]"
    return answer(f"{n}: sum {quoted}")


async def rows_of(store: RunStore, runs: int) -> list[RunRow]:
    """Every row there is."""
    return list(await store.list_runs(limit=10 * runs))


async def log_of(store: RunStore, run_id: str) -> list[Event]:
    """A whole log."""
    return list(await store.events(run_id, limit=100_000))


def faults_in(n: int, row: RunRow, log: Sequence[Event], requests: Counter[tuple[int, str]]) -> list[str]:
    """What is wrong with one run."""
    state = folded(workflow().freeze(), log)
    faults: list[str] = []
    if row.status != "succeeded" or state.status != "succeeded":
        return [f"run {n} is {row.status}, its log says {state.status}"]
    if [event.seq for event in log] != list(range(1, row.last_seq + 1)):
        faults.append(f"run {n}: the log has {len(log)} events, the row says {row.last_seq}")
    if (output := state.steps["sum"].value) != expected(n):
        faults.append(f"run {n} gave {output!r}, not {expected(n)!r}")
    ends = Counter(event.step for event in log if isinstance(event, StepSucceeded))
    if set(ends.values()) != {1} or not ends.keys() >= set(STEPS):
        faults.append(f"run {n} recorded {ends}")
    return faults + _faults_in_calls(n, log, requests)


def _faults_in_calls(n: int, log: Sequence[Event], requests: Counter[tuple[int, str]]) -> list[str]:
    faults: list[str] = []
    finished = Counter((event.step, event.call) for event in log if isinstance(event, CallFinished))
    if any(count > 1 for count in finished.values()):
        faults.append(f"run {n}: a call ended twice: {finished}")
    done: set[str] = set()
    for event in log:
        if isinstance(event, CallStarted) and event.step in done:
            faults.append(f"run {n}: {event.step} was called although it was recorded")
        if isinstance(event, StepSucceeded):
            done.add(event.step)
    resumes = sum(isinstance(event, RunResumed) for event in log)
    starts = Counter(event.step for event in log if isinstance(event, CallStarted))
    for step in STEPS:
        asked = requests[n, step]
        if not 1 <= asked <= starts[step] <= 1 + resumes:
            faults.append(f"run {n}: {step} was sent {asked} times, started {starts[step]}, resumed {resumes}")
    return faults


def stale_writes(folder: Path) -> list[str]:
    """Units that were committed under an older epoch behind ones of a newer."""
    units: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for run_id, epoch, before, last in noted(folder / "written"):
        units[run_id].append((int(last), int(before), int(epoch)))
    faults: list[str] = []
    for run_id, written in units.items():
        ordered = sorted(written, key=lambda unit: (unit[0], unit[1], unit[2]))
        for earlier, later in pairwise(ordered):
            if later[0] > later[1] and later[2] < earlier[2]:
                faults.append(f"run {run_id}: epoch {later[2]} wrote {later[:2]} after {earlier}")
    return faults


def integrity_of(url: str) -> str:
    """What SQLite says of its file; `ok` for other stores."""
    if not url.startswith("sqlite:///"):
        return "ok"
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
        (found,) = raw.execute("PRAGMA integrity_check").fetchone()
    return str(found)
