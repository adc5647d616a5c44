"""A run is cancelled at every turn of the event loop: it ends at once, leaves nothing behind, and can be taken up."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import Orchestrator, RunFinished
from llmorch._clock import monotonic
from llmorch.engine.state.resume import folded
from tests.durability.faults_scenario import Ground, Kind, Told, check, no_more_than, store_threads, tasks_now
from tests.durability.faults_store import Disturbance
from tests.durability.faults_workflow import MODEL, OUTPUT, SUBJECT, Book, workflow

LONG = os.environ.get("LLMORCH_LONG") == "1"
POINTS = {"memory": 10_000, "sqlite": 10_000} if LONG else {"memory": 60, "sqlite": 25}
LIMIT_S = 2.0
FINAL = ("succeeded", "partial", "failed", "cancelled")


class Turns:
    """Counts the turns that tasks get, and does something at one of them.

    Attributes:
        reached_s: When that was, by `monotonic`; None while it was not.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.then: Callable[[], None] = lambda: None
        self.count = 0
        self.is_on = False
        self.reached_s: float | None = None

    def is_due(self) -> bool:
        """Count one more turn; whether it is the one."""
        self.count += self.is_on
        if self.is_on and self.count == self.at:
            self.reached_s = monotonic()
            return True
        return False


def counting(turns: Turns, backend: str) -> dict[str, Any]:
    """Backend options of a loop that counts turns."""
    if backend == "trio":
        import trio

        class Watch(trio.abc.Instrument):
            def before_task_step(self, task: object) -> None:
                if turns.is_due():
                    turns.then()

        return {"instruments": [Watch()]}

    class Loop(asyncio.SelectorEventLoop):
        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
            if turns.is_due():
                super().call_soon(turns.then)
            return super().call_soon(callback, *args, context=context)

    return {"loop_factory": Loop}


async def cancelled(ground: Ground, turns: Turns, told: Told, how: str) -> None:
    """Run it and cancel it at that turn, in the way asked; then end it on a sound store."""
    tasks = tasks_now()
    async with Orchestrator(ground.store(), providers=[told.book], model=MODEL, workflows=[told.flow]) as orch:
        await (by_scope if how == "scope" else by_handle)(orch, turns, told)
        turns.is_on = False
        if turns.reached_s is not None:
            took_s = monotonic() - turns.reached_s
            assert took_s <= LIMIT_S, f"it took {took_s:.2f} s to end"
        await closed_or_free(orch, told)
    await no_more_than(tasks)
    assert not store_threads()
    await end(ground, told)


async def closed_or_free(orch: Orchestrator, told: Told) -> None:
    """The log ends, or nobody owns the run; one that is owned by nobody who works on it would never end."""
    for row in await orch.runs():
        assert row.status in (*FINAL, "interrupted"), f"the run is {row.status} after it was cancelled"
        if row.status in FINAL:
            with anyio.fail_after(LIMIT_S):
                log = [event async for event in orch.attach(row.id).events()]
            assert isinstance(log[-1], RunFinished)
            assert folded(told.flow.freeze(), log).status == row.status


async def by_scope(orch: Orchestrator, turns: Turns, told: Told) -> None:
    """The caller of `run` is cancelled."""
    with anyio.CancelScope() as scope:
        turns.then = scope.cancel
        turns.is_on = True
        await orch.run(told.flow, subject=SUBJECT)


async def by_handle(orch: Orchestrator, turns: Turns, told: Told) -> None:
    """Somebody cancels the run through a handle; one that is not there yet is cancelled when it is."""
    asked = anyio.Event()
    turns.then = asked.set
    turns.is_on = True
    handle = await orch.start(told.flow, subject=SUBJECT)

    async def stop() -> None:
        await asked.wait()
        await handle.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        await handle.result()
        group.cancel_scope.cancel()


async def end(ground: Ground, told: Told) -> None:
    """Whoever comes next takes it up, and it ends as if nothing had been."""
    store = ground.store()
    async with Orchestrator(store, providers=[told.book], model=MODEL, workflows=[told.flow]) as orch:
        told.run_ids = [row.id for row in await store.list_runs()]
        if not told.run_ids:
            told.run_ids = [(await orch.run(told.flow, subject=SUBJECT)).id]
        told.final = await (await orch.resume(told.run_ids[0])).result()
        told.log = await store.events(told.run_ids[0], limit=10_000)
    check(told)
    assert told.final.output == OUTPUT


@pytest.mark.parametrize("how", ["scope", "handle"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_cancelled_at_any_turn_ends_at_once_and_can_be_taken_up(
    backend: str, kind: Kind, how: str, tmp_path: Path
) -> None:
    given = os.environ.get("CANCEL_SEED", "")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    last = turns_of(backend, kind, how, tmp_path / "whole")
    points = range(1, last + 1)
    if last > POINTS[kind]:
        points = sorted(random.Random(seed).sample(points, POINTS[kind]))
    faults: list[str] = []
    for at in points:
        try:
            cancel_at(backend, kind, how, tmp_path / str(at), at)
        except Exception as error:  # all of them are told together
            faults.append(f"turn {at}: {type(error).__name__}: {str(error)[:500]}")
    assert not faults, f"CANCEL_SEED={seed}, {len(faults)} of {len(points)}, {last} turns\n" + "\n".join(faults[:10])


def cancel_at(backend: str, kind: Kind, how: str, folder: Path, at: int) -> int:
    """How many turns there were."""
    folder.mkdir()
    ran: list[str] = []
    told = Told(Disturbance("late"), Book(), ran, workflow(ran))
    turns = Turns(at)
    options = counting(turns, backend)
    anyio.run(cancelled, Ground(kind, folder), turns, told, how, backend=backend, backend_options=options)
    return turns.count


def turns_of(backend: str, kind: Kind, how: str, folder: Path) -> int:
    """How many turns a run has that nobody cancels."""
    return cancel_at(backend, kind, how, folder, 10**9)
