"""What the DeepSeek provider sends, and how it reads what comes back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from llmorch.errors import ContextTooLong, ProviderUnavailable, RateLimited
from llmorch.models.message import Message
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers.deepseek import DeepSeek
from tests.wire.chat_vendor import ADD, CALL, KEY, ROUND, Wire, ask, called, delta, events, streamed, whole


def deepseek(wire: Wire, **options: Any) -> DeepSeek:
    return DeepSeek(api_key=KEY, transport=wire.transport, **options)


@pytest.mark.anyio
async def test_a_request_goes_to_the_vendors_own_address() -> None:
    wire = Wire(whole(content="hi"))
    await ask(deepseek(wire), settings=Settings(max_tokens=7, top_p=0.5))
    assert str(wire.requests[0].url) == "https://api.deepseek.com/chat/completions"
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert wire.sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 7,
        "top_p": 0.5,
    }


@pytest.mark.anyio
@pytest.mark.parametrize(("thinking", "word"), [(True, "enabled"), (False, "disabled")])
async def test_thinking_is_switched_and_a_call_may_switch_it_back(thinking: bool, word: str) -> None:
    wire = Wire(whole(content="hi"))
    provider = deepseek(wire, thinking=thinking)
    await ask(provider)
    assert wire.sent["thinking"] == {"type": word}
    await ask(provider, extra={"thinking": {"type": "mine"}})
    assert wire.sent["thinking"] == {"type": "mine"}


@pytest.mark.anyio
async def test_thinking_is_no_text_and_is_kept_beside_it() -> None:
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "prompt_cache_hit_tokens": 16,
        "prompt_cache_miss_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    answer = await ask(deepseek(Wire(whole(content="5", reasoning_content="2 and 3", usage=usage))))
    assert answer.text == "5"
    assert answer.raw["reasoning"] == "2 and 3"
    assert "replay" not in answer.raw, "without tool calls nothing is wanted back"
    assert answer.usage == Usage(20, 9, cached_tokens=16, reasoning_tokens=5, requests=1)


@pytest.mark.anyio
async def test_long_thinking_is_cut_but_given_back_whole() -> None:
    thought = "x" * 40_000
    answer = await ask(deepseek(Wire(whole(content="", reasoning_content=thought, tool_calls=[called()]))))
    assert answer.raw["reasoning"] == thought[:32_768]
    assert answer.raw["replay"] == {"reasoning_content": thought}


@pytest.mark.anyio
async def test_streamed_thinking_is_put_together_and_not_told_to_the_watcher() -> None:
    stream = events(
        delta(role="assistant", content=None, reasoning_content=""),
        delta(content=None, reasoning_content="2 \ud83d"),
        delta(content=None, reasoning_content="\ude00 3"),
        delta(content="fi", reasoning_content=None),
        delta(content="ve"),
        delta(tool_calls=[called("", index=0)]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 2}'}}]),
        delta(content="", reasoning_content=None, finish="tool_calls"),
    )
    answer, pieces = await streamed(deepseek(Wire(stream)))
    assert "".join(pieces) == answer.text == "five"
    assert answer.tool_calls == (CALL,)
    assert answer.raw["replay"] == {"reasoning_content": "2 \U0001f600 3"}


@pytest.mark.anyio
async def test_thinking_goes_back_with_the_calls_it_led_to() -> None:
    wire = Wire(whole(content="5"))
    spoken = Message("assistant", "x", tool_calls=[CALL], vendor={"reasoning_content": "hm", "signature": "other"})
    await ask(deepseek(wire), messages=(ROUND[0], spoken, ROUND[2], Message("assistant", "five")), tools=(ADD,))
    sent = wire.sent["messages"]
    assert sent[1]["reasoning_content"] == "hm"
    assert "signature" not in sent[1]
    assert sent[3]["reasoning_content"] == " ", "an assistant's message without is refused once tools were called"
    assert "reasoning_content" not in sent[2]


@pytest.mark.anyio
async def test_without_calls_no_thinking_goes_back() -> None:
    wire = Wire(whole(content="5"))
    spoken = Message("assistant", "x", vendor={"reasoning_content": "hm"})
    await ask(deepseek(wire), messages=(ROUND[0], spoken, ROUND[0]))
    assert "reasoning_content" not in wire.sent["messages"][1]


@pytest.mark.anyio
async def test_a_schema_is_sent_as_the_wish_for_json() -> None:
    wire = Wire(whole(content="[1]"))
    answer = await ask(deepseek(wire), output_schema={"type": "array", "items": {"type": "integer"}})
    assert wire.sent["response_format"] == {"type": "json_object"}
    assert answer.text == "[1]"
    assert not DeepSeek().capabilities("deepseek-flash").json_schema


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_the_server_had_no_room_for_can_be_tried_again(stream: bool) -> None:
    word = "insufficient_system_resource"
    wire = Wire(events(delta(content="a"), delta(finish=word)) if stream else whole(content="a", finish=word))
    with pytest.raises(ProviderUnavailable, match=word):
        await (streamed if stream else ask)(deepseek(wire))


@pytest.mark.anyio
async def test_errors_have_their_classes() -> None:
    broke = httpx.Response(402, json={"error": {"message": "Insufficient Balance", "type": "unknown_error"}})
    with pytest.raises(RateLimited) as caught:
        await ask(deepseek(Wire(broke)))
    assert caught.value.spend_limit
    text = "This model's maximum context length is 1048576 tokens."
    long = httpx.Response(400, json={"error": {"message": text, "type": "invalid_request_error"}})
    with pytest.raises(ContextTooLong):
        await ask(deepseek(Wire(long)))


@pytest.mark.parametrize(
    ("thinking", "model", "refused"),
    [
        (None, "deepseek-flash", {"seed", "temperature", "presence_penalty", "frequency_penalty"}),
        (None, "deepseek-v4-pro", {"seed", "temperature", "presence_penalty", "frequency_penalty"}),
        (None, "deepseek-chat", {"seed"}),
        (False, "deepseek-flash", {"seed"}),
        (True, "deepseek-chat", {"seed", "temperature", "presence_penalty", "frequency_penalty"}),
    ],
)
def test_what_has_no_effect_is_declared(thinking: bool | None, model: str, refused: set[str]) -> None:
    assert DeepSeek(thinking=thinking).capabilities(model).unsupported == refused
    elsewhere = DeepSeek(thinking=thinking, base_url="http://localhost:1/v1").capabilities(model)
    assert not elsewhere.unsupported
    assert not elsewhere.json_schema
