"""What the Ollama provider sends, and how it reads what comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.errors import (
    BadAnswer,
    BadRequest,
    ContextTooLong,
    MissingCredential,
    ProviderUnavailable,
    StreamTruncated,
)
from llmorch.models.message import File, Image, Message, Text, ToolCall
from llmorch.models.secret import Secret
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers._classify import Origin
from llmorch.providers._ollama_answer import StreamReader
from llmorch.providers.ollama import Ollama
from llmorch.requests import ProviderRequest, ProviderResponse, ToolSpec

HELLO = (Message("system", "Be brief."), Message("user", "Hello"))
FACTS = {"title": "Facts", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
COUNTS = {
    "total_duration": 5043500667,
    "load_duration": 5025959,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 325953000,
    "eval_count": 3,
    "eval_duration": 4709213000,
}
AT = "2026-11-20T08:52:19.385406455Z"


class Reads(httpx.AsyncByteStream):
    """A body that comes in these reads."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class Wire:
    """Answers every request with the next answer and keeps what was asked; bytes are a stream."""

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
            return httpx.Response(200, content=answer, headers={"content-type": "application/x-ndjson"})
        return httpx.Response(200, json=answer)

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body


def whole(content: Any = "hi", *, reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    ended = {"done": True, **({"done_reason": reason} if reason else {}), **COUNTS}
    return {
        "model": "llama3.2",
        "created_at": AT,
        "message": {"role": "assistant", "content": content, **message},
        **ended,
    }


def piece(content: Any = "", **message: Any) -> dict[str, Any]:
    return {
        "model": "llama3.2",
        "created_at": AT,
        "message": {"role": "assistant", "content": content, **message},
        "done": False,
    }


def lines(*chunks: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(chunk).encode() + b"\n" for chunk in chunks)


def request(**changes: Any) -> ProviderRequest:
    return ProviderRequest(**{"model": "llama3.2", "messages": HELLO, **changes})


async def complete(
    wire: Wire, *, watch: Callable[[str], None] | None = None, options: dict[str, Any] | None = None, **changes: Any
) -> ProviderResponse:
    provider = Ollama(transport=wire.transport, options=options)
    return await provider.complete(request(**changes), on_delta=watch)


@pytest.mark.anyio
async def test_only_what_is_set_is_sent_and_no_key_to_a_local_server() -> None:
    wire = Wire(whole())
    await complete(wire)
    assert wire.sent == {
        "model": "llama3.2",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "stream": False,
    }
    sent = wire.requests[-1]
    assert str(sent.url) == "http://localhost:11434/api/chat"
    assert "authorization" not in sent.headers


@pytest.mark.anyio
async def test_settings_become_options_over_those_of_the_provider_and_under_those_of_extra() -> None:
    wire = Wire(whole())
    settings = Settings(
        temperature=0.0,
        max_tokens=7,
        top_p=0.5,
        stop=("END",),
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
    )
    await complete(
        wire,
        settings=settings,
        options={"num_ctx": 8192, "temperature": 0.9, "top_k": 5},
        extra={"options": {"seed": 4, "num_gpu": 1}, "keep_alive": "10m", "think": False, "stream": True},
    )
    assert wire.sent["options"] == {
        "num_ctx": 8192,
        "temperature": 0.0,
        "top_k": 5,
        "num_predict": 7,
        "top_p": 0.5,
        "stop": ["END"],
        "seed": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "num_gpu": 1,
    }
    assert (wire.sent["keep_alive"], wire.sent["think"], wire.sent["stream"]) == ("10m", False, False)


@pytest.mark.anyio
async def test_options_that_are_no_mapping_are_refused_before_anything_is_sent() -> None:
    wire = Wire(whole())
    with pytest.raises(BadRequest, match=r"options= in extra that are no mapping"):
        await complete(wire, extra={"options": [1]})
    assert wire.requests == []
    with pytest.raises(ValueError, match="no JSON"):
        Ollama(options={"num_ctx": {1}})


@pytest.mark.anyio
async def test_tools_and_a_schema_have_their_names_on_the_wire() -> None:
    wire = Wire(whole())
    await complete(wire, tools=(ToolSpec("add", "Adds.", FACTS),), output_schema=FACTS)
    assert wire.sent["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": FACTS}}
    ]
    assert wire.sent["format"] == FACTS


