"""`on_ask`: a function that answers questions at once, or leaves them open."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import Payload, StepWaiting, Workflow, each
from llmorch.testing import Reply
from tests.flow.asked import Place, desk, open_at, place_of, waiting
from tests.flow.stage import kinds

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place_of(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return place_of("memory", tmp_path)


def one() -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns(wf.ask("q", "How many?", answer=int))


def two() -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns([wf.ask("a", "A?", answer=int), wf.ask("b", "B?", answer=int)])


async def test_a_function_answers_and_the_run_never_waits(place: Place) -> None:
    async with desk(place) as d:
        run = await d.orch.run(one(), on_ask=lambda question: 3)
        assert (run.status, run.output) == ("succeeded", 3)
        assert "RunWaiting" not in kinds(await d.log(run.id))


async def test_a_plain_function_is_called_in_a_thread_one_question_at_a_time(memory: Place) -> None:
    here, seen = threading.get_ident(), list[str]()
    turn = threading.Lock()

    def answer(question: StepWaiting) -> int:
        assert threading.get_ident() != here
        assert turn.acquire(blocking=False), "two questions on one terminal"
        try:
            threading.Event().wait(0.01)
            seen.append(question.step)
            return len(seen)
        finally:
            turn.release()

    async with desk(memory, on_ask=answer) as d:
        run = await d.orch.run(two())
    assert sorted(run.output) == [1, 2]
    assert sorted(seen) == ["a", "b"]


async def test_async_ones_are_asked_all_at_once(memory: Place) -> None:
    async def answer(question: StepWaiting) -> int:
        await anyio.sleep(10)
        return 1

    async with desk(memory, on_ask=answer) as d:
        began = anyio.current_time()
        assert (await d.orch.run(two())).output == [1, 1]
        assert anyio.current_time() - began == pytest.approx(10)


async def test_a_plain_function_may_give_an_awaitable(memory: Place) -> None:
    async def later() -> int:
        return 3

    async with desk(memory, on_ask=lambda question: later()) as d:
        assert (await d.orch.run(one())).output == 3


async def test_what_gives_none_stays_open(place: Place) -> None:
    async with desk(place) as d:
        handle = await d.orch.start(two(), on_ask=lambda question: 1 if question.step == "a" else None)
        run = await handle.result()
        assert (run.status, run["a"], [asked.step for asked in run.questions]) == ("waiting", 1, ["b"])
        await handle.answer("b", 2)
        assert (await handle.result()).output == [1, 2]


@pytest.mark.parametrize("bad", ["raises", "invalid"])
async def test_what_raises_or_does_not_fit_leaves_the_question_open(
    bad: str, memory: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(question: StepWaiting) -> Any:
        if bad == "raises":
            raise KeyError("nobody there")
        return "many"

    with caplog.at_level(logging.WARNING, "llmorch"):
        async with desk(memory, on_ask=answer) as d:
            run = await d.orch.run(one())
            assert (run.status, [asked.step for asked in run.questions]) == ("waiting", ["q"])
    (record,) = caplog.records
    assert "'q', so its question stays open" in record.message
    assert ("nobody there" if bad == "raises" else "integer") in record.message


async def test_the_runs_own_function_comes_before_the_orchestrators(memory: Place) -> None:
    async with desk(memory, on_ask=lambda question: 1) as d:
        assert (await d.orch.run(one(), on_ask=lambda question: 2)).output == 2
        assert (await d.orch.run(one())).output == 1
        assert (await (await d.orch.start(one(), on_ask=lambda question: 4)).result()).output == 4
        async with d.orch.stream(one(), on_ask=lambda question: 5) as events:
            assert [type(event).__name__ async for event in events][-1] == "RunFinished"
        assert events.run.output == 5


async def test_what_is_no_function_is_refused(memory: Place) -> None:
    async with desk(memory) as d:
        with pytest.raises(TypeError, match="on_ask= takes a function of a question"):
            await d.orch.run(one(), on_ask="yes")  # type: ignore[arg-type]
        assert await d.orch.runs() == []


async def test_others_work_while_somebody_thinks(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.ask("q", "How many?", answer=int), wf.add(Payload("long", "Go."))])

    async def answer(question: StepWaiting) -> int:
        await anyio.sleep(60)
        return 3

    async with desk(memory, {"long": Reply("L", 50)}, on_ask=answer, concurrency=1) as d:
        began = anyio.current_time()
        assert (await d.orch.run(wf)).output == [3, "L"]
        assert anyio.current_time() - began == pytest.approx(60)


async def test_somebody_else_may_be_quicker(place: Place) -> None:
    gone: list[str] = []

    async def answer(question: StepWaiting) -> int:
        try:
            await anyio.sleep(3)
        finally:
            gone.append(question.step)
        return 1

    async with desk(place) as d:
        handle = await d.orch.start(one(), on_ask=answer)
        await open_at(handle, "q")
        await handle.answer("q", 2)
        assert (await handle.result()).output == 2
    assert gone == ["q"]


async def test_a_map_asks_about_every_item(memory: Place) -> None:
    from llmorch import Question

    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Question("Keep {{ n }}?", answer=bool, name="keep"), n=each(list(range(30)))))
    async with desk(memory, on_ask=lambda question: "1" in question.question) as d:
        run = await d.orch.run(wf)
    assert [n for n, kept in enumerate(run.output) if kept] == [1, *range(10, 20), 21]


async def test_a_run_that_is_cancelled_does_not_wait_for_who_is_asked(memory: Place) -> None:
    async def answer(question: StepWaiting) -> int:
        await anyio.sleep_forever()
        return 1

    async with desk(memory) as d:
        handle = await d.orch.start(one(), on_ask=answer)
        await open_at(handle, "q")
        await handle.cancel()
        assert (await handle.result()).status == "cancelled"


async def test_leaving_the_orchestrator_leaves_the_question_open(memory: Place) -> None:
    async def answer(question: StepWaiting) -> int:
        await anyio.sleep_forever()
        return 1

    async with desk(memory) as d:
        handle = await d.orch.start(one(), on_ask=answer)
        await open_at(handle, "q")
    async with desk(memory, workflows=[one()]) as d:
        again = d.orch.attach(handle.id)
        assert (await again.result()).status == "waiting"
        await again.answer("q", 3)
        assert (await again.result()).output == 3


async def test_a_run_that_is_taken_up_shows_its_open_questions_to_the_orchestrators(memory: Place) -> None:
    async with desk(memory) as d:
        handle = await waiting(d.orch, two())
    async with desk(memory, workflows=[two()], on_ask=lambda question: 7) as d:
        again = d.orch.attach(handle.id)
        await again.answer("a", 1)
        assert (await again.result()).output == [1, 7]
