"""A container that was being stopped when its process ended is stopped by the process that goes on with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from llmorch import Event, Question, Run, StepCancelled, StepStarted, StepWaiting, Workflow, each, optional
from llmorch.errors import TimedOut
from tests.flow.elsewhere import SharedStore, cut, process
from tests.flow.stage import fails, slow

pytestmark = pytest.mark.anyio

BODIES = ("map", "loop", "nested")
IN_TIME, TOO_LATE = 1.0, 1_000.0


def held(wf: Workflow[Any], action: Any, body: str, *, timeout: float | None = None) -> Any:
    """A step that holds two of the action, in a map, a loop or a workflow."""
    if body == "map":
        return wf.map(action, name="held", x=each([IN_TIME, TOO_LATE]), timeout=timeout)
    if body == "loop":
        return wf.loop(
            action, name="held", until="iteration >= 1", max_iterations=3, carry={"x": str(TOO_LATE)}, x=IN_TIME,
            timeout=timeout,
        )  # fmt: skip
    inner = Workflow("inner")
    two = [inner.add(action, name=name, x=x) for name, x in (("a", IN_TIME), ("b", TOO_LATE))]
    inner.returns([optional(one) for one in two])
    return wf.add(inner, name="held", timeout=timeout)


async def doomed() -> None:
    await slow(5)
    fails()


async def work(x: float) -> float:
    return await slow(x)


def asks(body: str) -> Workflow[Any]:
    """Fails while one of two questions is open, which nobody needs then."""
    wf = Workflow("w")
    asked = held(wf, Question("About {{ x }}?", name="ask"), body)
    return wf.returns({"held": asked, "doomed": wf.add(doomed, on_error="fail")})


def takes_long(body: str) -> Workflow[Any]:
    """Has no time for the second half of what it holds."""
    wf = Workflow("w")
    return wf.returns(held(wf, work, body, timeout=5))


async def run_and_cut(wf: Workflow[Any]) -> tuple[Run[Any], SharedStore, Sequence[Event]]:
    """A run, and a store in which its process has ended when the first step was stopped, with its log."""

    def on_ask(question: StepWaiting) -> str | None:
        return "yes" if str(IN_TIME) in question.question else None

    store = SharedStore()
    async with process(store, recover=False, on_ask=on_ask) as s:
        run = await s.orch.run(wf)
        log = await s.log(run)
    at = next(at for at, event in enumerate(log, 1) if isinstance(event, StepCancelled))
    return run, await cut(store, run.id, at), log[:at]


async def gone_on_with(store: SharedStore, run: Run[Any], wf: Workflow[Any], at: int) -> tuple[Run[Any], list[Event]]:
    """What the next process makes of it, and what it adds to the log."""
    async with process(store, workflows=[wf]) as s:
        done = await s.orch.attach(run.id).result()
        return done, (await s.log(done))[at:]


@pytest.mark.parametrize("body", BODIES)
async def test_what_was_being_dropped_is_dropped(body: str) -> None:
    wf = asks(body)
    run, store, before = await run_and_cut(wf)
    assert run.steps["held"].status == "cancelled"
    done, after = await gone_on_with(store, run, wf, len(before))
    assert done.status == "failed"
    assert (done.steps["held"].status, done.steps["held"].reason) == ("cancelled", run.steps["held"].reason)
    assert not [event for event in after if isinstance(event, StepStarted)]


@pytest.mark.parametrize("body", BODIES)
async def test_what_had_taken_too_long_has_taken_too_long(body: str) -> None:
    wf = takes_long(body)
    run, store, before = await run_and_cut(wf)
    assert isinstance(run.steps["held"].error, TimedOut)
    done, after = await gone_on_with(store, run, wf, len(before))
    assert isinstance(done.steps["held"].error, TimedOut)
    assert str(done.steps["held"].error) == str(run.steps["held"].error)
    assert not [event for event in after if isinstance(event, StepStarted)]


@pytest.mark.parametrize("body", BODIES)
async def test_what_was_being_dropped_is_asked_again_when_somebody_resumes_the_run(body: str) -> None:
    wf = asks(body)
    run, store, _ = await run_and_cut(wf)
    async with process(store, workflows=[wf], recover=False, on_ask=lambda question: "at last") as s:
        handle = await s.orch.resume(run.id)
        done = await handle.result()
    assert done.steps["held"].status == "succeeded"
    values = done.steps["held"].value
    assert (values if body == "loop" else values[-1]) == "at last"
