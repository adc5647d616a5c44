"""Tools: rounds, results, mistakes, limits, and what the log says of them."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from llmorch import (
    CallFinished,
    CallStarted,
    OutputInvalid,
    Payload,
    ProviderUnavailable,
    Run,
    RunContext,
    StepError,
    ToolError,
    ToolFinished,
    ToolStarted,
    Usage,
    Workflow,
    tool,
)
from llmorch.ports import Capabilities, ProviderRequest, ProviderResponse, ToolCall
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import kinds, stage

pytestmark = pytest.mark.anyio


def wants(*calls: tuple[str, dict[str, Any] | str], text: str = "", reason: str = "tool_calls") -> ProviderResponse:
    """An answer that asks for tools."""
    made = tuple(
        ToolCall(f"id-{index}", name, given if isinstance(given, str) else json.dumps(given))
        for index, (name, given) in enumerate(calls)
    )
    return ProviderResponse(text, made, Usage(10, 5, requests=1), reason, "m")


@tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@tool
async def shout(text: str) -> str:
    """Make it loud."""
    return text.upper()


async def asked(script: list[object], *tools: Any, **fields: Any) -> tuple[Run[Any], ScriptedProvider]:
    payload = Payload("ask", "Go.", tools=tools, **fields)
    async with stage({"ask": script}) as s:
        return await s.orch.run(payload), s.provider


async def test_a_tools_result_goes_back_to_the_model_and_its_answer_is_the_value() -> None:
    run, provider = await asked([wants(("add", {"a": 2, "b": 3})), "It is 5."], add)
    assert run.output == "It is 5."
    first, second = provider.requests
    assert [spec.name for spec in first.tools] == ["add"]
    assert first.tools[0].schema["required"] == ["a"]
    assistant, result = second.messages[-2:]
    assert (assistant.role, assistant.tool_calls) == ("assistant", (ToolCall("id-0", "add", '{"a": 2, "b": 3}'),))
    assert (result.role, result.text, result.tool_call_id) == ("tool", "5", "id-0")
    assert run.usage.requests == 2
    assert run.usage.input_tokens >= 10


async def test_the_log_has_the_start_of_a_tool_before_its_end_and_after_the_call() -> None:
    async with stage({"ask": [wants(("add", {"a": 2})), "done"]}) as s:
        run = await s.orch.run(Payload("ask", "Go.", tools=[add]))
        log = await s.log(run)
        assert kinds(log)[1:-1] == [
            "StepStarted ask", "CallStarted ask", "CallFinished ask", "ToolStarted ask", "ToolFinished ask",
            "CallStarted ask", "CallFinished ask", "StepSucceeded ask",
        ]  # fmt: skip
        started = next(event for event in log if isinstance(event, ToolStarted))
        assert (started.call, started.id, started.tool, started.arguments) == (1, "id-0", "add", '{"a": 2}')
        ended = next(event for event in log if isinstance(event, ToolFinished))
        assert (ended.result, ended.error) == ("3", None)
        answer = next(event for event in log if isinstance(event, CallFinished)).answer
        assert answer is not None
        assert answer.tool_calls[0].name == "add"


async def test_the_start_of_a_tool_is_committed_before_it_runs() -> None:
    committed: list[bool] = []

    async with stage({"ask": [wants(("look", {})), "done"]}) as s:

        @tool
        async def look(context: RunContext) -> str:
            log = await s.store.events(context.run_id, limit=100)
            committed.append(any(isinstance(event, ToolStarted) for event in log))
            return "seen"

        assert (await s.orch.run(Payload("ask", "Go.", tools=[look]))).status == "succeeded"
    assert committed == [True]


async def test_a_tool_gets_the_applications_own_object() -> None:
    @tool
    def who(context: RunContext) -> str:
        """Who asks."""
        return f"{context.deps} in {context.step}"

    async with stage({"ask": [wants(("who", {})), "done"]}, deps="the app") as s:
        await s.orch.run(Payload("ask", "Go.", tools=[who]))
        assert s.provider.requests[1].messages[-1].text == "the app in ask"
        assert s.provider.requests[0].tools[0].schema["properties"] == {}


async def test_tools_of_one_turn_run_at_once_and_answer_in_the_order_of_the_calls() -> None:
    @tool
    async def wait(seconds: float) -> float:
        """Wait."""
        await anyio.sleep(seconds)
        return seconds

    began = anyio.current_time()
    run, provider = await asked([wants(("wait", {"seconds": 3}), ("wait", {"seconds": 1})), "done"], wait)
    assert anyio.current_time() - began == pytest.approx(3)
    assert run.status == "succeeded"
    assert [message.text for message in provider.requests[1].messages[-2:]] == ["3.0", "1.0"]


async def test_a_plain_function_runs_in_a_thread() -> None:
    here = threading.get_ident()

    def where() -> bool:
        """Where it runs."""
        return threading.get_ident() == here

    _, provider = await asked([wants(("where", {})), "done"], where)
    assert provider.requests[1].messages[-1].text == "false"


async def test_text_goes_back_as_it_is_and_data_as_json() -> None:
    @tool
    def both(as_text: bool) -> Any:
        """Either."""
        return 'a "quoted" ä' if as_text else {"ä": [1, None]}

    _, provider = await asked([wants(("both", {"as_text": True}), ("both", {"as_text": False})), "done"], both)
    assert [message.text for message in provider.requests[1].messages[-2:]] == ['a "quoted" ä', '{"ä": [1, null]}']


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("add", {"a": "many"}), "a"),
        (("add", {}), "a"),
        (("add", {"a": 1, "c": 2}), "c"),
        (("add", '{"a": 1'), "JSON"),
        (("add", "[1]"), "add"),
        (("subtract", {"a": 1}), "there is no tool 'subtract'; there are: add"),
    ],
)
async def test_a_mistake_of_the_model_goes_back_to_it(call: tuple[str, Any], told: str) -> None:
    run, provider = await asked([wants(call), wants(("add", {"a": 1})), "done"], add)
    assert run.output == "done"
    assert told in provider.requests[1].messages[-1].text
    assert provider.requests[2].messages[-1].text == "2"
    first, second, _ = run.steps["ask"].calls
    assert isinstance(first.tools[0].error, ToolError)
    assert second.tools[0].error is None


async def test_a_tool_error_is_told_to_the_model() -> None:
    @tool
    def find(name: str) -> str:
        """Find it."""
        raise ToolError(f"nobody is called {name}")

    run, provider = await asked([wants(("find", {"name": "Ada"})), "nobody"], find)
    assert run.output == "nobody"
    assert provider.requests[1].messages[-1].text == "nobody is called Ada"


@pytest.mark.parametrize("beside", [False, True])
async def test_any_other_exception_fails_the_step_and_names_the_tool(beside: bool) -> None:
    @tool
    def broken() -> str:
        """Break."""
        raise ValueError("a bug")

    calls = [("broken", {}), ("add", {"a": 1})] if beside else [("broken", {})]
    run, provider = await asked([wants(*calls), "never"], broken, add)
    assert run.status == "failed"
    assert isinstance(run.error, StepError)
    assert "tool 'broken' raised ValueError: a bug" in str(run.error)
    assert isinstance(run.error.__cause__, ValueError)
    assert len(provider.requests) == 1


async def test_a_result_that_is_no_data_fails_the_step() -> None:
    @tool
    def odd() -> Any:
        """Odd."""
        return object()

    run, _ = await asked([wants(("odd", {})), "never"], odd)
    assert run.status == "failed"
    assert "'odd'" in str(run.error)


async def test_a_tool_that_takes_too_long_is_told_to_the_model() -> None:
    @tool(timeout=2)
    async def slow() -> str:
        """Slow."""
        await anyio.sleep(60)
        return "late"

    began = anyio.current_time()
    run, provider = await asked([wants(("slow", {})), "gave up"], slow)
    assert run.output == "gave up"
    assert anyio.current_time() - began == pytest.approx(2)
    assert provider.requests[1].messages[-1].text == "the tool 'slow' did not finish within 2 s"


async def test_after_the_last_round_it_is_asked_once_more_without_tools() -> None:
    script = [wants(("add", {"a": 1})), wants(("add", {"a": 2})), "that is all"]
    run, provider = await asked(script, add, max_tool_rounds=2)
    assert run.output == "that is all"
    assert [bool(request.tools) for request in provider.requests] == [True, True, False]


async def test_who_still_asks_for_tools_then_fails() -> None:
    run, provider = await asked([wants(("add", {"a": n})) for n in range(3)], add, max_tool_rounds=2)
    assert run.status == "failed"
    assert isinstance(run.error, ToolError)
    assert "still asking for tools after 2 rounds" in str(run.error)
    assert len(provider.requests) == 3


class Sum(BaseModel):
    total: int


async def test_with_an_output_type_tools_come_first() -> None:
    run, provider = await asked([wants(("add", {"a": 1})), {"total": "two"}, {"total": 2}], add, output=Sum)
    assert run.output == Sum(total=2)
    repair = provider.requests[2].messages
    assert [message.role for message in repair] == ["user", "assistant", "tool", "assistant", "user"]
    assert all(request.output_schema is not None for request in provider.requests)


async def test_a_model_that_cannot_do_both_is_told_the_schema_in_words() -> None:
    abilities = Capabilities(schema_with_tools=False)
    provider = ScriptedProvider({"ask": [wants(("add", {"a": 1})), '{"total": 2}']}, capabilities=abilities)
    async with stage() as s:
        s.orch.catalog._providers["scripted"] = provider
        run = await s.orch.run(Payload("ask", "Go.", tools=[add], output=Sum))
        assert run.output == Sum(total=2)
    assert all(request.output_schema is None for request in provider.requests)
    assert "JSON schema" in provider.requests[0].messages[0].text
    response = run.steps["ask"].response
    assert response is not None
    assert response.messages == provider.requests[-1].messages


async def test_arguments_that_were_cut_are_an_invalid_output() -> None:
    run, _ = await asked([wants(("add", '{"a": 1'), reason="length"), "never"], add)
    assert isinstance(run.error, OutputInvalid)
    assert "raise max_tokens" in str(run.error)


async def test_the_messages_of_a_response_are_those_of_its_last_call() -> None:
    run, provider = await asked([wants(("add", {"a": 1}), text="Let me see."), "done"], add)
    response = run.steps["ask"].response
    assert response is not None
    assert response.messages == provider.requests[-1].messages
    assert response.calls == 2
    assert "add({" in run.report()


async def test_what_the_vendor_wants_back_goes_back_to_the_same_model_only() -> None:
    signed = ProviderResponse(
        "", (ToolCall("id-0", "add", '{"a": 1}'),), Usage(1, 1), "tool_calls", raw={"replay": {"thinking": "signed"}}
    )
    down = ProviderUnavailable("down")
    first = ScriptedProvider({"ask": [signed, "x", down]}, name="first")
    async with stage({"ask": ["second"]}) as s:
        s.orch.catalog._providers["first"] = first
        same = await s.orch.run(Payload("ask", "Go.", model="first:m", tools=[add]))
        assert same.output == "x"
        assert first.requests[1].messages[1].vendor == {"thinking": "signed"}

    again = ScriptedProvider({"ask": [signed, down]}, name="first")
    async with stage({"ask": ["from the second"]}) as s:
        s.orch.catalog._providers["first"] = again
        payload = Payload("ask", "Go.", model="first:m", tools=[add], fallback=["scripted:m"]).using(retry=None)
        run = await s.orch.run(payload.using(retry=_once()))
        assert run.output == "from the second"
        (asked_second,) = s.provider.requests
        assert asked_second.messages[1].tool_calls
        assert asked_second.messages[1].vendor == {}
        assert asked_second.messages[2].text == "2", "a tool that has run is not run again for another model"


def _once() -> Any:
    from llmorch import Retry

    return Retry(attempts=1)


async def test_ids_that_are_missing_or_repeated_are_made_distinct() -> None:
    calls = (ToolCall("", "add", '{"a": 1}'), ToolCall("x", "add", '{"a": 2}'), ToolCall("x", "add", '{"a": 3}'))
    answer = ProviderResponse("", calls, Usage(1, 1), "tool_calls")
    _, provider = await asked([answer, "done"], add)
    results = provider.requests[1].messages[-3:]
    assert [message.text for message in results] == ["2", "3", "4"]
    assert len({message.tool_call_id for message in results}) == 3


async def test_a_cancelled_run_leaves_no_tool_running() -> None:
    ended: list[str] = []

    @tool
    async def long() -> str:
        """Long."""
        try:
            await anyio.sleep(1000)
        finally:
            ended.append("ended")
        return "late"

    async with stage({"ask": [wants(("long", {}), ("long", {})), "never"]}) as s:
        handle = await s.orch.start(Payload("ask", "Go.", tools=[long]))
        await anyio.sleep(1)
        await handle.cancel()
        assert (await handle.result()).status == "cancelled"
    assert ended == ["ended", "ended"]


async def test_a_retry_inside_the_rounds_repeats_its_own_round_only() -> None:
    ran: list[int] = []

    @tool
    def note(n: int) -> str:
        """Note."""
        ran.append(n)
        return "noted"

    script = [wants(("note", {"n": 1})), ProviderUnavailable("down"), wants(("note", {"n": 2})), "done"]
    run, provider = await asked(script, note)
    assert run.output == "done"
    assert ran == [1, 2]
    assert len(provider.requests) == 4


class TestToolsInWords:
    """Models without native tool calling are told of the tools in the prompt."""

    async def one(self, *script: object, **fields: Any) -> tuple[Run[Any], ScriptedProvider]:
        provider = ScriptedProvider({"ask": list(script)}, capabilities=Capabilities(tools=False, json_schema=False))
        async with stage() as s:
            s.orch.catalog._providers["scripted"] = provider
            return await s.orch.run(Payload("ask", "Go.", tools=[add, shout], **fields)), provider

    async def test_a_call_in_the_text_is_carried_out(self) -> None:
        wish = '{"tool_calls": [{"name": "add", "arguments": {"a": 4}}, {"name": "shout", "arguments": {"text": "x"}}]}'
        run, provider = await self.one(f"```json\n{wish}\n```", "5 and X")
        assert run.output == "5 and X"
        first, second = provider.requests
        assert first.tools == ()
        assert '"name":"add"' in first.messages[0].text
        assert "Add two numbers." in first.messages[0].text
        assert [message.role for message in second.messages] == ["system", "user", "assistant", "user"]
        assert second.messages[-1].text == "Result of add:\n5\n\nResult of shout:\nX"
        response = run.steps["ask"].response
        assert response is not None
        assert response.messages == second.messages

    async def test_an_answer_is_an_answer(self) -> None:
        for text in ("5", '{"tool_calls": []}', '{"tool_calls": [{"arguments": {}}]}', '{"tool_calls": {}, "x": 1}'):
            run, provider = await self.one(text)
            assert run.output == text
            assert len(provider.requests) == 1

    async def test_it_goes_together_with_an_output_type(self) -> None:
        run, provider = await self.one(
            '{"tool_calls": [{"name": "add", "arguments": {"a": 4}}]}', '{"total": 5}', output=Sum
        )
        assert run.output == Sum(total=5)
        assert provider.requests[0].messages[0].text.count("JSON schema") == 2

    async def test_the_round_limit_holds(self) -> None:
        wish = '{"tool_calls": [{"name": "add", "arguments": {"a": 4}}]}'
        run, _ = await self.one(wish, wish, max_tool_rounds=1)
        assert isinstance(run.error, ToolError)

    async def test_the_log_says_that_the_tools_were_in_words(self) -> None:
        provider = ScriptedProvider({"ask": ["5"]}, capabilities=Capabilities(tools=False))
        async with stage() as s:
            s.orch.catalog._providers["scripted"] = provider
            run = await s.orch.run(Payload("ask", "Go.", tools=[add]))
            started = next(event for event in await s.log(run) if isinstance(event, CallStarted))
            assert started.tools_in_words


async def test_tools_of_many_items_of_a_map_do_not_mix() -> None:
    async def answer(request: ProviderRequest) -> object:
        number = int(request.messages[0].text.split()[-1])
        results = [message.text for message in request.messages if message.role == "tool"]
        return f"{number}: {results[0]}" if results else wants(("add", {"a": number, "b": 100}))

    from llmorch import each

    workflow = Workflow("many")
    workflow.returns(workflow.map(Payload("ask", "Add {{ n }}", tools=[add]), n=each(list(range(20)))))
    async with stage({"ask": Reply(answer, 0.5)}) as s:
        run = await s.orch.run(workflow)
        assert run.output == [f"{n}: {n + 100}" for n in range(20)]


async def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two tools are named 'add'"):
        Payload("ask", "Go.", tools=[add, tool(name="add")(lambda: 1)])
