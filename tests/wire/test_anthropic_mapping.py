"""What the Anthropic provider sends, and how it reads answers in one piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    ProviderUnavailable,
)
from llmorch.models.message import File, Image, Message, Part, Text, ToolCall
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers.anthropic import Anthropic
from llmorch.requests import ProviderRequest, ProviderResponse, ToolSpec

KEY = "sk-ant-canary-5d20"
MODEL = "claude-sonnet-5-5"
HELLO = (Message("system", "Be brief."), Message("user", "Hello"))
ADD = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
PERSON = {
    "type": "object",
    "title": "Person",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


def message(*content: dict[str, Any], reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5-20260901",
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
        **more,
    }


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


Answer = dict[str, Any] | httpx.Response


class Wire:
    """Answers every request with the same answer and keeps what was asked."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = message(said("hi")) if answer is None else answer
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer if isinstance(self.answer, httpx.Response) else httpx.Response(200, json=self.answer)

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body


def request(**changes: Any) -> ProviderRequest:
    return ProviderRequest(**{"model": MODEL, "messages": HELLO, **changes})


async def complete(wire: Wire, options: dict[str, Any] | None = None, **changes: Any) -> ProviderResponse:
    provider = Anthropic(**{"api_key": KEY, "transport": wire.transport, **(options or {})})
    return await provider.complete(request(**changes))


async def read(answer: Answer, **changes: Any) -> ProviderResponse:
    return await complete(Wire(answer), **changes)


@pytest.mark.anyio
async def test_the_system_stands_apart_and_max_tokens_is_the_models_largest() -> None:
    wire = Wire()
    await complete(wire)
    assert wire.sent == {
        "model": MODEL,
        "max_tokens": 128_000,
        "messages": [{"role": "user", "content": "Hello"}],
        "system": "Be brief.",
    }
    sent = wire.requests[-1]
    assert str(sent.url) == "https://api.anthropic.com/v1/messages"
    assert sent.headers["x-api-key"] == KEY
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in sent.headers


@pytest.mark.anyio
async def test_a_token_that_a_function_gives_goes_out_as_a_bearers() -> None:
    async def token() -> str:
        return "oauth-canary-77"

    wire = Wire()
    await complete(wire, {"api_key": token, "headers": {"Anthropic-Beta": "oauth-2025-04-20"}})
    assert wire.requests[-1].headers["authorization"] == "Bearer oauth-canary-77"
    assert wire.requests[-1].headers["anthropic-beta"] == "oauth-2025-04-20"
    assert "x-api-key" not in wire.requests[-1].headers


@pytest.mark.anyio
async def test_a_model_nobody_knows_gets_8192_tokens() -> None:
    wire = Wire()
    await complete(wire, model="claude-opus-9")
    assert wire.sent["max_tokens"] == 8192


@pytest.mark.anyio
async def test_settings_have_their_names_on_the_wire_and_extra_stands_above_them() -> None:
    wire = Wire()
    settings = Settings(max_tokens=7, stop=("END",))
    extra = {"thinking": {"type": "adaptive"}, "max_tokens": 9, "stream": True}
    await complete(wire, settings=settings, extra=extra)
    assert {name: value for name, value in wire.sent.items() if name not in ("model", "messages", "system")} == {
        "max_tokens": 9,
        "stop_sequences": ["END"],
        "thinking": {"type": "adaptive"},
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "version", "settings", "words"),
    [
        (MODEL, "2026-10-21", Settings(temperature=0.5, seed=1), "takes no seed, temperature; leave them unset"),
        ("claude-haiku-4-5", "2026-10-21", Settings(top_p=0.5), "takes no top_p; leave it unset"),
        ("claude-opus-4-7", "2023-06-01", Settings(temperature=1), "takes no temperature"),
    ],
)
async def test_settings_the_model_does_not_take_are_refused_before_anything_is_sent(
    model: str, version: str, settings: Settings, words: str
) -> None:
    wire = Wire()
    with pytest.raises(BadRequest, match=words):
        await complete(wire, {"version": version}, model=model, settings=settings)
    assert not wire.requests


@pytest.mark.anyio
async def test_the_pinned_version_of_the_api_takes_a_temperature_for_older_models() -> None:
    wire = Wire()
    await complete(wire, model="claude-haiku-4-5", settings=Settings(temperature=0.5))
    assert wire.sent["temperature"] == 0.5
    await complete(wire, {"version": "2026-10-21"}, model="claude-haiku-4-5")
    assert wire.requests[-1].headers["anthropic-version"] == "2026-10-21"


