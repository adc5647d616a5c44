"""A run on a disturbed store, taken up again on a sound one where it did not end, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import anyio

from llmorch import (
    CallFinished,
    CallStarted,
    ClaimLost,
    Event,
    MapExpanded,
    Orchestrator,
    Run,
    RunFinished,
    RunResumed,
    StepStarted,
    StepSucceeded,
    StoreError,
    ToolStarted,
    Workflow,
)
from llmorch._wake import backend
from llmorch.engine.state.resume import folded
from llmorch.ports import ProviderRequest, RunRow, RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite import SqliteStore
from tests.durability.faults_store import Disturbance, faulty
from tests.durability.faults_wait import until
from tests.durability.faults_workflow import MODEL, OUTPUT, SUBJECT, Book, workflow

Scene = Literal["run", "resume"]
Kind = Literal["memory", "sqlite"]
LIMIT_S = 20.0
_FINAL = ("succeeded", "partial", "failed", "cancelled")
_STARTS = {"leaves": ToolStarted, "numbers": StepStarted, "joined": StepStarted, "counted": StepStarted}


class Ground:
    """Where a scenario's data are: what a process leaves behind when it dies, and how the next one opens it."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self._path = folder / "runs.db"
        self._memory = MemoryStore()

    def store(self) -> RunStore:
        """A handle of a process."""
        return self._memory if self.kind == "memory" else SqliteStore(self._path, durability="process")

    async def died(self) -> None:
        """The process that had the first handle is gone; in memory that must be said, as all owners live here."""
        if self.kind != "memory":
            return
        for row in await self._memory.list_runs():
            if row.owner is not None:
                self._memory._logs[row.id].owner = None  # also of a run with something in its inbox


@dataclass(repr=False)
class Told:
    """What is known of a scenario when all is over."""

    disturbance: Disturbance
    book: Book
    ran: list[str]
    flow: Workflow[Any]
    before: Sequence[Event] = ()
    error: BaseException | None = None
    run_ids: list[str] = field(default_factory=list[str])
    unstarted: list[str] = field(default_factory=list[str])
    log: Sequence[Event] = ()
    final: Run[Any] | None = None


def tasks_now() -> int:
    """How many tasks the running loop has."""
    if backend() == "trio":
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


async def no_more_than(tasks: int) -> None:
    """Fails when more tasks live than before, and do not end by themselves within a second."""
    with anyio.move_on_after(1):
        await until(lambda: tasks_now() <= tasks, look_s=0.001)
    assert tasks_now() <= tasks, f"{tasks_now() - tasks} tasks are left"


