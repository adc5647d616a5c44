"""What the OpenAI provider sends, and how it reads what comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    MissingCredential,
    ProviderUnavailable,
    RateLimited,
    StreamTruncated,
)
from llmorch.models.message import File, Image, Message, Text, ToolCall
from llmorch.models.secret import Secret
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers import OpenAI
from llmorch.requests import ProviderRequest, ProviderResponse, ToolSpec
from llmorch.testing.mock_server import completion, sse

KEY = "sk-canary-mapping-41c7"
HELLO = (Message("system", "Be brief."), Message("user", "Hello"))
FACTS = {"title": "Facts", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


class Reads(httpx.AsyncByteStream):
    """A body that comes in these reads."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class Wire:
    """Answers every request with the next answer and keeps what was asked; a list of bytes is a stream."""

    def __init__(self, *answers: dict[str, Any] | bytes | httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer, headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json=answer)

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body


def request(**changes: Any) -> ProviderRequest:
    return ProviderRequest(**{"model": "gpt-4o", "messages": HELLO, **changes})


async def complete(wire: Wire, *, watch: Callable[[str], None] | None = None, **changes: Any) -> ProviderResponse:
    provider = OpenAI(api_key=KEY, transport=wire.transport)
    return await provider.complete(request(**changes), on_delta=watch)


def events(*chunks: dict[str, Any], done: bool = True) -> bytes:
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return (text + ("data: [DONE]\n\n" if done else "")).encode()


def delta(content: Any = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content, **more}, "finish_reason": finish}]}


@pytest.mark.anyio
async def test_only_what_is_set_is_sent() -> None:
    wire = Wire(completion("hi"))
    await complete(wire)
    assert wire.sent == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    }
    sent = wire.requests[-1]
    assert str(sent.url) == "https://api.openai.com/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-length"] == str(len(sent.content))
    assert sent.headers["host"] == "api.openai.com"


@pytest.mark.anyio
async def test_settings_have_their_names_on_the_wire() -> None:
    wire = Wire(completion("hi"))
    settings = Settings(
        temperature=0.0,
        max_tokens=7,
        top_p=0.5,
        stop=("END",),
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
    )
    await complete(wire, settings=settings, extra={"logit_bias": {"1": 2}, "seed": 4})
    assert {name: value for name, value in wire.sent.items() if name not in ("model", "messages")} == {
        "temperature": 0.0,
        "max_completion_tokens": 7,
        "top_p": 0.5,
        "stop": ["END"],
        "seed": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "logit_bias": {"1": 2},
    }


@pytest.mark.anyio
async def test_other_servers_get_max_tokens_under_its_old_name() -> None:
    wire = Wire(completion("hi"))
    provider = OpenAI(base_url="http://localhost:8000/v1/", transport=wire.transport)
    await provider.complete(request(settings=Settings(max_tokens=7)))
    assert wire.sent["max_tokens"] == 7
    assert str(wire.requests[-1].url) == "http://localhost:8000/v1/chat/completions"


@pytest.mark.anyio
async def test_tools_and_their_results_go_out_as_the_vendor_wants_them() -> None:
    wire = Wire(completion("hi"))
    messages = (
        Message("user", "2+3?"),
        Message("assistant", "", tool_calls=[ToolCall("c1", "add", '{"a": 2}')]),
        Message("tool", "5", tool_call_id="c1"),
    )
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    await complete(wire, messages=messages, tools=(ToolSpec("add", "Adds.", schema),))
    assert wire.sent["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": schema}}
    ]
    assert wire.sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}],
        },
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
    ]


STRICT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": ["integer", "null"]}},
    "required": ["a", "b"],
}


@pytest.mark.anyio
async def test_a_tool_all_of_whose_arguments_are_required_is_strict_on_openais_own_host() -> None:
    wire = Wire(completion("hi"))
    tools = (ToolSpec("add", "Adds.", STRICT), ToolSpec("now", "", {"type": "object", "properties": {}}))
    await complete(wire, tools=tools)
    assert [tool["function"] for tool in wire.sent["tools"]] == [
        {"name": "add", "description": "Adds.", "parameters": STRICT | {"additionalProperties": False}, "strict": True},
        {
            "name": "now",
            "description": "",
            "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
            "strict": True,
        },
    ]
    elsewhere = OpenAI(base_url="http://localhost:1/v1", transport=wire.transport)
    await elsewhere.complete(request(tools=tools))
    assert wire.sent["tools"][0]["function"] == {"name": "add", "description": "Adds.", "parameters": STRICT}


