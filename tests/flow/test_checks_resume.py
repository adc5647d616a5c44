"""A judged run cut at any event of its log: taken up again it finds the same, and asks for no recorded judgement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from llmorch import (
    CallFinished,
    CheckFinished,
    Event,
    Orchestrator,
    Payload,
    Run,
    RunFinished,
    StepFailed,
    StepSucceeded,
    Workflow,
)
from llmorch.checks import Assertion, Judged, RequiredSteps
from llmorch.definition.stored import stored
from llmorch.events import RunResumed
from llmorch.models.values import Data
from llmorch.ports import RunRow, RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite.store import SqliteStore
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import fails, stage

pytestmark = pytest.mark.anyio

GOOD = {"passed": True, "reason": "It is."}
BAD = {"passed": False, "reason": "It is not."}
SCRIPT: Mapping[str, object] = {
    "draft": "Hi.",
    "end": "Bye.",
    "polite": Reply(GOOD, delay=1),
    "kind": Reply(BAD, delay=2),
    "broken": Reply("no JSON", delay=3),
}


def judged(*, on_error: Literal["fail", "skip"] = "fail", lost: bool = False) -> Workflow[Any]:
    checks = [
        RequiredSteps("draft", "end", name="steps"),
        Judged("It is polite.", name="polite"),
        Assertion("execution_order == ['draft', 'end'] and output == 'Bye.'", name="order"),
        Judged("It is kind, as {{ results.draft }}", name="kind"),
        Judged("It is never told.", name="broken"),
    ]
    workflow: Workflow[Any] = Workflow("judged", checks=checks, on_error=on_error)
    workflow.add(Payload("draft", "Write."))
    if lost:
        workflow.add(fails, name="lost")
    return workflow.returns(workflow.add(Payload("end", "End {{ draft }}")))


@asynccontextmanager
async def cut(kind: str, folder: Path, row: RunRow, log: Sequence[Event], at: int) -> AsyncIterator[RunStore]:
    """A store as a process leaves it that dies after so many events."""
    sha, body = stored(judged().freeze())
    store: Any = MemoryStore() if kind == "memory" else SqliteStore(folder / f"{at}.db")
    left = replace(row, status="running", owner=None, last_seq=at, finished_at=None, definition_sha=sha)
    begun = [replace(log[0], definition=sha), *log[1:at]]
    definition: Mapping[str, Data] | None = None if kind == "memory" else body
    if kind == "memory":
        begun, left = list(log[:at]), replace(left, definition_sha="")
    await store.create(left, begun, definition=definition)
    yield store


def told(run: Run[Any]) -> dict[str, tuple[bool, str]]:
    return {name: (result.passed, result.detail) for name, result in run.checks.items()}


@pytest.mark.parametrize(
    ("kind", "by_itself", "every"),
    [("memory", True, 1), ("memory", False, 1), ("sqlite", True, 4), ("sqlite", False, 5)],
    ids=["memory-recovered", "memory-resumed", "sqlite-recovered", "sqlite-resumed"],
)
async def test_a_judged_run_cut_anywhere_finds_the_same(kind: str, by_itself: bool, every: int, tmp_path: Path) -> None:
    async with stage(SCRIPT) as s:
        first = await s.orch.run(judged())
        row, log = await s.store.load(first.id), await s.log(first)
    assert [passed for passed, _ in told(first).values()] == [True, True, True, False, False]
    assert len([event for event in log if isinstance(event, CheckFinished)]) == 5
    for at in range(len(log) - 1, 0, -every):
        provider = ScriptedProvider(SCRIPT)
        async with (
            cut(kind, tmp_path, row, log, at) as store,
            Orchestrator(
                store,
                providers=[provider],
                model="scripted:m",
                workflows=[judged()],
                recover="own" if by_itself else False,
            ) as orch,
        ):
            handle = orch.attach(first.id) if by_itself else await orch.resume(first.id)
            run = await handle.result()
            again = await orch.get(first.id)
            whole = await store.events(first.id, limit=1_000)
        assert (run.status, run.output) == ("succeeded", "Bye."), at
        assert told(run) == told(first), at
        assert told(again) == told(first), at
        recorded = {event.step for event in log[:at] if isinstance(event, StepSucceeded)}
        assert not recorded.intersection(request.step or "" for request in provider.requests), at
        assert len(whole) > at
        assert isinstance(whole[-1], RunFinished)
        ends = [event.check for event in whole[at:] if isinstance(event, CheckFinished)]
        before = [event.check for event in log[:at] if isinstance(event, CheckFinished)]
        reset = next((event.reset for event in whole[at:] if isinstance(event, RunResumed)), ())
        assert ends == [name for name in told(first) if reset or name not in before], at


async def test_every_call_of_a_judge_stands_in_the_ledger_after_a_cut() -> None:
    async with stage(SCRIPT) as s:
        first = await s.orch.run(judged())
        row, log = await s.store.load(first.id), await s.log(first)
    at = next(n for n, event in enumerate(log, 1) if isinstance(event, CallFinished) and event.step == "~check/broken")
    async with (
        cut("memory", Path(), row, log, at) as store,
        Orchestrator(
            store, providers=[ScriptedProvider(SCRIPT)], model="scripted:m", workflows=[judged()], recover=False
        ) as orch,
    ):
        run = await (await orch.resume(first.id)).result()
        asked = run.checks["broken"].asked
        assert asked is not None
        assert len(asked.calls) == 3
        assert run.usage.requests == 2 + 1 + 1 + 3


async def test_a_partial_run_that_is_taken_up_again_is_judged_anew() -> None:
    workflow = judged(on_error="skip", lost=True)
    async with stage(SCRIPT) as s:
        first = await s.orch.run(workflow)
        assert first.status == "partial"
        row, log = await s.store.load(first.id), await s.log(first)
    judgement = [n for n, event in enumerate(log, 1) if isinstance(event, StepSucceeded) and "~" in event.step]
    for at in (judgement[0], judgement[1], len(log) - 1):
        provider = ScriptedProvider(SCRIPT)
        async with (
            cut("memory", Path(), row, log, at) as store,
            Orchestrator(store, providers=[provider], model="scripted:m", workflows=[workflow], recover=False) as orch,
        ):
            run = await (await orch.resume(first.id)).result()
            again = await orch.get(first.id)
        assert run.status == "partial"
        assert told(run) == told(again) == told(first)
        assert [request.step for request in provider.requests].count("~check/polite") == 1
        polite = again.checks["polite"].asked
        assert polite is not None
        assert len(polite.calls) == 2
        assert polite.messages[-1].text.endswith("<output>\nBye.\n</output>")
        assert any(isinstance(event, StepFailed) and event.step == "lost" for event in log)