@pytest.mark.anyio
async def test_a_tool_round_goes_back_with_arguments_as_an_object_and_results_by_name() -> None:
    wire = Wire(
        whole("", thinking="Let me add.", tool_calls=[{"function": {"name": "add", "arguments": {"a": 1, "b": [2]}}}]),
        whole("3"),
    )
    first = await complete(wire, tools=(ToolSpec("add", "Adds.", {"type": "object"}),))
    assert first.finish_reason == "tool_calls"
    assert first.text == ""
    (call,) = first.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 1, "b": [2]})
    replay: Any = first.raw["replay"]
    messages = (
        *HELLO,
        Message("assistant", first.text, tool_calls=first.tool_calls, vendor=replay),
        Message("tool", "3", tool_call_id=call.id),
    )
    await complete(wire, messages=messages)
    assert wire.sent["messages"][2:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "Let me add.",
            "tool_calls": [{"id": call.id, "function": {"name": "add", "arguments": {"a": 1, "b": [2]}}}],
        },
        {"role": "tool", "content": "3", "tool_name": "add", "tool_call_id": call.id},
    ]
    assert "tools" not in wire.sent


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
        ('{"a": 1', {"arguments": '{"a": 1'}),
        ("[1]", {"arguments": "[1]"}),
    ],
)
async def test_arguments_that_are_no_object_still_go_as_one(arguments: str, sent: dict[str, Any]) -> None:
    wire = Wire(whole())
    call = ToolCall("toolu_01/odd id", "add", arguments)
    asked = Message("assistant", "So:", tool_calls=(call,), vendor={"signature": "of another vendor"})
    await complete(wire, messages=(*HELLO, asked, Message("tool", "x", tool_call_id="unheard-of")))
    assert wire.sent["messages"][2] == {
        "role": "assistant",
        "content": "So:",
        "tool_calls": [{"id": "toolu_01/odd id", "function": {"name": "add", "arguments": sent}}],
    }
    assert wire.sent["messages"][3] == {"role": "tool", "content": "x", "tool_call_id": "unheard-of"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "image"),
    [
        ("data:image/png;base64,aGkh", b"hi!"),
        ("data:image/png,%68%69>", b"hi>"),
        ("data:;base64,aGk%2B", b"hi>"),
        ("DATA:image/png;BASE64,aG k", b"hi"),
    ],
)
async def test_an_image_goes_as_base64_without_its_head(url: str, image: bytes) -> None:
    wire = Wire(whole())
    parts = (Text("What "), Image(url), Text("is it?"))
    await complete(wire, messages=(Message("user", parts),))
    (sent,) = wire.sent["messages"]
    assert sent["content"] == "What is it?"
    assert sent["images"] == [base64.b64encode(image).decode()]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("part", "told"),
    [
        (Image("https://example.org/a.png"), "Image by address"),
        (Image("data:image/png;base64,a"), "no base64"),
        (Image("data:image/png;base64,aGk-"), "no base64"),  # the alphabet of addresses, which the server does not read
        (Image("data:image/png;base64,"), "without bytes"),
        (File("data:text/plain,hi", media_type="text/plain"), "a File"),
    ],
)
async def test_what_ollama_does_not_take_is_refused_with_the_step(part: Image | File, told: str) -> None:
    wire = Wire(whole())
    with pytest.raises(BadRequest, match=told) as caught:
        await complete(wire, messages=(Message("user", [part]),), step="look")
    assert "of step 'look'" in caught.value.message
    assert wire.requests == []


@pytest.mark.anyio
async def test_a_whole_answer_has_text_usage_durations_and_model() -> None:
    answer = await complete(Wire(whole("Hello.", thinking="Hm.")))
    assert answer.text == "Hello."
    assert answer.usage == Usage(26, 3, requests=1)
    assert answer.finish_reason == "stop"
    assert answer.model == "llama3.2"
    spans = {name: value for name, value in COUNTS.items() if name.endswith("duration")}
    assert answer.raw == {"finish_reason": "stop", **spans}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "stop"), ("length", "length"), ("load", "other"), ("unload", "other"), ("new", "other"), (None, "other")],
)
async def test_reasons_are_mapped_and_kept(reason: str | None, told: str) -> None:
    answer = await complete(Wire(whole(reason=reason)))
    assert (answer.finish_reason, answer.raw["finish_reason"]) == (told, reason)


