"""The dialects write what the vendors write, and read what clients of theirs send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llmorch.models.message import ToolCall
from llmorch.testing._dialect_values import plain_value
from llmorch.testing.dialects import DIALECTS, Dialect, Said
from llmorch.testing.mock_server import mock_server

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]}
VALUE = {"a": 1, "b": "text"}
FUNCTION = {"name": "add", "description": "Adds.", "parameters": SCHEMA}
TOOLS: dict[str, Any] = {
    "openai": {"type": "function", "function": FUNCTION},
    "anthropic": {"name": "add", "description": "Adds.", "input_schema": SCHEMA},
    "gemini": {"functionDeclarations": [FUNCTION]},
    "ollama": {"type": "function", "function": FUNCTION},
}
FORMS: dict[str, Any] = {
    "openai": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
    "ollama": {"format": SCHEMA},
}
RESULTS: dict[str, Any] = {
    "openai": {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    "anthropic": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "3"}]},
    "gemini": {"role": "user", "parts": [{"functionResponse": {"name": "add", "response": {"result": 3}}}]},
    "ollama": {"role": "tool", "tool_name": "add", "content": "3"},
}
CALLS = (ToolCall("call_1", "add", '{"a": 1}'), ToolCall("call_2", "now", "{}"))


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The JSON of each event or line."""
    lines = (line.removeprefix("data: ") for line in stream.decode().splitlines() if not line.startswith("event:"))
    return [json.loads(line) for line in lines if line and line != "[DONE]"]


def text_in(name: str, event: dict[str, Any]) -> str:
    match name:
        case "openai":
            return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        case "anthropic":
            return event.get("delta", {}).get("text", "")
        case "gemini":
            return "".join(part.get("text", "") for part in event["candidates"][0]["content"]["parts"])
        case _:
            return event["message"]["content"]


def body_with(name: str, *, stream: bool, tools: bool = False, results: bool = False, form: bool = False) -> Any:
    """A request body as the vendor's clients write it."""
    said = {"role": "user", "content": "Hi"}
    body: dict[str, Any] = {"model": "mock-model", "messages": [said], "stream": stream}
    if name == "gemini":
        body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    if tools:
        body["tools"] = [TOOLS[name]]
    if form:
        body |= FORMS[name]
    if results:
        body["contents" if name == "gemini" else "messages"].append(RESULTS[name])
    return body


def test_the_pieces_of_a_stream_add_up_to_its_text(dialect: Dialect) -> None:
    events = events_of(dialect.stream(Said("Gr\u00fc\u00dfe an dich")))
    assert "".join(text_in(dialect.name, event) for event in events) == "Gr\u00fc\u00dfe an dich"


def test_without_an_end_no_event_ends_a_stream(dialect: Dialect) -> None:
    said = Said("fine")
    assert dialect.terminal in dialect.stream(said)
    assert dialect.terminal not in dialect.stream(said, end=False)


def test_a_stream_without_usage_tells_no_tokens(dialect: Dialect) -> None:
    words = (b"_tokens", b"TokenCount", b"eval_count")
    assert any(word in dialect.stream(Said("fine")) for word in words)
    assert not any(word in dialect.stream(Said("fine"), usage=False) for word in words)


