"""ScriptedProvider: which answer a step gets, in what form it is sent, and what the provider keeps."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from llmorch.errors import LLMOrchError, RateLimited
from llmorch.models.message import Message, ToolCall
from llmorch.models.usage import Usage
from llmorch.ports import Provider
from llmorch.requests import Capabilities, ProviderRequest, ProviderResponse
from llmorch.testing import Reply, ScriptedProvider, ScriptError, run_virtual

pytestmark = pytest.mark.anyio


def ask(step: str | None, text: str = "question", *, schema: dict[str, Any] | None = None) -> ProviderRequest:
    return ProviderRequest("m", (Message("user", text),), step=step, output_schema=schema)


def wrapping(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"value": value}, "required": ["value"], **more}


class Facts(BaseModel):
    title: str
    claims: list[str]


def test_it_is_a_provider() -> None:
    provider = ScriptedProvider({})
    assert isinstance(provider, Provider)
    assert provider.name == "scripted"
    assert ScriptedProvider({}, name="openai").name == "openai"


def test_every_capability_is_there_unless_others_are_given() -> None:
    everything = ScriptedProvider({}).capabilities("m")
    assert everything == Capabilities(streaming=True, tools=True, json_schema=True, images=True)
    plain = Capabilities(json_schema=False)
    assert ScriptedProvider({}, capabilities=plain).capabilities("m") is plain


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("review[3]/check", "exact"),
        ("review[4]/check", "last part"),
        ("review[4]", "item"),
        ("refine@2", "loop"),
        ("other", "any"),
        (None, "any"),
    ],
)
async def test_the_path_goes_before_the_bare_name_and_the_bare_name_before_the_star(
    step: str | None, answer: str
) -> None:
    script = {"*": "any", "check": "last part", "review": "item", "refine": "loop", "review[3]/check": "exact"}
    assert (await ScriptedProvider(script).complete(ask(step))).text == answer


async def test_an_unknown_step_is_told_which_steps_are_known() -> None:
    provider = ScriptedProvider({"draft": "x", "judge": "y"})
    with pytest.raises(ScriptError, match=r"no answer for step 'drift'; its script knows 'draft', 'judge'") as caught:
        await provider.complete(ask("drift"))
    assert isinstance(caught.value, LLMOrchError)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.step == "drift"
    with pytest.raises(ScriptError, match="knows nothing"):
        await ScriptedProvider({}).complete(ask("drift"))


async def test_a_list_is_used_in_order_by_each_path_on_its_own() -> None:
    provider = ScriptedProvider({"item": ["first", "second"]})
    texts = [(await provider.complete(ask(step))).text for step in ("m[0]/item", "m[1]/item", "m[0]/item")]
    assert texts == ["first", "first", "second"]


async def test_a_step_that_asks_once_more_than_scripted_is_named() -> None:
    provider = ScriptedProvider({"draft": ["only"]})
    await provider.complete(ask("draft"))
    with pytest.raises(ScriptError, match=r"Step 'draft' asked once more, but the 1 answer"):
        await provider.complete(ask("draft"))


async def test_one_answer_serves_every_request() -> None:
    provider = ScriptedProvider({"draft": "same"})
    assert [(await provider.complete(ask("draft"))).text for _ in range(3)] == ["same"] * 3


async def test_requests_are_kept_in_order_of_arrival_even_when_they_fail() -> None:
    provider = ScriptedProvider({"a": RateLimited("slow down"), "b": "x"})
    with pytest.raises(RateLimited):
        await provider.complete(ask("a"))
    await provider.complete(ask("m[1]/b"))
    assert [request.step for request in provider.requests] == ["a", "m[1]/b"]
    assert provider.requests_of("b") == provider.requests_of("m[1]/b") == (provider.requests[1],)
    assert provider.requests_of("m") == ()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ((1, 2), "[1, 2]"),
        (3, "3"),
        (True, "true"),
        ("é", "é"),
        ({"é": "é"}, '{"é": "é"}'),
        (Facts(title="t", claims=["c"]), '{"title": "t", "claims": ["c"]}'),
    ],
)
async def test_text_goes_as_it_is_and_data_as_json(answer: object, text: str) -> None:
    assert (await ScriptedProvider({"a": [answer]}).complete(ask("a"))).text == text


@pytest.mark.parametrize(
    ("value", "answer", "sent"),
    [
        ({"type": "array"}, [1, 2], {"value": [1, 2]}),
        ({"type": "array"}, "[1, 2]", {"value": [1, 2]}),
        ({"type": "array"}, {"value": [1]}, {"value": [1]}),
        ({"type": "array"}, '{"value": [1]}', {"value": [1]}),
        ({"type": "integer"}, 5, {"value": 5}),
        ({"type": "string"}, "5", {"value": "5"}),
        ({"enum": ["yes", "no"]}, "yes", {"value": "yes"}),
        ({"const": 1}, "1", {"value": 1}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", {"value": "5"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", {"value": 5}),
        ({"type": ["integer", "string"]}, "x", {"value": "x"}),
        ({"$ref": "#/$defs/Colour"}, "red", {"value": "red"}),
        ({}, "anything", {"value": "anything"}),
        ({"type": "integer"}, None, {"value": None}),
    ],
)
async def test_a_bare_answer_is_wrapped_when_the_object_of_a_value_is_asked_for(
    value: dict[str, Any], answer: object, sent: object
) -> None:
    schema = wrapping(value, **{"$defs": {"Colour": {"enum": ["red", "blue"]}}})
    response = await ScriptedProvider({"a": [answer]}).complete(ask("a", schema=schema))
    assert json.loads(response.text) == sent


@pytest.mark.parametrize(
    "schema",
    [
        wrapping({"type": "integer"}),
        wrapping({"type": "string"}, title="Score"),
        {"type": "object", "properties": {"title": {"type": "string"}}},
        None,
    ],
)
async def test_a_bad_answer_stays_as_bad_as_it_was_written(schema: dict[str, Any] | None) -> None:
    assert (await ScriptedProvider({"a": "no json"}).complete(ask("a", schema=schema))).text == "no json"


async def test_a_provider_response_is_given_as_it_is() -> None:
    response = ProviderResponse("", tool_calls=(ToolCall("1", "add", "{}"),), finish_reason="tool_calls")
    assert await ScriptedProvider({"a": response}).complete(ask("a", schema=wrapping({}))) is response


@pytest.mark.parametrize("failure", [RateLimited, RateLimited("slow down", retry_after=3), ConnectionResetError()])
async def test_an_exception_or_its_class_is_raised(failure: Any) -> None:
    with pytest.raises(failure if isinstance(failure, type) else type(failure)) as caught:
        await ScriptedProvider({"a": [failure]}).complete(ask("a"))
    assert isinstance(failure, type) or caught.value is failure


async def test_a_function_of_the_request_answers_with_anything_a_script_may_hold() -> None:
    async def later(request: ProviderRequest) -> object:
        return lambda again: Reply({"step": again.step, "prompt": request.messages[0].text})

    def listing(request: ProviderRequest) -> object:
        return [1, 2]

    provider = ScriptedProvider({"a": later, "b": listing, "c": lambda request: RateLimited})
    assert json.loads((await provider.complete(ask("a", "hi"))).text) == {"step": "a", "prompt": "hi"}
    assert (await provider.complete(ask("b"))).text == "[1, 2]"
    with pytest.raises(RateLimited):
        await provider.complete(ask("c"))


async def test_usage_counts_four_characters_a_token_rounded_up() -> None:
    request = ProviderRequest("m", (Message("system", "abc"), Message("user", "de")), step="a")
    response = await ScriptedProvider({"a": "123456789"}).complete(request)
    assert response.usage == Usage(input_tokens=2, output_tokens=3, requests=1)
    assert response.model == "m"
    assert response.finish_reason == "stop"


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        ("one two\n three ", ["one ", "two\n ", "three "]),
        (" lead", [" lead"]),
        ("  ", ["  "]),
        ("", []),
        (Reply("one two", chunks=["on", "e two"]), ["on", "e two"]),
        (ProviderResponse("whole answer"), ["whole ", "answer"]),
    ],
)
async def test_a_watched_answer_streams_word_by_word_or_in_the_pieces_given(answer: object, pieces: list[str]) -> None:
    seen: list[str] = []
    response = await ScriptedProvider({"a": answer}).complete(ask("a"), on_delta=seen.append)
    assert "".join(seen) == response.text
    assert seen == pieces


async def test_pieces_that_do_not_make_the_answer_are_refused() -> None:
    provider = ScriptedProvider({"a": Reply("one", chunks=["two"])})
    with pytest.raises(ScriptError, match="'two', but its answer is 'one'"):
        await provider.complete(ask("a"))


async def test_a_stream_may_break_after_some_pieces() -> None:
    seen: list[str] = []
    provider = ScriptedProvider({"a": Reply(RateLimited("cut"), chunks=["half "])})
    with pytest.raises(RateLimited):
        await provider.complete(ask("a"), on_delta=seen.append)
    assert seen == ["half "]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_delays_pass_on_the_clock_of_the_loop_and_overlap(backend: str) -> None:
    provider = ScriptedProvider({"slow": Reply("s", delay=3600), "quick": lambda _: Reply("q", delay=60)})
    order: list[str] = []

    async def call(step: str) -> None:
        await provider.complete(ask(step), on_delta=order.append)

    async def both() -> float:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "slow")
            tasks.start_soon(call, "quick")
        return anyio.current_time() - began

    assert run_virtual(both, backend=backend) == pytest.approx(3600)
    assert order == ["q", "s"]


async def test_a_check_uses_up_no_answer() -> None:
    provider = ScriptedProvider({})
    assert (await provider.check()).ok
    assert provider.requests == []