@pytest.mark.anyio
@pytest.mark.parametrize("bad", [None, -1, "12", True, 1e999, 10**30, [1]])
async def test_absurd_numbers_are_not_believed_and_cost_no_answer(bad: Any) -> None:
    body = json.dumps({**whole(), "eval_count": bad, "eval_duration": bad, "total_duration": bad, "model": bad})
    answer = await complete(Wire(httpx.Response(200, content=body, headers={"content-type": "application/json"})))
    assert answer.text == "hi"
    assert answer.usage is None
    assert not {"eval_duration", "total_duration"} & set(answer.raw)
    assert isinstance(answer.model, str)


@pytest.mark.anyio
async def test_calls_without_ids_get_the_same_ones_each_time_and_different_ones_each() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    wire = Wire(whole("", tool_calls=[call, call, {"id": "x", **call}, {"id": "x", **call}]))
    first, again = (await complete(wire)).tool_calls, (await complete(wire)).tool_calls
    assert first == again
    assert len({found.id for found in first}) == 4
    assert first[2].id == "x"
    later = whole("", tool_calls=[call]) | {"created_at": "2026-11-20T08:53:00Z"}
    (other,) = (await complete(Wire(later))).tool_calls
    assert other.id not in {found.id for found in first}, "two rounds of one conversation share an id"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": None, "thinking": None},
        {"content": 3, "tool_calls": "x", "thinking": []},
        {"content": [], "tool_calls": [None, 1, {}, {"function": 1}, {"function": {"name": 2}}]},
        {"tool_calls": [{"function": {"name": "", "arguments": {}}}]},
    ],
)
async def test_fields_of_odd_types_are_left_out(message: dict[str, Any]) -> None:
    answer = await complete(Wire(whole() | {"message": message}))
    assert (answer.text, answer.tool_calls) == ("", ())
    told: list[str] = []
    streamed = await complete(Wire(lines(piece() | {"message": message}, whole(""))), watch=told.append)
    assert (streamed.text, streamed.tool_calls, told) == ("", (), [])


@pytest.mark.anyio
async def test_a_stream_tells_its_text_and_nothing_of_thinking_or_tools() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    wire = Wire(
        lines(
            piece(thinking="Hm"),
            piece(thinking="!"),
            piece("Hel"),
            piece("lo"),
            piece(tool_calls=[call]),
            whole("."),
            piece("after"),
        )
    )
    told: list[str] = []
    answer = await complete(wire, watch=told.append)
    assert wire.sent["stream"] is True
    assert answer.text == "".join(told) == "Hello."
    assert [(found.name, found.arguments) for found in answer.tool_calls] == [("add", '{"a":1}')]
    assert answer.usage == Usage(26, 3, requests=1)
    assert answer.finish_reason == "tool_calls"
    assert answer.raw["replay"] == {"ollama_thinking": "Hm!"}
    assert answer.raw["eval_duration"] == COUNTS["eval_duration"]


@given(st.lists(st.text(max_size=5), max_size=6), st.data())
def test_any_cut_of_a_stream_gives_the_same_answer(texts: list[str], data: st.DataObject) -> None:
    chunks = [piece(text) for text in texts] + [whole("")]
    body = b"".join(json.dumps(chunk, ensure_ascii=False).encode() + b"\n" for chunk in chunks)
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    cuts = [0, *places, len(body)]
    told: list[str] = []
    reader = StreamReader(Origin("ollama", "localhost:11434", "m"), told.append)
    for start, stop in pairwise(cuts):
        reader.feed(body[start:stop])
    assert reader.response().text == "".join(told) == "".join(texts)


