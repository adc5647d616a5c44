"""What the Mistral provider sends, and how it reads what comes back."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from llmorch.errors import AuthenticationFailed, BadRequest, ContextTooLong, ProviderUnavailable
from llmorch.models.message import File, Image, Message, Text, ToolCall
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers.mistral import Mistral
from tests.wire.chat_vendor import ADD, CALL, KEY, ROUND, Wire, ask, called, delta, events, streamed, whole

FACTS = {"title": "Facts", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def mistral(wire: Wire) -> Mistral:
    return Mistral(api_key=KEY, transport=wire.transport)


def thinking(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}], **more}


@pytest.mark.anyio
async def test_settings_have_their_names_on_the_wire() -> None:
    wire = Wire(whole(content="hi"))
    settings = Settings(temperature=0, max_tokens=7, seed=3, stop=("END",), presence_penalty=0.1, frequency_penalty=0.2)
    await ask(mistral(wire), settings=settings)
    assert str(wire.requests[0].url) == "https://api.mistral.ai/v1/chat/completions"
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert wire.sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.0,
        "max_tokens": 7,
        "random_seed": 3,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
    }


@pytest.mark.anyio
async def test_a_stream_is_asked_for_without_options_that_are_refused_there() -> None:
    wire = Wire(events(delta(content="hi", finish="stop") | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}))
    answer, pieces = await streamed(mistral(wire))
    assert wire.sent == {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    assert (answer.text, pieces, answer.usage) == ("hi", ["hi"], Usage(3, 1, requests=1))


@pytest.mark.anyio
async def test_ids_of_other_vendors_become_nine_letters_and_stay_the_same() -> None:
    wire = Wire(whole(content="5"))
    own = ToolCall("D681PevKs", "now", "{}")
    messages = (
        ROUND[0],
        Message("assistant", "", tool_calls=[CALL, own]),
        ROUND[2],
        Message("tool", "noon", tool_call_id="D681PevKs"),
    )
    await ask(mistral(wire), messages=messages, tools=(ADD,))
    asked, first, second = wire.sent["messages"][1:]
    ids = [call["id"] for call in asked["tool_calls"]]
    assert re.fullmatch("[A-Za-z0-9]{9}", ids[0])
    assert ids[1] == "D681PevKs"
    assert first == {"role": "tool", "content": "5", "tool_call_id": ids[0], "name": "add"}
    assert second == {"role": "tool", "content": "noon", "tool_call_id": "D681PevKs", "name": "now"}
    await ask(mistral(wire), messages=messages, tools=(ADD,))
    assert wire.sent["messages"][1]["tool_calls"][0]["id"] == ids[0]


@pytest.mark.anyio
async def test_files_go_by_address() -> None:
    wire = Wire(whole(content="hi"))
    parts = (
        Text("Read:"),
        Image("https://x.example/a.png"),
        File("https://x.example/a.pdf", media_type="application/pdf", name="a.pdf"),
    )
    await ask(mistral(wire), messages=(Message("user", parts),))
    assert wire.sent["messages"][0]["content"] == [
        {"type": "text", "text": "Read:"},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "document_url", "document_url": "https://x.example/a.pdf", "document_name": "a.pdf"},
    ]


@pytest.mark.anyio
async def test_a_schema_goes_out_in_the_native_mode_but_is_not_promised_beside_tools() -> None:
    wire = Wire(whole(content='{"a": "x"}'))
    await ask(mistral(wire), output_schema=FACTS)
    assert wire.sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Facts", "schema": FACTS | {"additionalProperties": False}, "strict": True},
    }
    able = Mistral().capabilities("mistral-large-latest")
    assert able.json_schema
    assert not able.schema_with_tools


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_is_no_text_and_goes_back_with_the_calls(stream: bool) -> None:
    calls = [called(id="D681PevKs", index=0)]
    if stream:
        wire = Wire(
            events(
                delta(role="assistant", content=""),
                delta(content=[thinking("2 and")]),
                delta(content=[thinking(" 3", closed=True), {"type": "text", "text": "fi"}]),
                delta(content="ve"),
                delta(content="", tool_calls=calls, finish="tool_calls"),
            )
        )
        answer, pieces = await streamed(mistral(wire))
        assert "".join(pieces) == "five"
    else:
        content = [thinking("2 and 3", closed=True), {"type": "text", "text": "five"}]
        answer = await ask(mistral(Wire(whole(content=content, tool_calls=calls, finish="tool_calls"))))
    assert answer.text == "five"
    assert answer.raw["reasoning"] == "2 and 3"
    assert answer.raw["replay"] == {"mistral_thinking": [thinking("2 and 3", closed=True)]}

    wire = Wire(whole(content="5"))
    said = Message("assistant", answer.text, tool_calls=answer.tool_calls, vendor=answer.raw["replay"])
    await ask(mistral(wire), messages=(ROUND[0], said, Message("tool", "5", tool_call_id="D681PevKs")))
    assert wire.sent["messages"][1]["content"] == [thinking("2 and 3", closed=True), {"type": "text", "text": "five"}]


@pytest.mark.anyio
async def test_what_another_vendor_wants_back_is_left_out() -> None:
    wire = Wire(whole(content="5"))
    said = Message("assistant", "x", tool_calls=[CALL], vendor={"thinking": [{"type": "thinking", "thinking": "hm"}]})
    await ask(mistral(wire), messages=(ROUND[0], said, ROUND[2]))
    assert wire.sent["messages"][1]["content"] == "x"


@pytest.mark.anyio
async def test_calls_without_ids_of_their_own_get_some() -> None:
    answer = await ask(mistral(Wire(whole(content="", tool_calls=[called(id="null"), called(id="null")]))))
    assert [call.id for call in answer.tool_calls] == ["call_0", "call_1"]


@pytest.mark.anyio
async def test_the_models_own_limit_is_a_length() -> None:
    answer = await ask(mistral(Wire(whole(content="a", finish="model_length"))))
    assert (answer.finish_reason, answer.raw["finish_reason"]) == ("length", "model_length")


@pytest.mark.anyio
async def test_an_answer_that_broke_off_can_be_tried_again() -> None:
    with pytest.raises(ProviderUnavailable, match="'error'"):
        await ask(mistral(Wire(whole(content="a", finish="error"))))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (401, {"message": "Unauthorized", "request_id": "r"}, AuthenticationFailed, "Unauthorized"),
        (401, {"detail": "Unauthorized"}, AuthenticationFailed, "Unauthorized"),
        (
            422,
            {"object": "error", "message": {"detail": [{"msg": "Extra inputs", "loc": ["body", "x"]}]}, "type": "i"},
            BadRequest,
            "Extra inputs",
        ),
        (422, {"detail": [{"msg": "Field required", "loc": ["body"]}]}, BadRequest, "Field required"),
        (
            400,
            {
                "object": "error",
                "message": "Prompt contains 9 tokens, too large for model with 8 maximum context length",
            },
            ContextTooLong,
            "9 tokens",
        ),
    ],
)
async def test_errors_are_read_in_all_their_shapes(
    status: int, body: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await ask(mistral(Wire(httpx.Response(status, json=body))))


@pytest.mark.anyio
async def test_an_error_inside_a_stream_keeps_its_kind() -> None:
    stream = events(delta(content="a"), {"object": "error", "message": "Slow down", "type": "rate_limit_error"})
    with pytest.raises(Exception, match="answered 429") as caught:
        await streamed(mistral(Wire(stream)))
    assert type(caught.value).__name__ == "RateLimited"


def test_capabilities_claim_no_more_than_is_known() -> None:
    of = Mistral().capabilities
    assert of("mistral-medium-3-5").context_tokens == 262_144
    assert not of("codestral-latest").images
    assert of("mistral-large-latest").context_tokens is None
    assert not of("mistral-large-latest").unsupported