@pytest.mark.anyio
async def test_turns_are_merged_and_empty_texts_left_out() -> None:
    wire = Wire()
    messages = (
        Message("user", "One"),
        Message("system", "Late."),
        Message("user", [Text("two"), Text("")]),
        Message("assistant", ""),
        Message("user", "three"),
        Message("assistant", "So:"),
    )
    await complete(wire, messages=messages)
    assert wire.sent["system"] == "Late."
    assert wire.sent["messages"] == [
        {"role": "user", "content": [said("One"), said("two"), said("three")]},
        {"role": "assistant", "content": "So:"},
    ]


@pytest.mark.anyio
async def test_a_prompt_without_a_user_is_refused_before_anything_is_sent() -> None:
    wire = Wire()
    with pytest.raises(BadRequest, match="step 'draft' must come from the user"):
        await complete(wire, messages=(Message("system", "Be brief."), Message("user", "")), step="draft")
    assert not wire.requests


@pytest.mark.anyio
async def test_the_results_of_a_turn_stand_first_in_one_message() -> None:
    wire = Wire()
    calls = [ToolCall("toolu_1", "add", '{"a": 2}'), ToolCall("toolu_2", "add", "")]
    messages = (
        Message("user", "2?"),
        Message("assistant", "Let me see.", tool_calls=calls),
        Message("user", "Quick!"),
        Message("tool", "5", tool_call_id="toolu_1"),
        Message("tool", "", tool_call_id="toolu_2"),
    )
    await complete(wire, messages=messages, tools=(ToolSpec("add", "Adds.", ADD), ToolSpec("now", "", {})))
    assert wire.sent["tools"] == [
        {"name": "add", "description": "Adds.", "input_schema": ADD},
        {"name": "now", "input_schema": {"type": "object"}},
    ]
    assert "tool_choice" not in wire.sent
    assert wire.sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                said("Let me see."),
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2}},
                {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "5"},
                {"type": "tool_result", "tool_use_id": "toolu_2"},
                said("Quick!"),
            ],
        },
    ]


@pytest.mark.anyio
async def test_after_the_last_round_tools_are_declared_and_forbidden() -> None:
    wire = Wire()
    messages = (
        Message("user", "2?"),
        Message("assistant", "", tool_calls=[ToolCall("c1", "add", "{}")]),
        Message("tool", "5", tool_call_id="c1"),
    )
    await complete(wire, messages=messages)
    assert wire.sent["tools"] == [{"name": "add", "input_schema": {"type": "object"}}]
    assert wire.sent["tool_choice"] == {"type": "none"}


@pytest.mark.anyio
async def test_ids_of_other_vendors_are_made_fit_and_used_once() -> None:
    wire = Wire()
    odd = "call:1/ü"
    messages: list[Message] = [Message("user", "2?")]
    for answer in ("5", "6"):
        calls = [ToolCall(odd, "add", "{}"), ToolCall("call_0", "add", '{"a": NaN}')]
        messages += [
            Message("assistant", "", tool_calls=calls),
            Message("tool", answer, tool_call_id=odd),
            Message("tool", answer, tool_call_id="call_0"),
        ]
    await complete(wire, messages=tuple(messages))
    turns = wire.sent["messages"]
    uses = [
        block for turn in turns for block in turn["content"] if isinstance(block, dict) and block["type"] == "tool_use"
    ]
    ids = [block["id"] for block in uses]
    assert len(set(ids)) == 4
    assert all(name.replace("_", "").isalnum() and name.isascii() for name in ids)
    results = [
        block["tool_use_id"] for turn in turns[1:] for block in turn["content"] if block["type"] == "tool_result"
    ]
    assert results == ids
    assert uses[1]["input"] == {"arguments": '{"a": NaN}'}  # an object is demanded, and NaN is no JSON


@pytest.mark.anyio
async def test_images_and_files_become_blocks() -> None:
    wire = Wire()
    content: list[Part] = [
        Image("data:image/jpeg;base64,AAAA"),
        Image("https://example.org/a.png"),
        File("data:application/pdf;base64,AAAA", media_type="application/pdf", name="a.pdf"),
        File("https://example.org/b.pdf", media_type="application/pdf"),
        File("data:text/plain,h%C3%A9", media_type="text/plain"),
    ]
    await complete(wire, messages=(Message("user", content),))
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    assert wire.sent["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://example.org/b.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hé"}},
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("role", "part", "words"),
    [
        ("user", Image("data:image/svg+xml,<svg/>"), "step 'look' holds an Image of type 'image/svg.xml'"),
        ("user", Image("data:image/png;base64,A"), "is no base64"),
        ("user", File("https://example.org/a.txt", media_type="text/plain"), "File of type 'text/plain'"),
        ("system", Image("https://example.org/a.png"), "of the system holds a part that is no text"),
    ],
)
async def test_parts_it_does_not_take_are_refused_before_anything_is_sent(role: Any, part: Any, words: str) -> None:
    wire = Wire()
    with pytest.raises(BadRequest, match=words):
        await complete(wire, messages=(Message(role, [part]), Message("user", "?")), step="look")
    assert not wire.requests