@pytest.mark.anyio
async def test_halves_of_a_character_in_two_events_are_joined_and_lone_ones_replaced() -> None:
    body = lines(piece("a\ud83d"), piece("\ude00b"), piece("c\ud83d"), whole(""))
    told: list[str] = []
    answer = await complete(Wire(body), watch=told.append)
    assert answer.text == "".join(told) == "a\U0001f600bc\ufffd"
    reads = [line + b"\n" for line in body.splitlines()]
    told.clear()
    response = httpx.Response(200, stream=Reads(reads), headers={"content-type": "application/x-ndjson"})
    answer = await complete(Wire(response), watch=told.append)
    assert answer.text == "".join(told) == "a\U0001f600bc\ufffd"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lines(piece("Hel")), "Hel"),
        (lines(piece("Hel")) + b'{"model":"llama3.2","done":tr', "Hel"),
        (lines(piece("Hel")) + b"<html>\n", "Hel"),
        (lines(piece("Hel"), whole("lo") | {"done": "true"}), "Hello"),
        (b"", ""),
    ],
)
async def test_a_stream_without_its_end_is_truncated_and_what_came_was_told(body: bytes, said: str) -> None:
    told: list[str] = []
    with pytest.raises(StreamTruncated):
        await complete(Wire(body), watch=told.append)
    assert "".join(told) == said


@pytest.mark.anyio
async def test_the_last_line_needs_no_line_end() -> None:
    answer = await complete(Wire(lines(piece("Hel"), whole("lo")).rstrip(b"\n")), watch=lambda _: None)
    assert answer.text == "Hello"


@pytest.mark.anyio
async def test_nothing_after_the_end_counts() -> None:
    body = lines(piece("Hello"), whole(""), {"error": "late"}) + b"garbage\n"
    assert (await complete(Wire(body), watch=lambda _: None)).text == "Hello"


@pytest.mark.anyio
async def test_an_error_in_the_middle_of_a_stream_is_the_servers_fault() -> None:
    told: list[str] = []
    body = lines(piece("Hel"), {"error": "an error was encountered while running the model: unexpected EOF"})
    with pytest.raises(ProviderUnavailable, match="unexpected EOF"):
        await complete(Wire(body), watch=told.append)
    assert told == ["Hel"]
    with pytest.raises(ProviderUnavailable, match="the gateway is full"):
        await complete(Wire({"detail": "the gateway is full"}))


@pytest.mark.anyio
async def test_a_line_over_the_cap_is_no_answer() -> None:
    body = lines(piece("x" * (1024 * 1024)), whole(""))
    with pytest.raises(BadAnswer, match="1048576 bytes"):
        await complete(Wire(body), watch=lambda _: None)


@pytest.mark.anyio
@pytest.mark.parametrize("watched", [True, False])
async def test_a_stream_that_calls_itself_json_is_read_all_the_same(watched: bool) -> None:
    told: list[str] = []
    body = lines(piece("Hel"), piece("lo"), whole(""))
    response = httpx.Response(200, content=body, headers={"content-type": "application/json"})
    answer = await complete(Wire(response), watch=told.append if watched else None)
    assert answer.text == "Hello"
    assert told == (["Hello"] if watched else [])


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"<html>\n</html>", b"", b"[]", b'{"message":"hi"}', b'{"done":true}', b"null"])
async def test_what_is_no_chat_answer_is_told_with_its_beginning(body: bytes) -> None:
    response = httpx.Response(200, content=body, headers={"content-type": "application/json"})
    with pytest.raises(BadAnswer) as caught:
        await complete(Wire(response))
    assert "localhost:11434" in caught.value.message


@pytest.mark.anyio
async def test_a_whole_answer_that_is_not_done_is_truncated() -> None:
    with pytest.raises(StreamTruncated):
        await complete(Wire(piece("Hel")))


@pytest.mark.anyio
@pytest.mark.parametrize("watched", [True, False])
async def test_a_missing_model_is_told_with_the_command_that_installs_it_and_near_names(watched: bool) -> None:
    missing = httpx.Response(404, json={"error": "model 'llama3.3' not found"})
    wire = Wire(missing, {"models": [{"name": "llama3.2:latest"}, {"name": "qwen3:8b"}]})
    with pytest.raises(BadRequest) as caught:
        await complete(wire, model="llama3.3", watch=(lambda _: None) if watched else None)
    assert "`ollama pull llama3.3`" in caught.value.message
    assert "'llama3.2:latest'" in caught.value.message
    assert caught.value.status == 404
    assert [sent.url.path for sent in wire.requests] == ["/api/chat", "/api/tags"]