@pytest.mark.anyio
async def test_one_schema_serves_as_answer_and_as_arguments() -> None:
    wire = Wire(completion("hi"))
    await complete(wire, tools=(ToolSpec("add", "Adds.", FACTS),), output_schema=FACTS)
    assert wire.sent["response_format"]["json_schema"]["strict"] is True
    assert wire.sent["tools"][0]["function"]["strict"] is True
    assert wire.sent["tools"][0]["function"]["parameters"] == FACTS | {"additionalProperties": False}


@pytest.mark.anyio
async def test_an_id_of_another_vendor_that_is_too_long_is_shortened_alike_everywhere() -> None:
    wire = Wire(completion("hi"))
    long = "toolu_" + "x" * 60
    messages = (
        Message("user", "2+3?"),
        Message("assistant", "", tool_calls=[ToolCall(long, "add", "{}")], vendor={"thinking": [{"signature": "s"}]}),
        Message("tool", "5", tool_call_id=long),
    )
    await complete(wire, messages=messages)
    asked, answered = wire.sent["messages"][1:]
    assert asked.keys() == {"role", "content", "tool_calls"}
    assert len(asked["tool_calls"][0]["id"]) <= 40
    assert answered["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert "tools" not in wire.sent, "OpenAI takes old calls without the tools beside them"


@pytest.mark.anyio
async def test_reasoning_models_are_instructed_by_a_system_message_and_told_of_effort_by_extra() -> None:
    wire = Wire(completion("hi"))
    await complete(wire, model="o3", settings=Settings(max_tokens=9), extra={"reasoning_effort": "low"})
    assert wire.sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert wire.sent["max_completion_tokens"] == 9
    assert wire.sent["reasoning_effort"] == "low"
    assert "logprobs" not in wire.sent


@pytest.mark.anyio
async def test_images_go_by_address_and_files_as_data() -> None:
    wire = Wire(completion("hi"))
    parts = (
        Text("What is it?"),
        Image("https://x.example/a.png"),
        File("data:application/pdf;base64,AA", media_type="application/pdf"),
    )
    await complete(wire, messages=(Message("user", parts),))
    assert wire.sent["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "file", "file": {"filename": "file", "file_data": "data:application/pdf;base64,AA"}},
    ]


@pytest.mark.anyio
async def test_a_file_by_address_is_refused_before_anything_is_sent() -> None:
    wire = Wire(completion("hi"))
    part = File("https://x.example/a.pdf", media_type="application/pdf")
    with pytest.raises(BadRequest, match="of step 'read' holds a File by address"):
        await complete(wire, messages=(Message("user", (part,)),), step="read")
    assert not wire.requests


@pytest.mark.anyio
async def test_what_is_no_json_is_refused_before_anything_is_sent() -> None:
    wire = Wire(completion("hi"))
    with pytest.raises(BadRequest, match="extra="):
        await complete(wire, extra={"bias": float("nan")})
    assert not wire.requests


@pytest.mark.anyio
async def test_an_output_schema_is_sent_in_the_native_mode() -> None:
    wire = Wire(completion('{"a": "x"}'))
    answer = await complete(wire, output_schema=FACTS)
    assert answer.text == '{"a": "x"}'
    assert wire.sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Facts", "schema": FACTS | {"additionalProperties": False}, "strict": True},
    }


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_that_is_no_object_is_wrapped_and_unwrapped(stream: bool) -> None:
    text = '{"value": ["a", "b"]}'
    wire = Wire(sse([text[:9], text[9:]]) if stream else completion(text))
    pieces: list[str] = []
    answer = await complete(
        wire,
        watch=pieces.append if stream else None,
        output_schema={"type": "array", "items": {"type": "string"}},
    )
    assert json.loads(answer.text) == ["a", "b"]
    assert "".join(pieces) == (answer.text if stream else "")


