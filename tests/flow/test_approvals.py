"""Tools that a person must allow: asked before each use, durable, and told to the model when it is not allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    AnswerInvalid,
    Approval,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    RunWaiting,
    StepAnswered,
    StepWaiting,
    TimedOut,
    Tool,
    ToolFinished,
    ToolStarted,
    Workflow,
    each,
    tool,
)
from llmorch.ports import ProviderResponse, ToolCall, Usage
from llmorch.testing import Reply
from tests.flow.asked import Place, desk, open_at, place_of, waiting
from tests.flow.elsewhere import SharedStore, cut, process
from tests.flow.stage import kinds

pytestmark = pytest.mark.anyio

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@tool(requires_approval=True)
async def pay(amount: int) -> str:
    """Pay somebody."""
    ran.append(f"pay {amount}")
    return f"paid {amount}"


@tool(requires_approval=True)
def delete(name: str) -> str:
    """Delete a file."""
    ran.append(f"delete {name}")
    return "deleted"


@tool
async def look() -> str:
    """Harmless."""
    ran.append("look")
    return "seen"


def wants(*calls: tuple[str, dict[str, Any] | str]) -> ProviderResponse:
    """An answer that asks for tools."""
    made = tuple(
        ToolCall(f"id-{index}", name, given if isinstance(given, str) else json.dumps(given))
        for index, (name, given) in enumerate(calls)
    )
    return ProviderResponse("", made, Usage(10, 5, requests=1), "tool_calls", "m")


def buy(**fields: Any) -> Payload[Any]:
    return Payload("buy", "Buy it.", tools=[pay, delete, look], **fields)


def bought(**options: Any) -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns(wf.add(buy(), **options))


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place_of(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return place_of("memory", tmp_path)


@pytest.mark.parametrize("said", [True, Approval(approved=True), {"approved": True, "note": "fine"}])
async def test_a_tool_waits_until_a_person_allows_it(said: Any, place: Place) -> None:
    async with desk(place, {"buy": [wants(("pay", {"amount": 3})), "done"]}, workflows=[bought()]) as d:
        handle = await waiting(d.orch, bought())
        (asked,) = (await handle.peek()).questions
        assert asked.question == """Step 'buy' wants to use the tool 'pay' with {"amount": 3}. May it?"""
        assert (asked.about, asked.call, asked.use, ran) == ("tool", 1, "id-0", [])
        await handle.answer("buy", said, by="Ada")
        run = await handle.result()
        assert (run.status, run.output, ran) == ("succeeded", "done", ["pay 3"])
        assert d.provider.requests[1].messages[-1].text == "paid 3"
        assert len(d.provider.requests) == 2, "the first answer was paid for once"
        names = kinds(await d.log(handle.id))
    assert names[4:10] == [
        "StepWaiting buy", "RunWaiting", "RunResumed", "StepAnswered buy", "ToolStarted buy", "ToolFinished buy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (False, "pay was not called: a person did not allow it"),
        (Approval(approved=False, note="too dear"), "pay was not called: a person did not allow it: too dear"),
    ],
)
async def test_what_is_not_allowed_is_told_to_the_model_with_the_note(said: Any, told: str, memory: Place) -> None:
    async with desk(memory, {"buy": [wants(("pay", {"amount": 3})), "Then not."]}) as d:
        handle = await waiting(d.orch, bought())
        await handle.answer("buy", said)
        run = await handle.result()
        assert (run.status, run.output, ran) == ("succeeded", "Then not.", [])
        assert d.provider.requests[1].messages[-1].text == told
        (used,) = run.steps["buy"].calls[0].tools
        assert str(used.error) == f"Step 'buy': {told}"


@pytest.mark.parametrize("said", ["yes", 1, None, {"note": "?"}, {"approved": "yes"}])
async def test_what_is_neither_yes_nor_no_comes_back(said: Any, memory: Place) -> None:
    async with desk(memory, {"buy": [wants(("pay", {"amount": 3})), "done"]}) as d:
        handle = await waiting(d.orch, bought())
        with pytest.raises(AnswerInvalid, match="answer again"):
            await handle.answer("buy", said)
        assert (await handle.peek()).status == "waiting"
        await handle.answer("buy", False)
        assert (await handle.result()).output == "done"


async def test_two_uses_in_one_turn_are_asked_about_one_after_the_other(place: Place) -> None:
    calls = wants(("pay", {"amount": 3}), ("look", {}), ("delete", {"name": "a"}), ("pay", {"amount": 4}))
    async with desk(place, {"buy": [calls, "done"]}) as d:
        handle = await waiting(d.orch, bought())
        for said, use in ((True, "id-0"), (False, "id-2"), (True, "id-3")):
            (asked,) = (await handle.result()).questions
            assert asked.use == use
            await handle.answer("buy", said)
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", "done")
        assert sorted(ran) == ["look", "pay 3", "pay 4"]
        assert [message.text for message in d.provider.requests[1].messages[-4:]] == [
            "paid 3", "seen", "delete was not called: a person did not allow it", "paid 4",
        ]  # fmt: skip


async def test_each_round_asks_again(memory: Place) -> None:
    script = {"buy": [wants(("pay", {"amount": 3})), wants(("pay", {"amount": 3})), "done"]}
    async with desk(memory, script) as d:
        handle = await waiting(d.orch, bought())
        await handle.answer("buy", True)
        (asked,) = (await handle.result()).questions
        assert asked.call == 2
        await handle.answer("buy", False)
        assert (await handle.result()).output == "done"
        assert ran == ["pay 3"]


@pytest.mark.parametrize("call", [("pay", {"amount": "many"}), ("pay", '{"amount": 1'), ("gone", {})])
async def test_a_mistake_of_the_model_asks_nobody(call: tuple[str, Any], memory: Place) -> None:
    async with desk(memory, {"buy": [wants(call), "sorry"]}) as d:
        run = await d.orch.run(bought())
        assert (run.status, run.output, ran) == ("succeeded", "sorry", [])
        assert not any(isinstance(event, StepWaiting) for event in await d.log(run.id))


async def test_on_ask_allows_at_once(memory: Place) -> None:
    asked: list[str] = []

    async def answer(question: StepWaiting) -> bool:
        asked.append(question.question)
        return "pay" in question.question

    calls = wants(("pay", {"amount": 3}), ("delete", {"name": "a"}))
    async with desk(memory, {"buy": [calls, "done"]}, on_ask=answer) as d:
        run = await d.orch.run(buy())
        assert (run.status, len(asked), ran) == ("succeeded", 2, ["pay 3"])
        assert not any(isinstance(event, RunWaiting) for event in await d.log(run.id))


async def test_others_work_while_a_tool_waits_for_a_person(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.add(buy()), wf.add(Payload("long", "Go."))])
    script = {"buy": [wants(("pay", {"amount": 3})), "done"], "long": Reply("L", 50)}
    async with desk(memory, script, concurrency=1) as d:
        handle = await d.orch.start(wf)
        await open_at(handle, "buy")
        await anyio.sleep(10)
        await handle.answer("buy", True)
        assert (await handle.result()).output == ["done", "L"]
        assert not any(isinstance(event, RunWaiting) for event in await d.log(handle.id))


async def test_items_of_a_map_ask_each_for_itself(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("buy", "Buy {{ n }}.", tools=[pay]), n=each([1, 2, 3])))
    script: dict[str, object] = {f"buy[{n}]": [wants(("pay", {"amount": n})), f"done {n}"] for n in range(3)}
    async with desk(place, script) as d:
        handle = await waiting(d.orch, wf)
        assert sorted(asked.step for asked in (await handle.peek()).questions) == ["buy[0]", "buy[1]", "buy[2]"]
        for n in (2, 0, 1):
            await handle.answer(f"buy[{n}]", n != 0)
            await handle.result()
        assert (await handle.result()).output == ["done 0", "done 1", "done 2"]
        assert ran == ["pay 2", "pay 1"]
        assert len(d.provider.requests) == 6


async def test_the_time_of_the_person_is_not_the_steps(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.add(buy(), timeout=10), wf.add(Payload("long", "Go."))])
    script = {"buy": [wants(("pay", {"amount": 3})), Reply("done", 5)], "long": Reply("L", 200)}
    async with desk(memory, script) as d:
        handle = await d.orch.start(wf)
        await open_at(handle, "buy")
        await anyio.sleep(100)
        await handle.answer("buy", True)
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", ["done", "L"])


async def test_a_question_is_there_to_be_answered_while_another_step_works(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.add(buy()), wf.add(Payload("long", "Go."))])
    script = {"buy": [Reply(wants(("pay", {"amount": 3})), 1), "done"], "long": Reply("L", 200)}
    async with desk(memory, script) as d:
        began = anyio.current_time()
        handle = await d.orch.start(wf)
        await open_at(handle, "buy")
        assert anyio.current_time() - began < 2
        await handle.answer("buy", True)
        assert (await handle.result()).output == ["done", "L"]


@pytest.mark.parametrize("after_s", [100, 300])  # while another step works, and when the run had been given up
async def test_the_step_still_has_its_own_time(after_s: float, memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.add(buy(), timeout=10), wf.add(Payload("long", "Go."))])
    script = {"buy": [wants(("pay", {"amount": 3})), Reply("done", 15)], "long": Reply("L", 200)}
    async with desk(memory, script) as d:
        handle = await d.orch.start(wf)
        await open_at(handle, "buy")
        await anyio.sleep(after_s)
        await handle.answer("buy", True)
        run = await handle.result()
        assert isinstance(run.failures["buy"], TimedOut)


async def test_a_step_taken_up_again_has_its_time_from_when_it_has_a_place(
    memory: Place,
) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(buy(), timeout=10))
    script = {"buy": [wants(("pay", {"amount": 3})), Reply("done", 8)], "other": Reply("O", 5)}
    async with desk(memory, script, concurrency=1) as d:
        handle = await d.orch.start(wf)
        assert (await handle.result()).status == "waiting"
        other = await d.orch.start(Payload("other", "Go."))
        await anyio.sleep(0.1)
        await handle.answer("buy", True)
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", "done")
        assert (await other.result()).output == "O"


async def test_the_time_of_a_person_who_is_asked_at_once_is_not_the_runs(memory: Place) -> None:
    async def answer(question: StepWaiting) -> bool:
        await anyio.sleep(500)
        return True

    script = {"buy": [wants(("pay", {"amount": 3})), Reply("done", 15)]}
    async with desk(memory, script, on_ask=answer) as d:
        assert (await d.orch.run(bought(), timeout=20)).output == "done"
        script["buy"] = [wants(("pay", {"amount": 3})), Reply("done", 15)]
    async with desk(memory, script, on_ask=answer) as d:
        run = await d.orch.run(bought(), timeout=10)
        assert isinstance(run.error, TimedOut), "what it takes itself still counts"


async def test_a_process_that_takes_the_run_up_goes_on_where_the_answer_finds_it() -> None:
    here = SharedStore("a")
    async with process(here, {"buy": wants(("pay", {"amount": 3}))}, recover=False) as a:
        handle = await waiting(a.orch, bought())
    async with process(SharedStore("b", of=here), recover=False) as b:
        await b.orch.answer(handle.id, "buy", True)
        assert ran == []
    async with process(SharedStore("c", of=here), {"buy": "done"}, workflows=[bought()]) as c:
        run = await c.orch.attach(handle.id).result()
        assert (run.status, run.output, ran, c.asked) == ("succeeded", "done", ["pay 3"], ["buy"])


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_crash_anywhere_forgets_no_answer_and_pays_for_nothing_twice(by_itself: bool) -> None:
    calls = wants(("pay", {"amount": 3}), ("delete", {"name": "a"}))
    here, script = SharedStore("a"), {"buy": [calls, "done"]}
    async with process(here, script, on_ask=lambda question: "pay" in question.question) as a:
        first = await a.orch.run(bought())
        log = await a.log(first)
    assert (first.output, ran) == ("done", ["pay 3"])
    for at in range(2, len(log)):
        ran.clear()
        left = await cut(here, first.id, at)
        script = {"buy": [calls, "done"] if at < 4 else ["done"]}
        asked: list[str] = []

        def answer(question: StepWaiting, asked: list[str] = asked) -> bool:
            asked.append(question.use or "")
            return question.use == "id-0"

        recover: Any = "own" if by_itself else False
        async with process(left, script, workflows=[bought()], on_ask=answer, recover=recover) as b:
            handle = b.orch.attach(first.id) if by_itself else await b.orch.resume(first.id)
            run = await handle.result()
        said = sum(isinstance(event, StepAnswered) for event in log[:at])
        assert (run.status, run.output) == ("succeeded", "done"), at
        assert len(asked) == 2 - said, f"{at}: what was answered is asked once"
        assert ran == ([] if any(_is_paid(event) for event in log[:at]) else ["pay 3"]), at


def _is_paid(event: Any) -> bool:
    return isinstance(event, ToolFinished) and event.tool == "pay"


async def test_a_workflow_that_fails_meanwhile_stops_the_tool_that_waits(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(buy())
    wf.add(Payload("bad", "Go.", retry=Retry(attempts=1)))
    wf.returns([Node("buy"), Node("bad")])
    script = {"buy": wants(("pay", {"amount": 3})), "bad": Reply(ProviderUnavailable("down"), 5)}
    async with desk(memory, script) as d:
        run = await d.orch.run(wf)
        assert (run.status, run.steps["buy"].status, ran) == ("failed", "cancelled", [])


async def test_a_run_that_waits_for_a_yes_is_cancelled(memory: Place) -> None:
    async with desk(memory, {"buy": wants(("pay", {"amount": 3}))}) as d:
        handle = await waiting(d.orch, bought())
        await handle.cancel()
        run = await handle.result()
        assert (run.status, run.steps["buy"].status, ran) == ("cancelled", "cancelled", [])


async def test_a_cancelled_run_that_is_resumed_asks_again_without_a_second_bill(place: Place) -> None:
    async with desk(place, {"buy": [wants(("pay", {"amount": 3})), "done"]}) as d:
        handle = await waiting(d.orch, bought())
        await handle.cancel()
        handle = await d.orch.resume(handle.id)
        assert [asked.use for asked in (await handle.result()).questions] == ["id-0"]
        await handle.answer("buy", True)
        assert (await handle.result()).output == "done"
        assert (ran, len(d.provider.requests)) == (["pay 3"], 2)


async def test_a_tool_of_a_schema_may_want_a_person_too(memory: Place) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    made = Tool.from_schema("count", lambda given: given["n"], schema=schema, requires_approval=True)
    async with desk(memory, {"ask": [wants(("count", {"n": 2})), "done"]}) as d:
        handle = await d.orch.start(Payload("ask", "Go.", tools=[made]))
        assert (await handle.result()).status == "waiting"
        await handle.answer("ask", True)
        assert (await handle.result()).output == "done"
        assert any(isinstance(event, ToolStarted) for event in await d.log(handle.id))