@pytest.mark.anyio
async def test_the_command_of_a_hint_is_safe_to_paste_and_only_given_for_models() -> None:
    missing = httpx.Response(404, json={"error": "model 'x; rm' not found"})
    with pytest.raises(BadRequest, match=r"`ollama pull 'x; rm'`"):
        await complete(Wire(missing, {"models": []}), model="x; rm")
    with pytest.raises(BadRequest) as caught:
        await complete(Wire(httpx.Response(404, text="404 page not found"), httpx.Response(404)))
    assert "pull" not in caught.value.message


@pytest.mark.anyio
async def test_refusals_of_the_server_have_their_class() -> None:
    told = httpx.Response(400, json={"error": "registry.ollama.ai/library/x does not support tools"})
    with pytest.raises(BadRequest, match="does not support tools"):
        await complete(Wire(told))
    long = httpx.Response(400, json={"error": "the input length exceeds the context length"})
    with pytest.raises(ContextTooLong):
        await complete(Wire(long))


@pytest.mark.anyio
async def test_models_are_listed_by_name_and_other_servers_are_told_apart() -> None:
    listed = {"models": [{"name": "b:1"}, {"model": "a"}, {"name": 3}, None]}
    assert await Ollama(transport=Wire(listed).transport).models() == ["a", "b:1"]
    with pytest.raises(BadAnswer, match="did not answer with a list of its models"):
        await Ollama(transport=Wire({**listed, "data": [], "object": "list"}).transport).models()


@pytest.mark.anyio
async def test_a_check_asks_for_the_models_and_in_detail_for_one_answer() -> None:
    wire = Wire({"models": [{"name": "llama3.2"}]}, {"models": [{"name": "llama3.2"}]}, whole())
    provider = Ollama(transport=wire.transport)
    basic = await provider.check()
    assert (basic.ok, basic.model) == (True, "llama3.2")
    detailed = await provider.check(detailed=True)
    assert detailed.ok
    assert "GET /api/tags: 1 model: llama3.2" in detailed.detail
    assert "POST /api/chat: llama3.2 answered" in detailed.detail
    assert wire.sent["options"] == {"num_predict": 16}


class Stored:
    def get(self, name: str) -> Secret:
        return Secret(f"stored-{name}")


@pytest.mark.anyio
async def test_the_cloud_needs_a_key_and_a_stored_one_goes_nowhere_else() -> None:
    wire = Wire(whole())
    cloud = Ollama(base_url="https://ollama.com", transport=wire.transport)
    assert cloud.missing_credential() == "OLLAMA_API_KEY"
    with pytest.raises(MissingCredential):
        await cloud.complete(request())
    cloud.use_credentials(Stored())
    await cloud.complete(request())
    assert wire.requests[-1].headers["authorization"] == "Bearer stored-OLLAMA_API_KEY"
    for address in (None, "https://localhost:11434", "http://ollama.com", "https://ollama.com.example.org"):
        other = Ollama(base_url=address, transport=wire.transport)
        other.use_credentials(Stored())
        assert other.missing_credential() is None
        await other.complete(request())
        assert "authorization" not in wire.requests[-1].headers
    given = Ollama(base_url="http://10.0.0.7:11434", api_key="given-key", transport=wire.transport)
    await given.complete(request())
    assert wire.requests[-1].headers["authorization"] == "Bearer given-key"


def test_capabilities_claim_no_more_than_is_known() -> None:
    assert not Ollama().capabilities("Llama2:13b").tools
    assert not Ollama().capabilities("gemma3").tools
    assert Ollama().capabilities("llama3.2").tools
    assert Ollama().capabilities("me/gemma3-tools").tools
    known = Ollama(options={"num_ctx": 2048}).capabilities("anything")
    assert known.context_tokens == 2048
    assert not known.schema_with_tools
    assert Ollama(options={"num_ctx": "many"}).capabilities("anything").context_tokens is None