@pytest.mark.anyio
async def test_the_prompt_cache_is_marked_at_the_end_of_tools_and_system() -> None:
    wire = Wire()
    messages = (Message("system", "One."), Message("system", "Two."), Message("user", "Hello"))
    tools = (ToolSpec("a", "", ADD), ToolSpec("b", "", ADD))
    await complete(wire, {"cache_prompt": True}, messages=messages, tools=tools)
    mark = {"type": "ephemeral"}
    assert wire.sent["system"] == [said("One."), {**said("Two."), "cache_control": mark}]
    assert [tool.get("cache_control") for tool in wire.sent["tools"]] == [None, mark]


@pytest.mark.anyio
async def test_an_output_schema_is_sent_in_the_native_mode_beside_what_extra_says() -> None:
    wire = Wire()
    await complete(wire, output_schema=PERSON, extra={"output_config": {"effort": "low"}})
    properties = {"name": {"type": "string"}, "age": {"type": "integer", "description": '{"minimum":0}'}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
        "title": "Person",
    }
    assert wire.sent["output_config"] == {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "schema"),
    [
        (MODEL, {"type": "object", "additionalProperties": {"type": "integer"}}),
        (MODEL, {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(25)}}),
        ("claude-opus-4-1", PERSON),
    ],
)
async def test_a_schema_that_cannot_be_sent_is_put_into_words(model: str, schema: dict[str, Any]) -> None:
    wire = Wire()
    await complete(wire, model=model, output_schema=schema)
    assert "output_config" not in wire.sent
    assert wire.sent["system"][0] == said("Be brief.")
    assert wire.sent["system"][1]["text"].endswith(json.dumps(schema, separators=(",", ":")))


@pytest.mark.anyio
async def test_tools_are_strict_on_demand_as_long_as_the_limits_of_a_request_allow() -> None:
    wire = Wire()
    many = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(20)}}
    tools = (
        ToolSpec("free", "", {"type": "object", "additionalProperties": True}),
        ToolSpec("one", "", many),
        ToolSpec("two", "", many),
        ToolSpec("add", "", ADD),
    )
    await complete(wire, {"strict_tools": True}, tools=tools)
    assert [tool.get("strict") for tool in wire.sent["tools"]] == [None, True, None, True]
    assert wire.sent["tools"][2]["input_schema"] == many
    assert wire.sent["tools"][3]["input_schema"] == {**ADD, "additionalProperties": False}


@pytest.mark.anyio
async def test_an_answer_is_read_without_its_thinking() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
    }
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    answer = await read(message(thought, said("Hel"), {"type": "later_kind", "text": "?"}, said("lo"), usage=usage))
    assert answer == ProviderResponse(
        text="Hello",
        usage=Usage(130, 30, cached_tokens=100, cache_write_tokens=20, reasoning_tokens=12, requests=1),
        finish_reason="stop",
        model="claude-sonnet-5-5-20260901",
        raw={"finish_reason": "end_turn", "id": "msg_01"},
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "other"),
        ("something_new", "other"),
        (None, "other"),
    ],
)
async def test_finish_reasons_have_one_vocabulary(word: str | None, reason: str) -> None:
    answer = await read(message(said("hi"), reason=word))
    assert (answer.finish_reason, answer.raw["finish_reason"]) == (reason, word)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        {"input_tokens": 1},
        {"input_tokens": -1, "output_tokens": 2},
        {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 1e999},
    ],
)
async def test_usage_that_is_missing_or_absurd_is_none(usage: Any) -> None:
    body = json.dumps(message(said("hi"), usage=usage)).encode()
    answer = await read(httpx.Response(200, content=body, headers={"content-type": "application/json"}))
    assert (answer.text, answer.usage) == ("hi", None)


@pytest.mark.anyio
async def test_tool_calls_are_read_beside_an_empty_text_and_the_servers_own_tools() -> None:
    own = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2}}
    answer = await read(message(own, said(""), use, {"type": "tool_use"}, reason="tool_use"))
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert answer.tool_calls == (ToolCall("toolu_1", "add", '{"a":2}'),)


THOUGHTS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "ZW5j"},
    {"type": "text", "text": "Let me add.", "citations": None},
    {"type": "text", "text": ""},
    {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2}, "caller": {"type": "direct"}},
    {"type": "thinking", "thinking": "And…", "signature": "c2lnMg"},
    {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {}},
]


def continued(answer: ProviderResponse, text: str | None = None) -> tuple[Message, ...]:
    vendor: Any = answer.raw["replay"]
    said_by_it = Message(
        "assistant", answer.text if text is None else text, tool_calls=answer.tool_calls, vendor=vendor
    )
    results = (Message("tool", "5", tool_call_id=call.id) for call in answer.tool_calls)
    return (Message("user", "2?"), said_by_it, *results)