def store_threads() -> list[str]:
    """The store's threads that live."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("llmorch-") and thread.name != "llmorch-portal"
    ]


async def disturbed(ground: Ground, scene: Scene, disturbance: Disturbance) -> Told:
    """Carry it out, and where the run did not end, again on a sound store."""
    tasks = tasks_now()
    watcher = ground.store()
    told = Told(disturbance, Book(), [], workflow([]))
    told.flow = workflow(told.ran)

    async def sent(request: ProviderRequest) -> None:
        """What is on the wire must have its start in the store."""
        (run_id,) = [row.id for row in await watcher.list_runs()]
        starts = await watcher.events(run_id, limit=10_000)
        committed = sum(isinstance(event, CallStarted) and event.step == request.step for event in starts)
        known = sum(isinstance(event, CallStarted) and event.step == request.step for event in told.before)
        if committed < known + told.book.steps[request.step or ""]:
            told.unstarted.append(request.step or "")

    told.book = Book(sent)
    with anyio.fail_after(LIMIT_S):
        if scene == "resume":
            await _left_behind(ground, told)
        await _first(ground, scene, told)
        await ground.died()
        await _second(ground, told)
        await watcher.aclose()
    await no_more_than(tasks)
    if ground.kind == "sqlite":
        assert not store_threads(), f"{disturbance}: threads are left: {store_threads()}"
    return told


async def _left_behind(ground: Ground, told: Told) -> None:
    """A run whose process died while items of its map were in flight."""
    row, log = await undisturbed()
    at = next(n for n, event in enumerate(log) if isinstance(event, CallFinished) and event.step.startswith("each"))
    told.before = log[:at]
    store = ground.store()
    left = replace(row, status="running", owner=None, last_seq=at, finished_at=None)
    await store.create(left, list(told.before), definition=await _definition(row))
    if ground.kind == "sqlite":
        await store.aclose()


_made: dict[str, tuple[RunRow, list[Event], Any]] = {}


async def undisturbed() -> tuple[RunRow, list[Event]]:
    """The row and the log of a run that nothing disturbs."""
    key = backend()
    if key not in _made:
        store = MemoryStore()
        flow = workflow([])
        async with Orchestrator(store, providers=[Book()], model=MODEL) as orch:
            run = await orch.run(flow, subject=SUBJECT)
            assert run.output == OUTPUT
            row, log = await store.load(run.id), list(await store.events(run.id, limit=10_000))
            assert any(isinstance(event, MapExpanded) for event in log)
            _made[key] = row, log, await store.definition(row.definition_sha) if row.definition_sha else None
    return _made[key][0], list(_made[key][1])


async def _definition(row: RunRow) -> Any:
    return next(definition for made, _, definition in _made.values() if made.id == row.id)


async def _first(ground: Ground, scene: Scene, told: Told) -> None:
    """The part on the disturbed store: a run or a resume, looked at in every way there is."""
    inner = ground.store()
    store = faulty(inner, told.disturbance)
    seen: list[Event] = []
    with anyio.CancelScope() as scope:
        told.disturbance.cancel = scope.cancel
        try:
            async with Orchestrator(
                store, providers=[told.book], model=MODEL, workflows=[told.flow], hooks=[seen.append]
            ) as orch:
                if scene == "run":
                    run_id = (await orch.run(told.flow, subject=SUBJECT)).id
                else:
                    (run_id,) = [row.id for row in await orch.runs()]
                    handle = await orch.resume(run_id)
                    await handle.result()
                [event async for event in orch.attach(run_id).events()]
                await orch.runs()
                await orch.get(run_id)
        except StoreError as error:
            told.error = error
    with anyio.CancelScope(shield=True):
        await inner.aclose()  # the process ends, whatever became of aclose()
    if told.disturbance.method != "events":
        seqs = [event.seq or 0 for event in seen]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True, f"the hook saw {seqs}"


async def _second(ground: Ground, told: Told) -> None:
    """Whoever comes next finds at most one run, ends it, and reads it."""
    store = ground.store()
    try:
        async with Orchestrator(store, providers=[told.book], model=MODEL, workflows=[told.flow]) as orch:
            told.run_ids = [row.id for row in await store.list_runs()]
            if not told.run_ids:
                told.final = await orch.run(told.flow, subject=SUBJECT)
                told.run_ids = [told.final.id]
            run_id = told.run_ids[0]
            row = await store.load(run_id)
            if row.status not in ("succeeded", "partial"):
                with suppress(ClaimLost):  # it was recovered when the store was opened
                    await orch.resume(run_id)
            told.final = await orch.attach(run_id).result()
            told.log = await store.events(run_id, limit=10_000)
    finally:
        if ground.kind == "sqlite":
            await store.aclose()


def check(told: Told) -> None:
    """What must hold whatever was disturbed."""
    where = f"{told.disturbance}, error {told.error!r}"
    assert len(told.run_ids) == 1, f"{where}: there are {len(told.run_ids)} runs"
    assert told.final is not None
    assert (told.final.status, told.final.output) == ("succeeded", OUTPUT), f"{where}: {told.final}"
    log = told.log
    assert [event.seq for event in log] == list(range(1, len(log) + 1)), f"{where}: the log has gaps"
    again = folded(told.flow.freeze(), log)
    assert again.status == "succeeded", f"{where}: the log folds to {again.status}"
    ends = Counter(event.step for event in log if isinstance(event, StepSucceeded))
    assert set(ends.values()) == {1}, f"{where}: recorded twice: {ends}"
    assert len(ends) == 8, f"{where}: recorded {sorted(ends)}"
    check_ledger(told, where)


def check_ledger(told: Told, where: str) -> None:
    """What was sent and run is what the log says, and nothing was after it was recorded."""
    log = told.log
    starts = Counter(event.step for event in log if isinstance(event, CallStarted))
    finishes = Counter((event.step, event.call) for event in log if isinstance(event, CallFinished))
    known = Counter(event.step for event in told.before if isinstance(event, CallStarted))
    assert not told.unstarted, f"{where}: sent without a committed start: {told.unstarted}"
    assert set(finishes.values()) == {1}, f"{where}: a call ended twice: {finishes}"
    sent = told.book.steps + known
    resumes = sum(isinstance(event, RunResumed) for event in log)
    for step in starts.keys() | sent.keys():
        unsent = starts[step] - sent[step]
        assert 0 <= unsent <= resumes, f"{where}: {step} was started {starts[step]} times and sent {sent[step]} times"
    done: set[str] = set()
    for event in log:
        assert not (isinstance(event, CallStarted) and event.step in done), f"{where}: {event} although recorded"
        if isinstance(event, StepSucceeded):
            done.add(event.step)
    for name, kind in _STARTS.items():
        begun = [e for e in log if isinstance(e, kind) and name in (getattr(e, "tool", None), getattr(e, "step", None))]
        assert told.ran.count(name) <= len(begun), f"{where}: {name} ran {told.ran.count(name)} times"
    assert sum(isinstance(event, RunFinished) for event in log) <= 1 + resumes
