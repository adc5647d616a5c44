"""`on_unknown="ask"`: what was in flight when its process ended is not done again before a person says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    AlreadyAnswered,
    AnswerInvalid,
    CallFinished,
    CallStarted,
    Event,
    Node,
    Payload,
    RunContext,
    StepError,
    StepStarted,
    StepSucceeded,
    StepWaiting,
    ToolStarted,
    Workflow,
    each,
    step,
    tool,
)
from llmorch.ports import ProviderResponse, ToolCall, Usage
from llmorch.testing import Reply
from tests.flow.asked import place_of
from tests.flow.elsewhere import SharedStore, cut, dying, process, whole
from tests.flow.stage import kinds

pytestmark = pytest.mark.anyio

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def pay(context: RunContext) -> str:
    ran.append(context.step)
    return "paid"


@step(pure=True)
def look() -> str:
    ran.append("look")
    return "seen"


@tool
async def send() -> str:
    """Send it."""
    ran.append("send")
    return "sent"


SENDS = ProviderResponse("", (ToolCall("t", "send", "{}"),), Usage(10, 5, requests=1), "tool_calls", "m")


def paying(**options: Any) -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    wf.add(pay, on_unknown="ask", **options)
    return wf.returns(wf.add(Payload("after", "{{ pay }}")))


def starts(path: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StepStarted) and event.step == path


def is_call(event: Event) -> bool:
    return isinstance(event, CallStarted)


async def left(wf: Workflow[Any], script: dict[str, object], when: Callable[[Event], bool]) -> tuple[SharedStore, str]:
    """What a process leaves that dies right after this event; what it did is forgotten here."""
    store, run_id = await dying(wf, script, when=when)
    ran.clear()
    return store, run_id


async def test_a_function_in_flight_is_asked_about_and_run_again_on_retry() -> None:
    store, run_id = await left(paying(), {"after": "A"}, starts("pay"))
    async with process(store, {"after": "A"}, workflows=[paying()]) as s:
        handle = s.orch.attach(run_id)
        run = await handle.result()
        (asked,) = run.questions
        assert (run.status, asked.step, asked.about, ran) == ("waiting", "pay", "unknown", [])
        assert asked.question == (
            "Step 'pay' was in flight when its process ended, and nobody knows what it has done. "
            "See what it did; then answer 'retry' to run it again, or 'fail'."
        )
        with pytest.raises(AnswerInvalid):
            await handle.answer("pay", "maybe")
        await handle.answer("pay", "retry")
        run = await handle.result()
        assert (run.status, run.output, ran) == ("succeeded", "A", ["pay"])


async def test_it_fails_when_a_person_says_so_and_resume_runs_it_again() -> None:
    store, run_id = await left(paying(), {"after": "A"}, starts("pay"))
    async with process(store, {"after": "A"}, workflows=[paying()]) as s:
        handle = s.orch.attach(run_id)
        await handle.result()
        await handle.answer("pay", "fail")
        run = await handle.result()
        assert (run.status, ran) == ("failed", [])
        assert isinstance(run.error, StepError)
        assert "a person said not to run it again" in str(run.error)
        run = await (await s.orch.resume(run_id)).result()
        assert (run.status, run.output, ran) == ("succeeded", "A", ["pay"])


async def test_the_failure_obeys_the_policy_of_the_step() -> None:
    store, run_id = await left(paying(on_error="skip"), {"after": "A"}, starts("pay"))
    async with process(store, workflows=[paying(on_error="skip")]) as s:
        handle = s.orch.attach(run_id)
        await handle.result()
        await handle.answer("pay", "fail")
        run = await handle.result()
        assert (run.steps["pay"].status, run.steps["after"].status) == ("failed", "skipped")


@pytest.mark.parametrize("by", ["recover", "resume", "takeover"])
async def test_whoever_takes_the_run_up_asks_once(by: str) -> None:
    store, run_id = await left(paying(), {"after": "A"}, starts("pay"))
    async with process(store, {"after": "A"}, workflows=[paying()], recover="own" if by == "recover" else False) as s:
        if by == "resume":
            await s.orch.resume(run_id)
        elif by == "takeover":
            await s.orch.takeover(run_id)
        assert (await s.orch.attach(run_id).result()).status == "waiting"
    async with process(SharedStore("c", of=store), {"after": "A"}, workflows=[paying()]) as s:
        handle = s.orch.attach(run_id)
        assert (await handle.result()).status == "waiting"
        await handle.answer("pay", "retry")
        assert (await handle.result()).output == "A"
        assert kinds(await s.log(run_id)).count("StepWaiting pay") == 1


async def test_a_second_crash_after_the_answer_asks_again() -> None:
    store, run_id = await left(paying(), {"after": "A"}, starts("pay"))
    async with process(store, {"after": "A"}, workflows=[paying()], on_ask=lambda question: "retry") as s:
        assert (await s.orch.attach(run_id).result()).output == "A"
        log = await s.log(run_id)
    assert ran == ["pay"]
    at = [number for number, event in enumerate(log, 1) if starts("pay")(event)]
    assert len(at) == 2
    again = await cut(store, run_id, at[1])
    ran.clear()
    async with process(again, {"after": "A"}, workflows=[paying()]) as s:
        assert (await s.orch.attach(run_id).result()).status == "waiting"
        assert ran == []


async def test_a_crash_between_the_answer_and_the_second_start_does_not_ask_again() -> None:
    store, run_id = await left(paying(), {"after": "A"}, starts("pay"))
    async with process(store, {"after": "A"}, workflows=[paying()], on_ask=lambda question: "retry") as s:
        await s.orch.attach(run_id).result()
        log = await s.log(run_id)
    at = kinds(log).index("StepAnswered pay") + 1
    again = await cut(store, run_id, at)
    ran.clear()
    async with process(again, {"after": "A"}, workflows=[paying()]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, ran) == ("succeeded", ["pay"])


async def test_a_pure_function_is_not_asked_about() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.add(look, on_unknown="ask")])
    store, run_id = await left(wf, {}, starts("look"))
    async with process(store, workflows=[wf]) as s:
        assert (await s.orch.attach(run_id).result()).output == ["seen"]


async def test_a_call_in_flight_is_asked_about_and_its_cost_stays_unknown() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(Payload("ask", "Go."), on_unknown="ask"))
    store, run_id = await left(wf, {"ask": "one"}, is_call)
    async with process(store, {"ask": "two"}, workflows=[wf]) as s:
        handle = s.orch.attach(run_id)
        run = await handle.result()
        assert (run.status, [asked.about for asked in run.questions], s.asked) == ("waiting", ["unknown"], [])
        await handle.answer("ask", "retry")
        run = await handle.result()
        assert (run.output, s.asked) == ("two", ["ask"])
        assert [call.usage is None for call in run.steps["ask"].calls] == [True, False]


async def test_a_call_that_had_ended_is_not_asked_about() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("ask", "Go."), on_unknown="ask")
    wf.returns(wf.add(pay))
    store, run_id = await left(wf, {"ask": "one"}, starts("ask"))
    async with process(store, {"ask": "two"}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, run["ask"]) == ("succeeded", "two"), "nothing had been sent"


async def test_a_tool_in_flight_is_asked_about_and_the_call_before_it_stays() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(Payload("ask", "Go.", tools=[send]), on_unknown="ask"))
    store, run_id = await left(wf, {"ask": [SENDS, "done"]}, lambda event: isinstance(event, ToolStarted))
    async with process(store, {"ask": "done"}, workflows=[wf]) as s:
        handle = s.orch.attach(run_id)
        assert (await handle.result()).status == "waiting"
        await handle.answer("ask", "retry")
        run = await handle.result()
        assert (run.output, s.asked, ran) == ("done", ["ask"], ["send"])


async def test_a_late_answer_settles_what_was_asked() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("ask", "Go."), on_unknown="ask")
    wf.returns(wf.add(Payload("next", "{{ ask }}")))
    here = SharedStore("a")
    async with process(here, {"ask": Reply("old", 20)}, recover=False) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        here.disown(handle.id)
        async with process(SharedStore("b", of=here), {"next": "N"}, workflows=[wf]) as b:
            again = b.orch.attach(handle.id)
            assert (await again.result()).status == "waiting"
            run = await again.result(wait_for_answers=True)
            assert (run.status, run["ask"], run.output, b.asked) == ("succeeded", "old", "N", ["next"])
            ends = [
                event for event in await b.log(handle.id) if isinstance(event, CallFinished) and event.step == "ask"
            ]
            assert len(ends) == 1, "one bill"


async def test_a_late_answer_that_is_there_already_asks_nobody() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(Payload("ask", "Go."), on_unknown="ask"))
    here = SharedStore("a")
    async with process(here, {"ask": Reply("old", 20)}, recover=False) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        other = SharedStore("b", of=here)
        here.disown(handle.id)
        await other.release(await other.claim(handle.id, "b"), status="running")
        await anyio.sleep(60)
        async with process(SharedStore("c", of=here), workflows=[wf]) as c:
            run = await c.orch.attach(handle.id).result()
            assert (run.status, run.output, c.asked) == ("succeeded", "old", [])
            assert not any(isinstance(event, StepWaiting) for event in await c.log(handle.id))


async def test_items_of_a_map_are_asked_about_one_by_one() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each([1, 2, 3]), on_unknown="ask"))
    script: dict[str, object] = {f"ask[{n}]": Reply(f"A{n}", 10 * n + 1) for n in range(3)}
    store, run_id = await left(wf, script, lambda event: isinstance(event, StepSucceeded) and event.step == "ask[0]")
    async with process(store, {"ask": "new"}, workflows=[wf]) as s:
        handle = s.orch.attach(run_id)
        run = await handle.result()
        assert sorted(asked.step for asked in run.questions) == ["ask[1]", "ask[2]"]
        for path in ("ask[2]", "ask[1]"):
            await handle.answer(path, "retry")
            run = await handle.result()
        assert run.output == ["A0", "new", "new"]


async def test_others_go_on_while_it_is_asked_about() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(pay, on_unknown="ask")
    wf.returns([Node("pay"), wf.add(Payload("other", "Go."))])
    store, run_id = await left(wf, {"other": "O"}, starts("pay"))
    async with process(store, {"other": "O"}, workflows=[wf]) as s:
        handle = s.orch.attach(run_id)
        run = await handle.result()
        assert (run.status, run["other"]) == ("waiting", "O")
        await handle.answer("pay", "retry")
        with pytest.raises(AlreadyAnswered):
            await handle.answer("pay", "fail")
        assert (await handle.result()).output == ["paid", "O"]


async def test_a_run_that_was_not_interrupted_asks_nothing(tmp_path: Path) -> None:
    assert place_of("memory", tmp_path)
    store, run_id = await whole(paying(), {"after": "A"})
    log = await store.events(run_id, limit=1_000)
    assert not any(isinstance(event, StepWaiting) for event in log)
    assert ran == ["pay"]