@pytest.mark.anyio
async def test_a_turn_with_thinking_goes_back_as_it_came_when_tools_were_called() -> None:
    answer = await read(message(*THOUGHTS, reason="tool_use"))
    assert answer.text == "Let me add."
    wire = Wire()
    await complete(wire, messages=continued(answer), tools=(ToolSpec("add", "", ADD),))
    assert wire.sent["messages"][1]["content"] == [*THOUGHTS[:2], said("Let me add."), *THOUGHTS[4:]]


@pytest.mark.anyio
async def test_thinking_goes_back_even_when_the_text_was_changed_meanwhile() -> None:
    answer = await read(message(*THOUGHTS, reason="tool_use"))
    wire = Wire()
    await complete(wire, messages=continued(answer, "Changed."), tools=(ToolSpec("add", "", ADD),))
    kinds = [block["type"] for block in wire.sent["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "thinking", "text", "tool_use", "tool_use"]


@pytest.mark.anyio
async def test_what_another_vendor_wants_back_is_not_sent() -> None:
    wire = Wire()
    call = ToolCall("c1", "add", "{}")
    vendor = {"reasoning_content": "Hm.", "anthropic_content": "no list"}
    asked = Message("assistant", "So.", tool_calls=[call], vendor=vendor)
    await complete(wire, messages=(Message("user", "2?"), asked, Message("tool", "5", tool_call_id="c1")))
    assert wire.sent["messages"][1]["content"] == [
        said("So."),
        {"type": "tool_use", "id": "c1", "name": "add", "input": {}},
    ]


@pytest.mark.anyio
async def test_a_refusal_is_an_error_with_the_text_so_far() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    with pytest.raises(ContentRefused, match="declined to answer: Not this") as caught:
        await read(message(said("First,"), reason="refusal", stop_details=details))
    assert caught.value.text == "First,"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "kind", "words", "expected"),
    [
        (401, "authentication_error", "invalid x-api-key", AuthenticationFailed),
        (400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum", ContextTooLong),
        (413, "request_too_large", "Request exceeds the maximum size", ContextTooLong),
        (529, "overloaded_error", "Overloaded", ProviderUnavailable),
        (200, "overloaded_error", "Overloaded", ProviderUnavailable),
    ],
)
async def test_errors_have_the_classes_of_the_tree(status: int, kind: str, words: str, expected: Any) -> None:
    body = {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}
    with pytest.raises(expected, match=words.partition(":")[0]):
        await complete(Wire(httpx.Response(status, json=body)))


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"id": "msg_1"}', b""])
async def test_what_is_no_message_is_a_bad_answer(content: bytes) -> None:
    with pytest.raises(BadAnswer, match=r"anthropic at api\.anthropic\.com"):
        await complete(Wire(httpx.Response(200, content=content, headers={"content-type": "application/json"})))


@pytest.mark.anyio
async def test_models_are_listed_on_one_page() -> None:
    wire = Wire({"data": [{"id": "b", "type": "model"}, {"id": "a"}, "?"], "has_more": False, "last_id": "a"})
    assert await Anthropic(api_key=KEY, transport=wire.transport).models() == ["a", "b"]
    assert str(wire.requests[-1].url) == "https://api.anthropic.com/v1/models?limit=1000"
    assert wire.requests[-1].headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize(
    ("make", "model", "sizes", "json_schema", "samples"),
    [
        (Anthropic, "claude-opus-4-6-20260205", (1_000_000, 128_000), True, True),
        (Anthropic, "claude-opus-4-20250514", (200_000, 32_000), False, True),
        (lambda: Anthropic(version="2026-10-21"), "claude-opus-4-20250514", (200_000, 32_000), False, False),
        (Anthropic, "claude-opus-9", (None, None), True, True),
        (lambda: Anthropic(version="2026-10-21"), "claude-opus-9", (None, None), True, False),
        (lambda: Anthropic(base_url="http://localhost:8000"), "qwen", (None, None), False, True),
        (lambda: Anthropic(base_url="http://localhost:8000"), MODEL, (1_000_000, 128_000), True, False),
    ],
)
def test_capabilities_claim_only_what_is_known(
    make: Callable[[], Anthropic], model: str, sizes: tuple[Any, Any], json_schema: bool, samples: bool
) -> None:
    able = make().capabilities(model)
    assert (able.context_tokens, able.max_output_tokens) == sizes
    assert able.json_schema is json_schema
    assert ("temperature" not in able.unsupported) is samples
    assert able.unsupported >= {"seed", "presence_penalty", "frequency_penalty"}
