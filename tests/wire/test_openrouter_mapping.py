"""What the OpenRouter provider sends, and how it reads what comes back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    ProviderUnavailable,
    RateLimited,
    StreamTruncated,
)
from llmorch.models.message import Message
from llmorch.models.usage import Usage
from llmorch.providers.openrouter import OpenRouter
from tests.wire.chat_vendor import ADD, CALL, KEY, ROUND, Wire, ask, called, delta, events, streamed, whole

MODEL = "anthropic/claude-sonnet-4.5"


def router(wire: Wire, **options: Any) -> OpenRouter:
    return OpenRouter(api_key=KEY, transport=wire.transport, **options)


@pytest.mark.anyio
async def test_a_request_names_the_vendor_and_wants_all_of_its_parameters_taken() -> None:
    wire = Wire(whole(content="hi"))
    await ask(router(wire, headers={"HTTP-Referer": "https://acme.example", "X-Title": "Acme"}), model=MODEL)
    asked = wire.requests[0]
    assert str(asked.url) == "https://openrouter.ai/api/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.headers["http-referer"], asked.headers["x-title"]) == ("https://acme.example", "Acme")
    assert wire.sent == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "provider": {"require_parameters": True},
    }


@pytest.mark.anyio
async def test_the_demand_can_be_dropped_or_replaced() -> None:
    wire = Wire(whole(content="hi"))
    await ask(router(wire, require_parameters=False))
    assert "provider" not in wire.sent
    await ask(router(wire), extra={"provider": {"order": ["openai"]}})
    assert wire.sent["provider"] == {"order": ["openai"]}


@pytest.mark.anyio
async def test_comments_are_passed_over_and_the_usage_comes_unasked() -> None:
    usage = {
        "prompt_tokens": 200,
        "completion_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 4},
        "cost": 0.01,
    }
    wire = Wire(
        events(
            ": OPENROUTER PROCESSING",
            ": OPENROUTER PROCESSING",
            delta(role="assistant", content="Hi"),
            ": OPENROUTER PROCESSING",
            delta(content="", finish="stop"),
            {
                "model": "m-1",
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}],
                "usage": usage,
            },
        )
    )
    answer, pieces = await streamed(router(wire))
    assert wire.sent.keys() == {"model", "messages", "provider", "stream"}
    assert (answer.text, pieces) == ("Hi", ["Hi"])
    assert answer.usage == Usage(200, 12, cached_tokens=50, cache_write_tokens=100, reasoning_tokens=4, requests=1)


@pytest.mark.anyio
@pytest.mark.parametrize("wrote", [-1, 151, True, "9", None])
async def test_absurd_counts_of_the_cache_are_not_believed(wrote: Any) -> None:
    details = {"cached_tokens": 50, "cache_write_tokens": wrote}
    usage = {"prompt_tokens": 200, "completion_tokens": 1, "prompt_tokens_details": details}
    answer = await ask(router(Wire(whole(content="Hi", usage=usage))))
    assert answer.usage == Usage(200, 1, cached_tokens=50, requests=1)


def detail(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0, **more}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_is_no_text_and_goes_back_as_it_came(stream: bool) -> None:
    hidden = {"type": "reasoning.encrypted", "data": "AAA=", "index": 1}
    joined = [detail("2 and 3", signature="sig"), hidden]
    if stream:
        wire = Wire(
            events(
                delta(content="", reasoning="2 and", reasoning_details=[detail("2 and")]),
                delta(content="", reasoning=" 3", reasoning_details=[detail(" 3", signature=None)]),
                delta(content="", reasoning=None, reasoning_details=[detail("", signature="sig")]),
                delta(content="", reasoning_details=[detail("", signature=None)]),
                delta(content="", reasoning_details=[hidden]),
                delta(content="five"),
                delta(tool_calls=[called(index=0)], finish="tool_calls"),
            )
        )
        answer, pieces = await streamed(router(wire))
        assert pieces == ["five"]
    else:
        body = whole(content="five", reasoning="2 and 3", reasoning_details=joined, tool_calls=[called()])
        answer = await ask(router(Wire(body)))
    assert answer.text == "five"
    assert answer.raw["reasoning"] == "2 and 3"
    assert answer.raw["replay"] == {"reasoning_details": joined}

    wire = Wire(whole(content="5"))
    said = Message("assistant", "five", tool_calls=answer.tool_calls, vendor=answer.raw["replay"])
    await ask(router(wire), messages=(ROUND[0], said, ROUND[2]), tools=(ADD,))
    assert wire.sent["messages"][1]["reasoning_details"] == joined


@pytest.mark.anyio
async def test_reasoning_without_details_goes_back_as_text() -> None:
    answer = await ask(router(Wire(whole(content="", reasoning="hm", tool_calls=[called()]))))
    assert answer.raw["replay"] == {"reasoning": "hm"}
    wire = Wire(whole(content="5"))
    said = Message("assistant", "", tool_calls=[CALL], vendor=answer.raw["replay"] | {"signature": "other"})
    await ask(router(wire), messages=(ROUND[0], said, ROUND[2]), tools=(ADD,))
    assert wire.sent["messages"][1]["reasoning"] == "hm"
    assert "signature" not in wire.sent["messages"][1]


@pytest.mark.anyio
async def test_the_last_round_declares_the_tools_that_were_called_and_allows_none() -> None:
    wire = Wire(whole(content="5"))
    await ask(router(wire), messages=ROUND)
    function = {"name": "add", "parameters": {"type": "object", "properties": {}}}
    assert wire.sent["tools"] == [{"type": "function", "function": function}]
    assert wire.sent["tool_choice"] == "none"
    await ask(router(wire))
    assert "tools" not in wire.sent


@pytest.mark.anyio
async def test_an_error_in_the_middle_of_a_stream_is_no_answer() -> None:
    broken = delta(content="", finish="error") | {"error": {"code": "server_error", "message": "Provider disconnected"}}
    with pytest.raises(ProviderUnavailable, match="Provider disconnected"):
        await streamed(router(Wire(events(delta(content="Hal"), broken))))
    limited = delta(content="") | {"error": {"code": 429, "message": "Rate limited"}}
    with pytest.raises(RateLimited, match="Rate limited"):
        await streamed(router(Wire(events(delta(content="Hal"), limited))))
    with pytest.raises(StreamTruncated):
        await streamed(router(Wire(events(delta(content="Hal"), ": OPENROUTER PROCESSING", done=False))))


@pytest.mark.anyio
async def test_an_error_inside_a_choice_is_no_answer() -> None:
    body = whole(content="Hal", finish="error")
    body["choices"][0]["error"] = {"code": 502, "message": "Upstream fell over"}
    with pytest.raises(ProviderUnavailable, match=r"answered 502.*Upstream fell over"):
        await ask(router(Wire(body)))


def refused(status: int, message: str, **metadata: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": status, "message": message, "metadata": metadata}})


@pytest.mark.anyio
async def test_errors_tell_what_the_server_behind_said() -> None:
    behind = '{"error": {"message": "prompt is too long: 300000 tokens"}}'
    with pytest.raises(ContextTooLong, match=r"Anthropic: .*prompt is too long"):
        await ask(router(Wire(refused(400, "Provider returned error", raw=behind, provider_name="Anthropic"))))
    flagged = refused(403, "Input flagged", reasons=["violence"], flagged_input="...", provider_name="OpenAI")
    with pytest.raises(ContentRefused, match="violence"):
        await ask(router(Wire(flagged)))
    with pytest.raises(AuthenticationFailed, match="OPENROUTER_API_KEY"):
        await ask(router(Wire(httpx.Response(401, json={"error": {"code": 401, "message": "No auth"}}))))
    with pytest.raises(RateLimited) as caught:
        await ask(router(Wire(httpx.Response(402, json={"error": {"code": 402, "message": "Insufficient credits"}}))))
    assert caught.value.spend_limit
    missing = httpx.Response(404, json={"error": {"code": 404, "message": "No endpoints found"}})
    with pytest.raises(BadRequest, match=r"similar name: 'anthropic/claude-sonnet-4\.5'"):
        await ask(router(Wire(missing, {"data": [{"id": MODEL}]})), model="anthropic/claude-sonnet-4.6")


@pytest.mark.anyio
async def test_the_check_looks_at_the_key_because_the_models_are_open_to_all() -> None:
    wire = Wire(httpx.Response(401, json={"error": {"code": 401, "message": "User not found."}}))
    status = await router(wire).check()
    assert not status.ok
    assert wire.requests[0].url.path == "/api/v1/key"
    good = Wire({"data": {"label": "k"}}, {"data": [{"id": MODEL}]})
    assert (await router(good).check()).ok


def test_capabilities_of_openais_models_are_those_of_openai() -> None:
    of = OpenRouter().capabilities
    assert "temperature" in of("openai/o3").unsupported
    assert not of(MODEL).unsupported
    assert of(MODEL).context_tokens is None