@pytest.mark.anyio
async def test_an_answer_is_read_whole() -> None:
    body = completion("Hello", finish_reason="length", model="gpt-4o-2024") | {
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        "system_fingerprint": "fp_1",
    }
    assert await complete(Wire(body)) == ProviderResponse(
        text="Hello",
        usage=Usage(12, 8, cached_tokens=10, reasoning_tokens=5, requests=1),
        finish_reason="length",
        model="gpt-4o-2024",
        raw={"finish_reason": "length", "id": "chatcmpl-mock", "system_fingerprint": "fp_1"},
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("word", "reason"),
    [("stop", "stop"), ("length", "length"), ("function_call", "tool_calls"), ("eos", "other"), (None, "other")],
)
async def test_finish_reasons_have_one_vocabulary(word: str | None, reason: str) -> None:
    body = completion("hi")
    body["choices"][0]["finish_reason"] = word
    assert (await complete(Wire(body))).finish_reason == reason


@pytest.mark.anyio
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
async def test_tool_calls_are_read_whatever_the_finish_reason_says(reason: str) -> None:
    body = completion("", finish_reason=reason)
    body["choices"][0]["message"] = {
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1'}},
            {"type": "function", "function": {"name": "now", "arguments": {"zone": "utc"}}},
        ],
    }
    answer = await complete(Wire(body))
    assert answer.tool_calls == (ToolCall("c1", "add", '{"a": 1'), ToolCall("call_1", "now", '{"zone":"utc"}'))
    assert answer.finish_reason == "tool_calls"


@pytest.mark.anyio
async def test_a_stream_is_asked_for_only_when_somebody_watches() -> None:
    wire = Wire(sse(["Hel", "lo"]))
    pieces: list[str] = []
    answer = await complete(wire, watch=pieces.append)
    assert wire.sent["stream"] is True
    assert wire.sent["stream_options"] == {"include_usage": True}
    assert "".join(pieces) == answer.text == "Hello"
    assert answer.usage == Usage(10, 2, requests=1)
    assert answer.model == "mock-model"


@pytest.mark.anyio
async def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    pieces: list[str] = []
    answer = await complete(Wire(completion("Hello")), watch=pieces.append)
    assert pieces == ["Hello"]
    assert answer.text == "Hello"


