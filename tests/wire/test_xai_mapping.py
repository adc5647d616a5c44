"""What the xAI provider sends, and how it reads what comes back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from llmorch.errors import AuthenticationFailed, BadRequest
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers.xai import XAI
from tests.wire.chat_vendor import ADD, CALL, KEY, ROUND, Wire, ask, called, delta, events, streamed, whole


def xai(wire: Wire) -> XAI:
    return XAI(api_key=KEY, transport=wire.transport)


@pytest.mark.anyio
async def test_a_request_goes_to_the_vendors_own_address() -> None:
    wire = Wire(whole(content="hi"))
    await ask(xai(wire), settings=Settings(max_tokens=7, seed=3), messages=ROUND, tools=(ADD,))
    assert str(wire.requests[0].url) == "https://api.x.ai/v1/chat/completions"
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert (wire.sent["max_completion_tokens"], wire.sent["seed"]) == (7, 3)
    assert wire.sent["messages"][1]["tool_calls"] == [called()]
    assert "strict" not in wire.sent["tools"][0]["function"], "xAI is strict without being told"


def usage(completion: int, reasoning: Any, total: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": 32,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("told", "output", "reasoning"),
    [
        (usage(9, 94, 135), 103, 94),
        (usage(103, 94, 135), 103, 94),
        (usage(9, 94, None), 103, 94),
        (usage(9, 0, 41), 9, 0),
        (usage(9, "94", 135), 9, 0),
        (usage(9, -4, 135), 9, 0),
    ],
    ids=["beside", "within", "no total", "none", "text", "negative"],
)
async def test_reasoning_counts_as_output(told: dict[str, Any], output: int, reasoning: int) -> None:
    expected = Usage(32, output, cached_tokens=8, reasoning_tokens=reasoning, requests=1)
    assert (await ask(xai(Wire(whole(content="101", usage=told))))).usage == expected
    answer, _ = await streamed(xai(Wire(events(delta(content="101", finish="stop") | {"usage": told}))))
    assert answer.usage == expected


@pytest.mark.anyio
async def test_reasoning_is_no_text_and_nothing_goes_back() -> None:
    stream = events(
        delta(role="assistant", reasoning_content="Let me "),
        delta(reasoning_content="think"),
        delta(content="five"),
        delta(tool_calls=[called(index=0)]),
        delta(finish="tool_calls"),
    )
    answer, pieces = await streamed(xai(Wire(stream)))
    assert (answer.text, pieces, answer.tool_calls) == ("five", ["five"], (CALL,))
    assert answer.raw["reasoning"] == "Let me think"
    assert "replay" not in answer.raw


@pytest.mark.anyio
async def test_a_bad_key_is_told_from_a_bad_request() -> None:
    def complaint(error: str) -> httpx.Response:
        return httpx.Response(400, json={"code": "Client specified an invalid argument", "error": error})

    with pytest.raises(AuthenticationFailed, match="XAI_API_KEY"):
        await ask(xai(Wire(complaint(f"Incorrect API key provided: {KEY}. You can obtain one"))))
    with pytest.raises(BadRequest, match="presencePenalty"):
        await ask(xai(Wire(complaint("Argument not supported on this model: presencePenalty"))))


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("grok-4.5", True),
        ("grok-4", True),
        ("grok-4-0709", True),
        ("grok-4-1-fast-reasoning", True),
        ("grok-4-1-fast-non-reasoning", False),
        ("grok-4.20-0309-non-reasoning", False),
        ("grok-3-mini", True),
        ("grok-code-fast-1", True),
        ("grok-3", False),
        ("something-new", False),
    ],
)
def test_reasoning_models_do_not_take_penalties_and_stops(model: str, reasons: bool) -> None:
    refused = {"presence_penalty", "frequency_penalty", "stop"} if reasons else set()
    assert XAI().capabilities(model).unsupported == refused


def test_capabilities_claim_no_more_than_is_known() -> None:
    of = XAI().capabilities
    assert of("grok-4-fast-reasoning").context_tokens == 2_000_000
    assert of("grok-4.20-reasoning").context_tokens is None
    assert not of("grok-3").schema_with_tools
    assert of("grok-4.5").schema_with_tools