def test_every_call_of_a_tool_stands_in_the_whole_answer_and_in_the_stream(dialect: Dialect) -> None:
    for written in (json.dumps(dialect.whole(Said(calls=CALLS))), dialect.stream(Said(calls=CALLS)).decode()):
        assert all(f'"{word}"' in written for word in ("call_1", "add", "call_2", "now"))


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_arguments_come_in_parts_where_the_vendor_sends_parts(name: str) -> None:
    stream = DIALECTS[name].stream(Said(calls=CALLS[:1]))
    assert b'{\\"a\\"' not in stream
    assert (
        "".join(
            event.get("delta", {}).get("partial_json", "")
            if name == "anthropic"
            else "".join(
                call["function"]["arguments"]
                for choice in event["choices"]
                for call in choice["delta"].get("tool_calls", [])
            )
            for event in events_of(stream)
        )
        == CALLS[0].arguments
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_read(dialect: Dialect, stream: bool) -> None:
    path = (dialect.stream_path if stream else dialect.chat_path).format(model="mock-model")
    body = body_with(dialect.name, stream=stream, tools=True, form=True)
    asked = dialect.asked("POST", path, json.dumps(body).encode())
    assert (asked.kind, asked.is_streamed, asked.model) == ("answer", stream, "mock-model")
    assert (dict(asked.tools), asked.schema, asked.has_results) == ({"add": SCHEMA}, SCHEMA, False)
    answered = body_with(dialect.name, stream=stream, tools=True, results=True)
    assert dialect.asked("POST", path, json.dumps(answered).encode()).has_results


def test_a_body_of_any_json_is_read_without_an_exception(dialect: Dialect) -> None:
    odd = [b"", b"[]", b'{"messages": 3, "tools": {"a": 1}}', b'{"contents": [1], "tools": [{"function": "x"}]}']
    path = dialect.chat_path.format(model="m")
    assert all(dialect.asked("POST", path, body).tools == {} for body in odd)


def test_paths_tell_the_models_from_the_unknown(dialect: Dialect) -> None:
    assert dialect.asked("GET", dialect.models_path, b"").kind == "models"
    assert dialect.asked("GET", "/elsewhere", b"").kind == "other"
    assert dialect.asked("POST", "/elsewhere", b"{}").kind == "other"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (SCHEMA, VALUE),
        ({"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "items": {"type": "NUMBER"}}}}, {"a": [1]}),
        ({"$ref": "#/$defs/one", "$defs": {"one": {"const": 5}}}, 5),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
        ({"type": ["null", "string"], "minLength": 6}, "textxx"),
        ({"type": "string", "format": "date", "maxLength": 4}, "2026"),
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "integer", "maximum": -2}, -3),
        ({"allOf": [{"properties": {"a": {"enum": ["x"]}}}]}, {"a": "x"}),
        ({"type": "array", "minItems": 2, "items": {"type": "null"}}, [None, None]),
        ({}, "text"),
    ],
)
def test_the_plainest_value_satisfies_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert plain_value(schema) == value


def test_a_schema_that_holds_itself_has_a_value() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}
    assert isinstance(plain_value({"$ref": "#/$defs/node", "$defs": {"node": node}}), dict)


@pytest.fixture(scope="module", params=list(DIALECTS))
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Dialect, str]]:
    with mock_server(text="fine", tokens=3, dialect=request.param) as url:
        yield DIALECTS[request.param], url.removesuffix(DIALECTS[request.param].root)


def replied(served: tuple[Dialect, str], **wanted: bool) -> str:
    dialect, origin = served
    path = (dialect.stream_path if wanted["stream"] else dialect.chat_path).format(model="mock-model")
    with httpx.Client(trust_env=False) as client:
        reply = client.post(origin + path, json=body_with(dialect.name, **wanted))
    assert reply.status_code == 200
    assert reply.headers["content-type"] == (dialect.stream_kind if wanted["stream"] else "application/json")
    return reply.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_mock_server_answers_in_its_dialect(served: tuple[Dialect, str], stream: bool) -> None:
    dialect, _ = served
    text = replied(served, stream=stream)
    if stream:
        assert text.encode() == dialect.stream(Said("fine " * 3, output_tokens=3), ["fine "] * 3)
    else:
        assert json.loads(text) == dialect.whole(Said("fine"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_mock_server_calls_tools_once_and_then_answers(served: tuple[Dialect, str], stream: bool) -> None:
    first = replied(served, stream=stream, tools=True)
    assert '"add"' in first
    assert "fine" not in first
    second = replied(served, stream=stream, tools=True, results=True)
    assert "fine" in second
    assert '"add"' not in second


def test_a_mock_server_answers_in_the_form_that_is_asked_for(served: tuple[Dialect, str]) -> None:
    assert json.dumps(json.dumps(VALUE)) in replied(served, stream=False, form=True)


def test_a_mock_server_lists_its_models(served: tuple[Dialect, str]) -> None:
    dialect, origin = served
    with httpx.Client(trust_env=False) as client:
        assert client.get(origin + dialect.models_path).json() == dialect.model_list(["mock-model", "mock-model-large"])
