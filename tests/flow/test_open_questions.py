"""Questions that are open when something ends: a workflow, a process, the time for an answer."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from llmorch import (
    AlreadyAnswered,
    AnswerInvalid,
    Default,
    Orchestrator,
    Question,
    RunResumed,
    RunWaiting,
    StepAnswered,
    StepCancelled,
    StepStarted,
    StepWaiting,
    Workflow,
    each,
    first_n,
    optional,
)
from llmorch.ports import InboxItem
from llmorch.stores.memory import MemoryStore
from tests.flow.elsewhere import SharedStore, dying, process
from tests.flow.stage import fails, slow, stage

pytestmark = pytest.mark.anyio


def of(log: Any, kind: type[Any]) -> list[Any]:
    return [event for event in log if isinstance(event, kind)]


def doubtful(body: str) -> Workflow[Any]:
    """A workflow that fails while the answer to one of two questions is missing."""
    wf = Workflow("w")
    asked = Question("About {{ x }}?", name="ask")
    if body == "map":
        held = wf.map(asked, name="held", x=each(["a", "b"]))
    elif body == "loop":
        held = wf.loop(asked, name="held", until="iteration >= 1", max_iterations=3, carry={"x": "output"}, x="a")
    else:
        inner = Workflow("inner")
        two = [inner.ask(name, "About {{ x }}?", x=name) for name in ("a", "b")]
        inner.returns({"a": optional(two[0]), "b": optional(two[1])})
        held = wf.add(inner, name="held")
    gate = wf.input("gate", float)

    async def doomed(gate: float) -> None:
        await slow(gate)
        fails()

    return wf.returns({"held": held, "doomed": wf.add(doomed, gate=gate, on_error="fail")})


@pytest.mark.parametrize("body", ["map", "loop", "nested"])
async def test_what_holds_a_question_that_nobody_needs_ends_cancelled_and_not_with_half_a_value(body: str) -> None:
    first = iter([True])

    def on_ask(question: StepWaiting) -> str | None:
        return "yes" if next(first, False) else None

    async with stage() as s:
        run = await s.orch.run(doubtful(body), gate=5.0, on_ask=on_ask)
        assert run.status == "failed"
        assert run.steps["held"].status == "cancelled"
        assert run.questions == ()
        cancelled = [event.step for event in of(await s.log(run), StepCancelled)]
        assert len(cancelled) == 2
        assert cancelled[-1] == "held"


async def test_a_map_whose_question_was_dropped_is_whole_when_the_run_is_resumed() -> None:
    is_broken = [True]
    wf = Workflow("w")
    held = wf.map(Question("About {{ x }}?", name="ask"), name="held", x=each(["a", "b"]))

    async def doomed() -> str:
        await slow(5)
        return fails() if is_broken[0] else "mended"

    wf.returns({"held": held, "doomed": wf.add(doomed, on_error="fail")})
    async with stage(on_ask=lambda q: "yes" if q.step == "held[0]" or not is_broken[0] else None) as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        is_broken[0] = False
        done = await (await s.orch.resume(run.id)).result(wait_for_answers=True)
        assert done.output == {"held": ["yes", "yes"], "doomed": "mended"}


async def test_a_question_that_a_quorum_does_not_need_is_cancelled() -> None:
    wf = Workflow("w")
    quick = wf.add(slow, name="quick", seconds=1.0, on_error="skip")
    late = wf.ask("late", "Well?", on_error="skip")
    wf.returns(first_n([quick, late], 1, cancel_rest=True))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert (run.status, run.output) == ("succeeded", [1.0])
        assert (run.steps["late"].status, run.steps["late"].reason) == ("cancelled", "not needed")


async def test_a_question_whose_time_is_over_when_its_run_is_taken_up_fails_at_once() -> None:
    wf = Workflow("w")
    asked = wf.ask("asked", "Well?", timeout=0.001, on_error=Default("nobody said"))
    wf.returns(asked)
    store, run_id = await dying(wf, {}, when=lambda event: isinstance(event, RunWaiting))
    await anyio.sleep(1)  # its time passes while nobody is there
    async with process(store, workflows=[wf]) as s:
        with anyio.fail_after(100):
            run = await s.orch.attach(run_id).result(wait_for_answers=True)
        assert (run.status, run.output) == ("partial", "nobody said")
        log = await s.log(run_id)
        assert (len(of(log, RunResumed)), len(of(log, RunWaiting))) == (1, 1)


async def test_the_time_of_a_question_is_over_though_the_loop_has_a_clock_that_is_ahead() -> None:
    wf = Workflow("w")
    wf.returns(wf.ask("asked", "Well?", timeout=0.01, on_error=Default("nobody said")))
    async with Orchestrator(MemoryStore(), workflows=[wf]) as orch:  # its virtual clock is ahead at once
        with anyio.fail_after(1e6):
            run = await (await orch.start(wf)).result(wait_for_answers=True)
        assert run.output == "nobody said"


async def test_a_question_that_is_open_stays_open_when_its_run_is_resumed() -> None:
    wf = Workflow("w")
    wf.returns(wf.ask("asked", "Well?"))
    store, run_id = await dying(wf, {}, when=lambda event: isinstance(event, StepWaiting))
    await store.post(run_id, answer_to(await store.events(run_id)))
    async with process(store, workflows=[wf], recover=False) as s:
        run = await (await s.orch.resume(run_id)).result()
        assert (run.status, run.output) == ("succeeded", "at the last moment")
        log = await s.log(run_id)
        assert len(of(log, StepWaiting)) == 1
        assert [event.value for event in of(log, StepAnswered)] == ["at the last moment"]


async def test_only_the_first_answer_that_fits_counts() -> None:
    wf = Workflow("w")
    wf.returns(wf.ask("asked", "How many?", answer=int))
    store, run_id = await dying(wf, {}, when=lambda event: isinstance(event, StepWaiting))
    async with process(SharedStore("c", of=store), recover=False) as other:
        with pytest.raises(AnswerInvalid):
            await other.orch.answer(run_id, "asked", "many")
        await other.orch.answer(run_id, "asked", 3)
        with pytest.raises(AlreadyAnswered):
            await other.orch.answer(run_id, "asked", 4)
    async with process(store, workflows=[wf]) as s:
        assert (await s.orch.attach(run_id).result()).output == 3


async def test_a_run_is_not_given_up_while_an_answer_waits_for_it() -> None:
    wf = Workflow("w")
    wf.returns(wf.ask("asked", "Well?"))

    is_answered: list[bool] = []

    class Quick(SharedStore):
        """Somebody answers in the moment in which the run says that it waits."""

        async def append(self, claim: Any, events: Any, **more: Any) -> Any:
            reply = await super().append(claim, events, **more)
            for event in events:
                if isinstance(event, RunWaiting) and not is_answered:
                    is_answered.append(True)
                    await self.post(claim.run_id, answer_to(await self.events(claim.run_id)))
            return reply

    async with process(Quick(), workflows=[wf], recover=False) as s:
        run = await (await s.orch.start(wf)).result()
        assert (run.status, run.output) == ("succeeded", "at the last moment")
        assert of(await s.log(run), RunResumed) == []


def answer_to(log: Any) -> InboxItem:
    (question,) = of(log, StepWaiting)
    return InboxItem("answer", question.step, question.seq, data="at the last moment", at=1)


async def test_what_was_in_flight_runs_again_only_when_a_person_says_so() -> None:
    ran: list[str] = []

    async def pays(x: str = "a") -> str:
        ran.append(x)
        return "paid"

    wf = Workflow("w")
    wf.returns(wf.add(pays, on_unknown="ask"))
    store, run_id = await dying(wf, {}, when=lambda event: isinstance(event, StepStarted))
    ran.clear()
    async with process(store, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, ran) == ("waiting", [])
        await s.orch.answer(run_id, "pays", "retry")
        done = await s.orch.attach(run_id).result()
        assert (done.status, done.output, ran) == ("succeeded", "paid", ["a"])


async def test_what_a_person_says_shall_not_run_again_fails() -> None:
    ran: list[str] = []

    async def pays(x: str = "a") -> str:
        ran.append(x)
        return "paid"

    wf = Workflow("w")
    wf.returns(wf.add(pays, on_unknown="ask"))
    store, run_id = await dying(wf, {}, when=lambda event: isinstance(event, StepStarted))
    ran.clear()
    async with process(store, workflows=[wf]) as s:
        assert (await s.orch.attach(run_id).result()).status == "waiting"
        await s.orch.answer(run_id, "pays", "fail")
        done = await s.orch.attach(run_id).result()
        assert (done.status, ran) == ("failed", [])
        assert "said not to run it again" in str(done.error)


async def test_an_answer_given_through_another_orchestrator_of_a_memory_store_is_taken_up() -> None:
    wf = Workflow("w")
    asked = wf.ask("asked", "Well?")
    wf.returns({"asked": asked, "busy": wf.add(slow, name="busy", seconds=2)})
    store = MemoryStore()
    async with (
        Orchestrator(store) as ours,
        Orchestrator(store, workflows=[wf]) as theirs,
    ):
        handle = await ours.start(wf)
        await anyio.sleep(1)  # the question is open, and the other step at work
        await theirs.attach(handle.id).answer("asked", "yes")
        with anyio.fail_after(100):
            done = await handle.result(wait_for_answers=True)
    assert done.output == {"asked": "yes", "busy": 2}
