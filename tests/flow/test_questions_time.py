"""Time and people: a question has its own, and what a person takes counts for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    AlreadyAnswered,
    Default,
    Event,
    Node,
    NoSuchQuestion,
    Payload,
    Question,
    RunFinished,
    RunWaiting,
    StepFailed,
    StepWaiting,
    TimedOut,
    Workflow,
    each,
    optional,
)
from llmorch.ports import Claim
from llmorch.testing import Reply
from tests.flow.asked import Place, desk, open_at, place_of, waiting
from tests.flow.elsewhere import SharedStore, process
from tests.flow.stage import kinds

pytestmark = pytest.mark.anyio


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return place_of("memory", tmp_path)


def timed(seconds: float = 60, **options: Any) -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns(wf.ask("q", "How many?", answer=int, timeout=seconds, **options))


def took_s(log: Sequence[Event]) -> float:
    return (log[-1].at_us - log[0].at_us) / 1e6


async def test_a_question_records_until_when_it_may_be_answered(memory: Place) -> None:
    async with desk(memory) as d:
        handle = await waiting(d.orch, timed(60))
        (asked,) = (await handle.peek()).questions
        row = await d.store.load(handle.id)
        assert asked.deadline is not None
        assert asked.deadline - asked.at_us == pytest.approx(60e6, abs=1e6)
        assert row.wake_at == asked.deadline
        await handle.cancel()


@pytest.mark.parametrize("kind", ["memory", "shared"])
async def test_a_run_that_waits_goes_on_by_itself_when_nobody_answers_in_time(kind: str, memory: Place) -> None:
    place = memory if kind == "memory" else SharedStore
    async with desk(place) as d:
        handle = await d.orch.start(timed(60))
        began = anyio.current_time()
        run = await handle.result(wait_for_answers=True)
        assert run.status == "failed"
        assert isinstance(run.error, TimedOut)
        assert "nobody answered within 60 s" in str(run.error)
        assert anyio.current_time() - began == pytest.approx(60, abs=6)
        with pytest.raises(NoSuchQuestion):
            await handle.answer("q", 3)


@pytest.mark.parametrize("verb", ["run", "start", "stream"])
async def test_a_default_answers_when_nobody_does(verb: str, memory: Place) -> None:
    wf = timed(60, on_error=Default(7))
    async with desk(memory) as d:
        if verb == "run":
            run = await d.orch.run(wf)
        elif verb == "start":
            run = await (await d.orch.start(wf)).result()
        else:
            async with d.orch.stream(wf) as events:
                async for _ in events:
                    pass
            run = events.run
        assert run.status == "waiting"
        run = await d.orch.attach(run.id).result(wait_for_answers=True)
        assert (run.status, run.output, run["q"]) == ("partial", 7, 7)
        assert took_s(await d.log(run.id)) == pytest.approx(60, abs=1)


async def test_a_deadline_passes_while_others_work(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "How many?", answer=int, timeout=10, on_error=Default(7))
    wf.returns([wf.add(Payload("after", "{{ q }}")), wf.add(Payload("long", "Go."))])
    async with desk(memory, {"after": "A", "long": Reply("L", 100)}) as d:
        run = await d.orch.run(wf)
        assert (run.status, run.output) == ("partial", ["A", "L"])
        log = await d.log(run.id)
    failed = next(event for event in log if isinstance(event, StepFailed))
    assert (failed.at_us - log[0].at_us) / 1e6 == pytest.approx(10, abs=0.5)
    assert d.provider.requests_of("after")[0].messages[-1].text == "7"
    assert not any(isinstance(event, RunWaiting) for event in log)


async def test_an_answer_in_time_stops_the_clock(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "How many?", answer=int, timeout=60)
    wf.returns([Node("q"), wf.ask("then", "And {{ q }}?", answer=int)])
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        await anyio.sleep(59)
        await handle.answer("q", 3)
        await handle.result()
        await anyio.sleep(1_000)
        assert (await handle.peek()).status == "waiting"
        assert (await d.store.load(handle.id)).wake_at is None
        await handle.answer("then", 4)
        assert (await handle.result()).output == [3, 4]


async def test_each_of_several_questions_has_its_own_time(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(
        [
            wf.ask("late", "Late?", answer=int, timeout=30, on_error=Default(3)),
            wf.ask("soon", "Soon?", answer=int, timeout=10, on_error=Default(1)),
            wf.ask("open", "Open?", answer=int),
        ]
    )
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        await anyio.sleep(20)
        run = await handle.peek()
        assert {path: step.status for path, step in run.steps.items()} == {
            "late": "waiting", "soon": "failed", "open": "waiting",
        }  # fmt: skip
        await anyio.sleep(20)
        assert [asked.step for asked in (await handle.peek()).questions] == ["open"]
        await handle.answer("open", 2)
        assert (await handle.result()).output == [3, 1, 2]


async def test_a_deadline_that_passed_while_no_process_was_there_counts_on_coming_back() -> None:
    here = SharedStore("a")
    wf = timed(60, on_error=Default(7))
    async with process(here, recover=False) as a:
        handle = await waiting(a.orch, wf)
    await anyio.sleep(100)
    async with process(SharedStore("b", of=here), recover=False) as b:
        with pytest.raises(NoSuchQuestion, match=r"The time to answer .* is up"):
            await b.orch.answer(handle.id, "q", 3)
    async with process(SharedStore("c", of=here), workflows=[wf]) as c:
        run = await c.orch.attach(handle.id).result()
        assert (run.status, run.output) == ("partial", 7)


async def test_a_deadline_that_comes_while_another_process_looks_out_is_kept_there() -> None:
    here = SharedStore("a")
    wf = timed(60)
    async with process(here, recover=False) as a:
        handle = await waiting(a.orch, wf)
    async with process(SharedStore("b", of=here), workflows=[wf]) as b:
        await anyio.sleep(70)
        assert (await b.orch.get(handle.id)).status == "failed"
        assert took_s(await b.log(handle.id)) == pytest.approx(60, abs=6)


async def test_a_time_that_was_up_is_asked_again_by_resume_with_a_new_deadline(memory: Place) -> None:
    async with desk(memory) as d:
        handle = await d.orch.start(timed(60))
        assert (await handle.result(wait_for_answers=True)).status == "failed"
        handle = await d.orch.resume(handle.id)
        assert (await handle.result()).status == "waiting"
        await anyio.sleep(30)
        await handle.answer("q", 3)
        assert (await handle.result()).output == 3
        deadlines = [event.deadline for event in await d.log(handle.id) if isinstance(event, StepWaiting)]
    assert deadlines[1] - deadlines[0] >= 60e6  # type: ignore[operator]


async def test_the_time_of_people_is_not_the_runs(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("before", "Go."))
    wf.ask("q", "{{ before }}?", answer=int)
    wf.returns(wf.add(Payload("after", "{{ q }}")))
    async with desk(memory, {"before": Reply("B", 5), "after": Reply("A", 4)}) as d:
        handle = await d.orch.start(wf, timeout=10)
        assert (await handle.result()).status == "waiting"
        await anyio.sleep(1_000)
        await handle.answer("q", 3)
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", "A")


async def test_what_was_spent_before_a_person_was_asked_counts_for_the_run(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("before", "Go."))
    wf.ask("q", "{{ before }}?", answer=int)
    wf.returns(wf.add(Payload("after", "{{ q }}")))
    async with desk(memory, {"before": Reply("B", 7), "after": Reply("A", 4)}) as d:
        handle = await d.orch.start(wf, timeout=10)
        assert (await handle.result()).status == "waiting"
        await anyio.sleep(1_000)
        await handle.answer("q", 3)
        run = await handle.result()
        assert run.status == "failed"
        assert isinstance(run.error, TimedOut)


async def test_somebody_who_is_asked_at_once_takes_none_of_the_runs_time(memory: Place) -> None:
    async def answer(question: StepWaiting) -> int:
        await anyio.sleep(500)
        return 3

    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "How many?", answer=int)
    wf.returns(wf.add(Payload("after", "{{ q }}")))
    async with desk(memory, {"after": Reply("A", 4)}, on_ask=answer) as d:
        run = await d.orch.run(wf, timeout=10)
        assert (run.status, run.output) == ("succeeded", "A")


def around(seconds: float, *, long: bool = False) -> Workflow[Any]:
    """A question in a workflow that has a timeout; beside it, perhaps, a call that takes a while."""
    inner: Workflow[Any] = Workflow("inner")
    inner.ask("q", "How many?", answer=int)
    inner.returns(inner.add(Payload("after", "{{ q }}")))
    wf: Workflow[Any] = Workflow("w")
    outputs: list[Any] = [wf.add(inner, timeout=seconds)]
    if long:
        outputs.append(wf.add(Payload("long", "Go.")))
    return wf.returns(outputs)


@pytest.mark.parametrize("long", [False, True])
async def test_the_time_of_people_is_not_that_of_the_workflow_around_the_question(long: bool, memory: Place) -> None:
    async with desk(memory, {"inner/after": Reply("A", 6), "long": Reply("L", 200)}) as d:
        handle = await d.orch.start(around(10, long=long))
        await open_at(handle, "inner/q")
        await anyio.sleep(100)
        await handle.answer("inner/q", 3)
        run = await handle.result()
        assert (run.status, run.output[0]) == ("succeeded", "A")


@pytest.mark.parametrize("long", [False, True])
async def test_the_workflow_around_a_question_still_has_its_own_time(long: bool, memory: Place) -> None:
    async with desk(memory, {"inner/after": Reply("A", 20), "long": Reply("L", 200)}) as d:
        handle = await d.orch.start(around(10, long=long))
        await open_at(handle, "inner/q")
        await anyio.sleep(100)
        await handle.answer("inner/q", 3)
        run = await handle.result()
        assert isinstance(run.failures["inner"], TimedOut)


async def test_a_map_of_questions_bounds_the_time_of_each(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    question = Question("Keep {{ n }}?", answer=bool, name="keep")
    wf.returns(wf.map(question, n=each([1, 2, 3]), timeout=60, on_error=Default(False)))
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        assert all(asked.deadline is not None for asked in (await handle.peek()).questions)
        await handle.answer("keep[1]", True)
        run = await handle.result(wait_for_answers=True)
        assert run.output == [False, True, False]
        log = await d.log(handle.id)
    assert isinstance(log[-1], RunFinished)
    assert took_s(log) == pytest.approx(60, abs=1)


async def test_whoever_answers_in_the_last_moment_is_told_whether_it_counts(memory: Place) -> None:
    for lead_s, counts in ((1.0, True), (-1.0, False)):
        async with desk(memory) as d:
            handle = await waiting(d.orch, timed(60, on_error=Default(7)))
            await anyio.sleep(60 - lead_s)
            if counts:
                await handle.answer("q", 3)
            else:
                with pytest.raises((NoSuchQuestion, AlreadyAnswered)):
                    await handle.answer("q", 3)
            assert (await handle.result()).output == (3 if counts else 7)


async def test_a_question_that_is_skipped_has_no_time(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.input("wanted", bool)
    q = wf.ask("q", "How many?", answer=int, timeout=60, when="wanted")
    wf.returns([optional(q, 0)])
    async with desk(memory) as d:
        run = await d.orch.run(wf, wanted=False)
        assert (run.status, run.output) == ("succeeded", [0])
        assert kinds(await d.log(run.id))[1:-1] == ["StepSkipped q"]


class SlowRelease(SharedStore):
    """A store that takes its time to let go of a run."""

    async def release(self, claim: Claim, *, status: str) -> bool:
        await anyio.sleep(5)
        return await super().release(claim, status=status)


async def test_a_time_that_is_up_while_the_run_is_being_given_up_is_up_afterwards() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(Payload("after", "{{ q }}"), q=wf.ask("q", "How many?", timeout=2, on_error=Default(7))))
    async with desk(SlowRelease, {"after": Reply("A", 3)}, recover=False) as d:
        handle = await d.orch.start(wf)
        with anyio.fail_after(1_000):
            run = await handle.result(wait_for_answers=True)
        assert (run.status, run.output) == ("partial", "A")
        log = await d.log(handle.id)
    assert [type(event) for event in log].count(RunFinished) == 1
    assert len(d.asked) == 1