USAGE = {"prompt_tokens": 1, "completion_tokens": 2}
DEVIATIONS = {
    "no done": (events(delta("Hi"), delta(finish="stop"), done=False), None),
    "no usage": (events(delta("Hi"), delta(finish="stop")), None),
    "usage in the finish chunk": (
        events(delta("Hi"), delta(finish="stop") | {"usage": USAGE}),
        Usage(1, 2, requests=1),
    ),
    "usage after it": (events(delta("Hi", finish="stop"), {"choices": [], "usage": USAGE}), Usage(1, 2, requests=1)),
    "usage in every chunk": (
        events(
            delta("Hi") | {"usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            delta(finish="stop") | {"usage": USAGE},
        ),
        Usage(1, 2, requests=1),
    ),
    "absurd usage": (events(delta("Hi", finish="stop") | {"usage": {"prompt_tokens": -1}}), None),
    "only done": (events(delta("Hi")), None),
    "empty choices first": (events({"choices": []}, {"choices": None}, {}, delta("Hi", finish="stop")), None),
    "null delta": (events({"choices": [{"delta": None}]}, delta("Hi"), delta(finish="stop")), None),
    "thinking beside": (events(delta(reasoning_content="hm"), delta("Hi"), delta(finish="stop")), None),
    "other choices": (
        events({"choices": [{"index": 1, "delta": {"content": "no"}}]}, delta("Hi", finish="stop")),
        None,
    ),
    "parts": (events(delta([{"type": "text", "text": "Hi"}]), delta(finish="stop")), None),
    "comments": (b": hello\n\n" + events(delta("Hi"), delta(finish="stop")), None),
    "after the end": (events(delta("Hi", finish="stop"), delta("more"), delta(finish="length")), None),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", DEVIATIONS)
async def test_streams_of_compatible_servers_are_survived(kind: str) -> None:
    stream, usage = DEVIATIONS[kind]
    pieces: list[str] = []
    answer = await complete(Wire(stream), watch=pieces.append)
    assert "".join(pieces) == answer.text == "Hi"
    assert answer.usage == usage
    assert answer.finish_reason == ("other" if kind == "only done" else "stop")


@pytest.mark.anyio
async def test_halves_of_a_character_in_two_chunks_are_joined() -> None:
    texts = (b"a\\ud83d", b"\\ude00b", b"\\ud83d")
    reads = [b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text for text in texts]
    wire = Wire(httpx.Response(200, stream=Reads([*reads, events(delta(finish="stop"))])))
    pieces: list[str] = []
    answer = await complete(wire, watch=pieces.append)
    assert answer.text == "".join(pieces) == "a\U0001f600b\ufffd"


@pytest.mark.anyio
@pytest.mark.parametrize("with_index", [True, False])
async def test_tool_calls_are_put_together_from_their_pieces(with_index: bool) -> None:
    def call(index: int, **function: Any) -> dict[str, Any]:
        place = {"index": index} if with_index else {}
        given = {"id": f"c{index}"} if "name" in function else {}
        return delta(tool_calls=[{**place, **given, "function": function}])

    stream = events(
        call(0, name="add", arguments=""),
        call(0, arguments='{"a"'),
        call(0, arguments=": 1}"),
        call(1, name="now", arguments="{}"),
        delta(finish="tool_calls"),
    )
    answer = await complete(Wire(stream), watch=lambda _: None)
    assert answer.tool_calls == (ToolCall("c0", "add", '{"a": 1}'), ToolCall("c1", "now", "{}"))
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")


def piece(index: int | None, id: str | None, **function: Any) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return {**place, **({"id": id} if id else {}), "function": function}


@pytest.mark.anyio
async def test_calls_that_all_come_under_index_0_stay_apart() -> None:
    stream = events(
        delta(tool_calls=[piece(0, "c0", name="add", arguments='{"a":')]),
        delta(tool_calls=[piece(0, None, arguments=" 1}")]),
        delta(tool_calls=[piece(0, "c1", name="add", arguments='{"a":')]),
        delta(tool_calls=[piece(0, None, arguments=" 2}")]),
        delta(finish="tool_calls"),
    )
    answer = await complete(Wire(stream), watch=lambda _: None)
    assert answer.tool_calls == (ToolCall("c0", "add", '{"a": 1}'), ToolCall("c1", "add", '{"a": 2}'))


@pytest.mark.anyio
async def test_a_call_whose_id_is_told_in_every_piece_is_one_call() -> None:
    stream = events(
        delta(tool_calls=[piece(0, "c0", name="add", arguments='{"a":')]),
        delta(tool_calls=[piece(0, "c0", name="add", arguments=" 1}")]),
        delta(finish="tool_calls"),
    )
    answer = await complete(Wire(stream), watch=lambda _: None)
    assert answer.tool_calls == (ToolCall("c0", "add", '{"a": 1}'),)


@pytest.mark.anyio
async def test_calls_that_share_an_id_get_ids_of_their_own() -> None:
    body = completion("")
    function = {"name": "add", "arguments": "{}"}
    same = [{"id": "call_1", "function": function}, {"id": "call_1", "function": function}, {"function": function}]
    body["choices"][0]["message"]["tool_calls"] = same
    answer = await complete(Wire(body))
    assert [call.id for call in answer.tool_calls] == ["call_1", "call_1_", "call_2"]


@pytest.mark.anyio
async def test_text_and_a_call_may_come_in_one_delta() -> None:
    both = {"content": "Let me see.", "tool_calls": [piece(0, "c0", name="now", arguments="{}")]}
    chunk = {"choices": [{"index": 0, "delta": both, "finish_reason": None}]}
    answer = await complete(Wire(events(chunk, delta(finish="stop"))), watch=lambda _: None)
    assert answer.text == "Let me see."
    assert answer.tool_calls == (ToolCall("c0", "now", "{}"),)
    assert answer.finish_reason == "tool_calls"


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_raised_with_its_text(stream: bool) -> None:
    if stream:
        wire = Wire(events(delta(refusal="I can"), delta(refusal="not."), delta(finish="stop")))
    else:
        body = completion("")
        body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I cannot."}
        wire = Wire(body)
    with pytest.raises(ContentRefused) as caught:
        await complete(wire, watch=(lambda _: None) if stream else None)
    assert caught.value.text == "I cannot."


@pytest.mark.anyio
async def test_thinking_of_a_compatible_server_is_kept_beside_the_text() -> None:
    stream = events(
        delta(reasoning="h", reasoning_content="h"), delta(reasoning="m"), delta("Hi"), delta(finish="stop")
    )
    pieces: list[str] = []
    answer = await complete(Wire(stream), watch=pieces.append)
    assert (answer.text, pieces[0], answer.raw["reasoning"]) == ("Hi", "Hi", "hm")
    assert "replay" not in answer.raw


COMPLAINTS = {
    "context overflow as 400": (
        400,
        {"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}},
        ContextTooLong,
    ),
    "context overflow in words only": (
        400,
        {"object": "error", "message": "Please reduce the length of the messages", "code": 40303},
        ContextTooLong,
    ),
    "a detail": (422, {"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}, BadRequest),
    "a detail that is text": (404, {"detail": "Not Found"}, BadRequest),
    "a bad key": (401, {"error": "Unauthorized"}, AuthenticationFailed),
    "no money": (429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, RateLimited),
    "no JSON": (503, "<html>busy</html>", ProviderUnavailable),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", COMPLAINTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_compatible_servers_have_their_classes(kind: str, stream: bool) -> None:
    status, body, expected = COMPLAINTS[kind]
    content = body if isinstance(body, str) else json.dumps(body)
    wire = Wire(httpx.Response(status, content=content))
    with pytest.raises(expected) as caught:
        await complete(wire, watch=(lambda _: None) if stream else None)
    assert caught.value.status == status


@pytest.mark.anyio
async def test_a_server_that_fails_over_a_bad_key_tells_of_the_key_in_its_error() -> None:
    wire = Wire(httpx.Response(500, json={"error": {"message": f"Invalid API key: {KEY}", "type": "auth_error"}}))
    with pytest.raises((AuthenticationFailed, ProviderUnavailable), match="Invalid API key") as caught:
        await complete(wire)
    assert KEY not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("choices", [None, [], [{"index": 0, "delta": {}, "finish_reason": None}]])
async def test_an_error_inside_a_stream_ends_it(choices: list[Any] | None) -> None:
    broken: dict[str, Any] = {"error": {"message": "overloaded", "type": "overloaded_error"}}
    if choices is not None:
        broken["choices"] = choices
    with pytest.raises(ProviderUnavailable, match="answered 529"):
        await complete(Wire(events(delta("Hi"), broken)), watch=lambda _: None)


@pytest.mark.anyio
async def test_an_error_after_the_end_does_not_take_the_answer_away() -> None:
    broken = {"error": {"message": "overloaded", "type": "overloaded_error"}}
    answer = await complete(Wire(events(delta("Hi", finish="stop"), broken)), watch=lambda _: None)
    assert answer.text == "Hi"


@pytest.mark.anyio
async def test_an_error_of_the_watcher_reaches_the_caller_as_it_is() -> None:
    def watch(_: str) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await complete(Wire(sse(["a"])), watch=watch)


@pytest.mark.anyio
async def test_an_unknown_model_is_told_with_the_nearest_ones() -> None:
    missing = httpx.Response(404, json={"error": {"message": "The model does not exist", "code": "model_not_found"}})
    wire = Wire(missing, {"data": [{"id": "gpt-4o"}, {"id": "gpt-4o-mini"}, {"id": "whisper-1"}]})
    with pytest.raises(BadRequest, match="similar name: 'gpt-4o', 'gpt-4o-mini'") as caught:
        await complete(wire, model="gpt-4oo")
    assert caught.value.status == 404


@pytest.mark.anyio
async def test_models_are_listed_and_the_check_tells_of_them() -> None:
    provider = OpenAI(api_key=KEY, transport=Wire({"data": [{"id": "b"}, {"id": "a"}]}).transport)
    assert await provider.models() == ["a", "b"]
    assert (await provider.check()).ok
    status = await provider.check(detailed=True)
    assert not status.ok, "the one token it asks for is answered with a list of models"
    listed, asked = status.detail.splitlines()
    assert listed.startswith("GET /models: 2 models: a, b (")
    assert asked.startswith("POST /chat/completions: openai at api.openai.com answered with JSON that is no chat")


@pytest.mark.anyio
async def test_a_check_that_fails_tells_why_and_raises_nothing() -> None:
    wire = Wire(httpx.Response(401, json={"error": {"message": f"Incorrect API key: {KEY}"}}))
    status = await OpenAI(api_key=KEY, transport=wire.transport).check()
    assert not status.ok
    assert "401" in status.detail
    assert KEY not in status.detail


class Stored:
    def __init__(self, *hosts: str, key: str = KEY) -> None:
        self.secret = Secret(key, hosts=hosts)

    def get(self, name: str) -> Secret:
        if name != "OPENAI_API_KEY":
            raise MissingCredential(name)
        return self.secret


@pytest.mark.anyio
async def test_a_key_that_is_missing_is_named_with_the_remedy() -> None:
    provider = OpenAI(transport=Wire(completion("hi")).transport)
    assert provider.missing_credential() == "OPENAI_API_KEY"
    with pytest.raises(MissingCredential, match=r"set OPENAI_API_KEY, or .* api_key=; .*offline"):
        await provider.complete(request())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("base_url", "hosts", "goes_along"),
    [
        (None, (), True),
        ("https://api.openai.com/v1/", (), True),
        ("http://api.openai.com/v1", (), False),
        ("https://evil.example/v1", (), False),
        ("https://api.openai.com.evil.example/v1", (), False),
        ("https://proxy.example/v1", ("proxy.example",), True),
    ],
)
async def test_a_stored_key_goes_only_to_its_hosts(
    base_url: str | None, hosts: tuple[str, ...], goes_along: bool
) -> None:
    wire = Wire(completion("hi"))
    provider = OpenAI(base_url=base_url, transport=wire.transport)
    provider.use_credentials(Stored(*hosts))
    assert provider.missing_credential() is None
    await provider.complete(request())
    assert ("authorization" in wire.requests[0].headers) is goes_along
    assert (KEY in str(wire.requests[0].headers.raw)) is goes_along


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["text", "secret", "function", "coroutine"])
async def test_a_key_given_in_code_goes_to_the_address_it_was_given_with(kind: str) -> None:
    async def later() -> Secret:
        return Secret(KEY)

    keys: dict[str, Any] = {"text": KEY, "secret": Secret(KEY), "function": lambda: KEY, "coroutine": later}
    wire = Wire(completion("hi"))
    provider = OpenAI(api_key=keys[kind], base_url="http://localhost:1/v1", transport=wire.transport)
    provider.use_credentials(Stored(key="other-key-000"))
    await provider.complete(request())
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(provider) + repr(vars(provider))


@pytest.mark.anyio
async def test_a_key_that_changes_is_asked_for_before_every_call() -> None:
    keys = iter(["first-key-1", "second-key-2"])
    wire = Wire(completion("hi"))
    provider = OpenAI(api_key=lambda: next(keys), transport=wire.transport)
    await provider.complete(request())
    await provider.complete(request())
    assert [sent.headers["authorization"][7:] for sent in wire.requests] == ["first-key-1", "second-key-2"]


@pytest.mark.parametrize(
    "base_url",
    [
        "api.openai.com",
        "ftp://x/v1",
        "https://",
        "https://user:pass-canary@x/v1",
        "https://x/v1?key=pass-canary",
        "http://x:99999",
    ],
)
def test_a_base_url_that_is_none_is_refused_without_its_secrets(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        OpenAI(base_url=base_url)
    assert "pass-canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "refused", "taken"),
    [
        ("gpt-5-mini", {"temperature", "top_p", "stop"}, {"seed"}),
        ("gpt-5.2", {"stop"}, {"temperature"}),
        ("gpt-5-chat-latest", set(), {"temperature"}),
        ("o3", {"temperature", "stop"}, {"seed"}),
        ("o1", {"temperature"}, {"stop"}),
        ("gpt-4o", set(), {"temperature", "stop"}),
        ("gpt-5.5", {"stop"}, {"temperature"}),
        ("something-new", set(), {"temperature"}),
    ],
)
def test_capabilities_tell_what_a_model_does_not_take(model: str, refused: set[str], taken: set[str]) -> None:
    unsupported = OpenAI().capabilities(model).unsupported
    assert refused <= unsupported
    assert not taken & unsupported
    assert not OpenAI(base_url="http://localhost:1/v1").capabilities(model).unsupported


def test_a_stream_that_was_never_fed_is_truncated() -> None:
    from llmorch.providers._chat_stream import StreamReader
    from llmorch.providers._classify import Origin

    with pytest.raises(StreamTruncated, match="'m'"):
        StreamReader(Origin("openai", "host", "m"), lambda _: None).response()
