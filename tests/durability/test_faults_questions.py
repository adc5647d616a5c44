"""A run that asks a person, answered by a second process, ended by a third and deleted by a fourth: each method of the
store fails on the way, before and after its commit, comes late or loses its caller, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    CallStarted,
    NoSuchQuestion,
    Orchestrator,
    Payload,
    RunNotFound,
    StepAnswered,
    StepSucceeded,
    Workflow,
)
from llmorch.engine.state.resume import folded
from llmorch.errors import AlreadyAnswered, ClaimLost, StoreError
from llmorch.ports import ProviderRequest, RunStore
from tests.durability.faults_scenario import Ground, Kind, Told, check_ledger, no_more_than, store_threads, tasks_now
from tests.durability.faults_store import METHODS, MODES, Disturbance, faulty
from tests.durability.faults_workflow import MODEL, Book

LONG = os.environ.get("LLMORCH_LONG") == "1"
LIMIT_S = 20.0
ANSWER = 3
OUTPUT = "say: Say 3. and 3 more"
UNUSED = {"renew"}  # it is for stores with leases, which renew them by themselves


def asking(ran: list[str]) -> Workflow[Any]:
    """A question, a call that has its answer, and a function that has both."""

    async def counted(said: str, many: int) -> str:
        ran.append("counted")
        return f"{said} and {many} more"

    made: Workflow[Any] = Workflow("asking")
    many = made.ask("many", "How many leaves?", answer=int)
    said = made.add(Payload("say", "Say {{ many }}."), many=many)
    return made.returns(made.add(counted, said=said, many=many))


@dataclass(repr=False)
class Asked(Told):
    """What is known when all is over.

    Attributes:
        acknowledged: Ada was told that her answer counts.
        errors: What was raised in the parts that were disturbed.
        definition_sha: Of the run that ended.
    """

    acknowledged: bool = False
    errors: list[StoreError] = field(default_factory=list[StoreError])
    definition_sha: str = ""


Part = Callable[[Orchestrator, Asked], Awaitable[None]]


async def begin(orch: Orchestrator, told: Asked) -> None:
    run = await orch.run(told.flow)
    assert run.status == "waiting", run
    assert [question.step for question in run.questions] == ["many"]


async def answer(orch: Orchestrator, told: Asked) -> None:
    for row in await orch.runs():
        with suppress(NoSuchQuestion):  # the first part did not come so far
            await orch.answer(row.id, "many", ANSWER, by="Ada")
            told.acknowledged = True


async def end(orch: Orchestrator, told: Asked) -> None:
    for row in await orch.runs():
        await orch.attach(row.id).result()


async def delete(orch: Orchestrator, told: Asked) -> None:
    for run_id in told.run_ids:
        await orch.delete(run_id)


async def disturbed(ground: Ground, disturbance: Disturbance) -> Asked:
    """Each part in a process of its own on the disturbed store; what they left undone, on a sound one."""
    tasks = tasks_now()
    watcher = ground.store()
    ran: list[str] = []
    told = Asked(disturbance, Book(), ran, asking(ran))

    async def sent(request: ProviderRequest) -> None:
        (run_id,) = [row.id for row in await watcher.list_runs()]
        starts = await watcher.events(run_id, limit=10_000)
        committed = sum(isinstance(event, CallStarted) and event.step == request.step for event in starts)
        if committed < told.book.steps[request.step or ""]:
            told.unstarted.append(request.step or "")

    told.book = Book(sent)
    with anyio.fail_after(LIMIT_S):
        for part in (begin, answer, end):
            await _process(ground, told, part, knows_code=part is not answer)
        await _made_up(ground, told)
        await _process(ground, told, delete, knows_code=False)
        await _gone(watcher, ground, told)
        await watcher.aclose()
    await no_more_than(tasks)
    if ground.kind == "sqlite":
        assert not store_threads(), f"threads are left: {store_threads()}"
    return told


async def _process(ground: Ground, told: Asked, part: Part, *, knows_code: bool) -> None:
    inner = ground.store()
    workflows = [told.flow] if knows_code else []
    with anyio.CancelScope() as scope:
        told.disturbance.cancel = scope.cancel
        try:
            async with Orchestrator(
                faulty(inner, told.disturbance), providers=[told.book], model=MODEL, workflows=workflows
            ) as orch:
                await part(orch, told)
        except StoreError as error:
            told.errors.append(error)
    with anyio.CancelScope(shield=True):
        await inner.aclose()
        await ground.died()


async def _made_up(ground: Ground, told: Asked) -> None:
    """Whoever comes next finds at most one run, answers what is still asked, and ends it."""
    store = ground.store()
    try:
        async with Orchestrator(store, providers=[told.book], model=MODEL, workflows=[told.flow]) as orch:
            told.run_ids = [row.id for row in await store.list_runs()] or [(await orch.run(told.flow)).id]
            run_id = told.run_ids[0]
            if (await store.load(run_id)).status in ("running", "failed", "cancelled"):
                with suppress(ClaimLost):  # it was recovered when the store was opened
                    await orch.resume(run_id)
            told.final = await orch.attach(run_id).result()
            if told.final.status == "waiting":
                with suppress(AlreadyAnswered):
                    await orch.answer(run_id, "many", ANSWER, by="Eve")
                told.final = await orch.attach(run_id).result()
            told.log = await store.events(run_id, limit=10_000)
            told.definition_sha = (await store.load(run_id)).definition_sha
    finally:
        if ground.kind == "sqlite":
            await store.aclose()


async def _gone(watcher: RunStore, ground: Ground, told: Asked) -> None:
    """A run is deleted as a whole, or it is there as a whole and can be deleted."""
    for row in await watcher.list_runs():
        assert list(await watcher.events(row.id, limit=10_000)) == list(told.log), "half of it was deleted"
        await watcher.delete_run(row.id)
    for run_id in told.run_ids:
        with pytest.raises(RunNotFound):
            await watcher.events(run_id)
    assert await watcher.definition(told.definition_sha) is None, "its definition is left"


def check(told: Asked) -> None:
    """What must hold whatever was disturbed."""
    assert len(told.run_ids) == 1, f"there are {len(told.run_ids)} runs"
    assert told.final is not None
    assert (told.final.status, told.final.output) == ("succeeded", OUTPUT), f"{told.final}"
    log = told.log
    assert [event.seq for event in log] == list(range(1, len(log) + 1)), "the log has gaps"
    assert folded(told.flow.freeze(), log).status == "succeeded"
    assert sorted(event.step for event in log if isinstance(event, StepSucceeded)) == ["counted", "many", "say"]
    (answered,) = [event for event in log if isinstance(event, StepAnswered)]
    assert answered.value == ANSWER
    if told.acknowledged:
        assert answered.by == "Ada", "she was told that her answer counts"
    check_ledger(told, str(told.disturbance))


def fault_of(ground: Ground, disturbance: Disturbance, backend: str) -> str:
    """What is wrong after a run with this disturbance."""
    try:
        told = anyio.run(disturbed, ground, disturbance, backend=backend)
        check(told)
    except Exception as error:  # all of them are told together
        return f"{disturbance}: {type(error).__name__}: {str(error)[:600]}"
    if disturbance.method == "append" and disturbance.mode in ("before", "after", "late") and told.errors:
        return f"{disturbance}: {told.errors!r} were raised; the same unit must be tried again"
    return ""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_a_method_does_an_answer_counts_once_and_a_run_is_deleted_whole(
    backend: str, kind: Kind, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmorch.lookout._RECOVER_S", 0.05)  # what failed is tried again by then
    faults: list[str] = []
    fired = 0
    for mode in MODES:
        for at in range(1, 1000 if LONG else 4):
            disturbance = Disturbance(mode, method, at=at)
            folder = tmp_path / f"{mode}-{at}"
            folder.mkdir()
            fault = fault_of(Ground(kind, folder), disturbance, backend)
            faults += [fault] if fault else []
            if not disturbance.fired:
                break
            fired += 1
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    assert fired or method in UNUSED, f"nothing calls {method}()"
    if not fired:
        pytest.skip(f"nothing calls {method}()")
