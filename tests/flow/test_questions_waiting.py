"""Runs that wait for people: owned by nobody, and cancelled, read, forked and begun again like others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    Node,
    Orchestrator,
    Payload,
    ProviderUnavailable,
    Retry,
    RunCancelRequested,
    RunNotFinished,
    RunResumed,
    RunWaiting,
    StepAnswered,
    StepNotRun,
    StepWaiting,
    Workflow,
    optional,
)
from llmorch.testing import Reply
from tests.flow.asked import Place, desk, open_at, place_of, waiting
from tests.flow.elsewhere import SharedStore, process
from tests.flow.stage import fails, kinds

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place_of(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return place_of("memory", tmp_path)


def review() -> Workflow[Any]:
    """A draft, a question about it, and what is made of the answer."""
    wf: Workflow[Any] = Workflow("review")
    wf.add(Payload("draft", "Write on {{ topic }}."))
    wf.ask("verdict", "What of:\n{{ draft }}")
    return wf.returns(wf.add(Payload("end", "{{ draft }} and {{ verdict }}")))


SCRIPT = {"draft": "D", "end": "E"}


async def test_a_run_that_waits_is_owned_by_nobody_and_shows_so(place: Place) -> None:
    async with desk(place, SCRIPT) as d:
        handle = await waiting(d.orch, review(), topic="bees")
        row = await d.store.load(handle.id)
        assert (row.status, row.owner, row.wake_at) == ("waiting", None, None)
        assert [summary.status for summary in await d.orch.runs(status="waiting")] == ["waiting"]
        assert await d.orch.runs(status="running") == []
        run = await d.orch.get(handle.id)
        assert (run.status, run.error, run.finished_at) == ("waiting", None, None)
        assert run["draft"] == "D"
        with pytest.raises(StepNotRun, match="'verdict' has no value, it is waiting"):
            run["verdict"]
        with pytest.raises(RunNotFinished, match="is waiting"):
            run.output  # noqa: B018  # it is a property
        await handle.answer("verdict", "good")
        await handle.result()


async def test_every_form_of_a_report_shows_what_is_asked(memory: Place) -> None:
    async with desk(memory, SCRIPT) as d:
        run = await d.orch.run(review(), topic="bees")
        report, page, data = run.report(), run._repr_html_(), run.to_dict()
        assert "What of:\nD" in report
        assert "What of:" in page
        assert "waiting" in report
        assert json.loads(json.dumps(data))["status"] == "waiting"
        assert data["questions"] == [
            {
                "step": "verdict", "question": "What of:\nD", "schema": {"type": "string"}, "deadline": None,
                "about": "step",
            }
        ]  # fmt: skip
        await d.orch.answer(run.id, "verdict", "good")
        run = await d.orch.attach(run.id).result()
        assert run.to_dict()["questions"] == []
        assert "What of:\nD" in run.report()
        assert "good" in run.report()


async def test_the_code_of_a_plain_script_gets_a_run_that_waits(tmp_path: Path) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.ask("q", "Well?", answer=int))
    with Orchestrator(f"sqlite:///{tmp_path}/runs.db") as orch:
        run = orch.run_sync(wf)
        assert (run.status, [asked.step for asked in run.questions]) == ("waiting", ["q"])
        assert orch.run_sync(wf, on_ask=lambda question: 3).output == 3


async def test_a_run_that_waits_is_cancelled_here_and_stays_so(place: Place) -> None:
    async with desk(place, SCRIPT) as d:
        handle = await waiting(d.orch, review(), topic="bees")
        await handle.cancel()
        run = await handle.result()
        assert run.status == "cancelled"
        assert run.questions == ()
        assert run.steps["verdict"].status == "cancelled"
        with pytest.raises(Exception, match="asks nothing just now"):
            await handle.answer("verdict", "too late")
        log = await d.log(handle.id)
    assert [type(event).__name__ for event in log][-4:] == [
        "RunResumed", "RunCancelRequested", "StepCancelled", "RunFinished",
    ]  # fmt: skip


async def test_a_run_that_waits_is_cancelled_by_a_process_that_has_its_code(place: Place) -> None:
    async with desk(place, SCRIPT) as d:
        handle = await waiting(d.orch, review(), topic="bees")
    async with desk(place, SCRIPT, workflows=[review()]) as other:
        await other.orch.attach(handle.id).cancel()
        assert (await other.orch.get(handle.id)).status == "cancelled"
        assert other.asked == []


async def test_a_wish_to_cancel_waits_for_a_process_that_has_the_code() -> None:
    here = SharedStore("a")
    async with process(here, SCRIPT, recover=False) as a:
        handle = await waiting(a.orch, coded())
        async with process(SharedStore("b", of=here), recover=False) as b:
            await b.orch.attach(handle.id).cancel()
            assert (await here.load(handle.id)).status == "waiting"
    async with process(SharedStore("c", of=here), workflows=[coded()]) as c:
        run = await c.orch.attach(handle.id).result()
        assert run.status == "cancelled"
        assert any(isinstance(event, RunCancelRequested) for event in await c.log(handle.id))


def coded() -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("coded")
    wf.ask("q", "How many?", answer=int)
    return wf.returns(wf.add(twice))


def twice(q: int) -> int:
    return 2 * q


async def test_a_cancelled_run_that_is_resumed_asks_again_and_takes_the_new_answer(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.ask("one", "One?", answer=int), wf.ask("two", "Two?", answer=int)])
    async with desk(place) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("one", 1)
        await handle.result()
        await handle.cancel()
        handle = await d.orch.resume(handle.id)
        run = await handle.result()
        assert (run.status, [asked.step for asked in run.questions], run["one"]) == ("waiting", ["two"], 1)
        await handle.answer("two", 2)
        assert (await handle.result()).output == [1, 2]
        log = await d.log(handle.id)
    assert kinds(log).count("StepWaiting two") == 2
    assert kinds(log).count("StepWaiting one") == 1


async def test_a_resumed_run_keeps_the_answer_it_has(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "How many?", answer=int)
    wf.returns(wf.add(Payload("use", "{{ q }}", retry=ONCE)))
    async with desk(place, {"use": [ProviderUnavailable("down"), "good"]}) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("q", 3)
        assert (await handle.result()).status == "failed"
        run = await (await d.orch.resume(handle.id)).result()
        assert (run.output, run["q"]) == ("good", 3)
        log = await d.log(handle.id)
    assert kinds(log).count("StepWaiting q") == 1


async def test_resuming_a_run_that_waits_changes_nothing(memory: Place) -> None:
    async with desk(memory, SCRIPT) as d:
        handle = await waiting(d.orch, review(), topic="bees")
        before = list(await d.log(handle.id))
        again = await d.orch.resume(handle.id)
        assert (await again.result()).status == "waiting"
        again = await d.orch.takeover(handle.id)
        assert (await again.result()).status == "waiting"
        assert await d.orch.recover() == []
        assert await d.log(handle.id) == before


async def test_a_workflow_that_failed_does_not_wait_for_an_answer_nobody_needs(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "Well?")
    wf.add(fails)
    wf.returns([Node("q"), Node("fails")])
    async with desk(place) as d:
        run = await d.orch.run(wf)
        assert run.status == "failed"
        assert (run.steps["q"].status, run.steps["q"].reason) == ("cancelled", "its workflow has failed")
        assert run.questions == ()
        names = kinds(await d.log(run.id))
    assert "RunWaiting" not in names


async def test_a_failure_that_comes_while_a_question_is_open_ends_the_run(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "Well?")
    wf.ask("other", "And?")
    wf.add(Payload("bad", "{{ other }}", retry=ONCE))
    wf.returns([Node("q"), Node("bad")])
    async with desk(memory, {"bad": ProviderUnavailable("down")}) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("other", "x")
        run = await handle.result()
        assert (run.status, run.steps["q"].status) == ("failed", "cancelled")
        handle = await d.orch.resume(handle.id)
        run = await handle.result()
        assert run.status == "failed", "it is asked again, and fails again"


async def test_a_failed_run_with_an_open_question_asks_again_when_it_is_resumed(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "Well?")
    wf.add(Payload("bad", "Go.", retry=ONCE))
    wf.returns([Node("q"), Node("bad")])
    async with desk(memory, {"bad": [ProviderUnavailable("down"), "good"]}) as d:
        run = await d.orch.run(wf)
        assert run.status == "failed"
        handle = await d.orch.resume(run.id)
        assert (await handle.result()).status == "waiting"
        await handle.answer("q", "new")
        assert (await handle.result()).output == ["new", "good"]


async def test_only_the_workflow_that_failed_gives_its_questions_up(memory: Place) -> None:
    inner: Workflow[Any] = Workflow("inner")
    inner.ask("q", "Inside?")
    inner.add(fails)
    inner.returns([Node("q"), Node("fails")])
    wf: Workflow[Any] = Workflow("w")
    part = wf.add(inner, on_error="skip")
    wf.returns([wf.ask("outside", "Outside?"), optional(part, "none")])
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        run = await handle.peek()
        assert [asked.step for asked in run.questions] == ["outside"]
        assert run.steps["inner"].status == "failed"
        await handle.answer("outside", "x")
        run = await handle.result()
        assert (run.status, run.output) == ("partial", ["x", "none"])


async def test_a_fork_adopts_answers_and_asks_only_what_has_changed(place: Place) -> None:
    async with desk(place, SCRIPT) as d:
        handle = await waiting(d.orch, review(), topic="bees")
        await handle.answer("verdict", "good")
        first = await handle.result()
        fork = await d.orch.fork(first.id, workflow=review().replace("end", Payload("end", "Now {{ verdict }}")))
        run = await fork.result()
        assert (run.status, run["verdict"]) == ("succeeded", "good")
        assert d.asked == ["draft", "end", "end"]
        log = kinds(await d.log(run.id))
        assert "StepWaiting verdict" not in log
        changed = await d.orch.fork(first.id, replace={"draft": "Another"})
        run = await changed.result()
        assert [asked.question for asked in run.questions] == ["What of:\nAnother"]
        answered = await d.orch.fork(first.id, replace={"verdict": "bad"})
        assert (await answered.result())["verdict"] == "bad"


async def test_a_waiting_run_is_forked_and_both_are_answered_apart(memory: Place) -> None:
    async with desk(memory, SCRIPT) as d:
        handle = await waiting(d.orch, review(), topic="bees")
        fork = await d.orch.fork(handle.id)
        assert (await fork.result()).status == "waiting"
        await fork.answer("verdict", "new")
        await handle.answer("verdict", "old")
        assert [(await one.result())["verdict"] for one in (handle, fork)] == ["old", "new"]
        assert d.asked == ["draft", "end", "end"]


async def test_the_same_key_gives_the_run_that_waits(place: Place) -> None:
    async with desk(place, SCRIPT) as d:
        run = await d.orch.run(review(), topic="bees", idempotency_key="k")
        again = await d.orch.run(review(), topic="bees", idempotency_key="k")
        assert (again.id, again.status, d.asked) == (run.id, "waiting", ["draft"])
        handle = await d.orch.start(review(), topic="bees", idempotency_key="k")
        await handle.answer("verdict", "good")
        assert (await handle.result()).output == "E"
        assert (await d.orch.run(review(), topic="bees", idempotency_key="k")).output == "E"


async def test_an_answer_left_by_a_process_without_the_code_is_taken_up_by_one_that_has_it() -> None:
    here = SharedStore("a")
    async with process(here, recover=False) as a:
        handle = await waiting(a.orch, coded())
    async with process(SharedStore("b", of=here), recover=False) as b:
        await b.orch.answer(handle.id, "q", 21)
        with pytest.raises(Exception, match="has its answer already"):
            await b.orch.answer(handle.id, "q", 22)
        run = await b.orch.attach(handle.id).peek()
        assert run.status == "waiting"
    async with process(SharedStore("c", of=here), workflows=[coded()]) as c:
        run = await c.orch.attach(handle.id).result()
        assert (run.status, run.output) == ("succeeded", 42)
        log = await c.log(handle.id)
    assert [event.epoch for event in log if isinstance(event, RunResumed)] == [2]
    assert sum(isinstance(event, StepWaiting) for event in log) == 1
    assert sum(isinstance(event, StepAnswered) for event in log) == 1


async def test_an_answer_reaches_a_run_that_another_process_carries_out() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "Well?")
    wf.add(Payload("use", "{{ q }}"))
    wf.returns([Node("use"), wf.add(Payload("long", "Go."))])
    here = SharedStore("a")
    async with process(here, {"use": "U", "long": Reply("L", 60)}, recover=False) as a:
        handle = await a.orch.start(wf)
        await open_at(handle, "q")
        async with process(SharedStore("b", of=here), recover=False) as b:
            await b.orch.answer(handle.id, "q", "x")
        await anyio.sleep(5)
        assert (await handle.peek())["use"] == "U", "it went on before the long call had ended"
        assert (await handle.result()).output == ["U", "L"]
        assert not any(isinstance(event, RunWaiting) for event in await a.log(handle.id))


async def test_an_owner_that_dies_while_a_question_is_open_leaves_it_open() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("q", "Well?")
    wf.returns([Node("q"), wf.add(Payload("long", "Go."))])
    here = SharedStore("a")
    async with process(here, {"long": Reply("never", 1_000)}, recover=False) as a:
        handle = await a.orch.start(wf)
        await open_at(handle, "q")
        await anyio.sleep(1)
        here.disown(handle.id)
        async with process(SharedStore("b", of=here), {"long": "L"}, workflows=[wf]) as b:
            again = b.orch.attach(handle.id)
            assert (await again.result()).status == "waiting"
            await again.answer("q", "x")
            assert (await again.result()).output == ["x", "L"]
            assert kinds(await b.log(handle.id)).count("StepWaiting q") == 1
