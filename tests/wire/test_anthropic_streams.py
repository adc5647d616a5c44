"""How the Anthropic provider reads streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from llmorch.errors import BadAnswer, ContentRefused, ProviderUnavailable, RateLimited, StreamTruncated
from llmorch.models.message import Message, ToolCall
from llmorch.models.usage import Usage
from llmorch.providers._anthropic_answer import StreamReader
from llmorch.providers._classify import Origin
from llmorch.providers._sink import Progress
from llmorch.providers.anthropic import Anthropic
from llmorch.requests import ProviderRequest, ProviderResponse

ORIGIN = Origin("anthropic", "host", "claude-sonnet-5-5", "KEY")
START_USAGE = {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": None, "output_tokens": 1}
START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "msg_1", "type": "message", "model": "claude-x", "content": [], "usage": START_USAGE},
}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}


def events(*given: dict[str, Any], ascii_only: bool = False) -> bytes:
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=ascii_only)}\n\n" for event in given
    ).encode()


def begun(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def grown(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stopped(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    made = [grown(index, "text_delta", text=piece) for piece in pieces]
    return [begun(index, "text", text=""), *made, stopped(index)]


def ended(reason: str = "end_turn", usage: Any = None, **more: Any) -> dict[str, Any]:
    counts = {"output_tokens": 9} if usage is None else usage
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None, **more}, "usage": counts}


def read(*chunks: bytes) -> tuple[ProviderResponse, list[str]]:
    """The answer of a stream that comes in these reads, and the pieces of text it gave."""
    pieces: list[str] = []
    reader = StreamReader(ORIGIN, pieces.append)
    for chunk in chunks:
        reader.feed(chunk)
    answer = reader.response()
    assert "".join(pieces) == answer.text
    return answer, pieces


class Reads(httpx.AsyncByteStream):
    """A body that comes in these reads."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@pytest.mark.anyio
async def test_a_stream_is_asked_for_only_when_somebody_watches() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        chunks = [events(START, *text(0, "Hel")), events(grown(0, "text_delta", text="lo"), ended(), STOP)]
        return httpx.Response(200, stream=Reads(chunks), headers={"content-type": "text/event-stream"})

    provider = Anthropic(api_key="sk-canary-ant-1", transport=httpx.MockTransport(answer))
    pieces: list[str] = []
    request = ProviderRequest("claude-sonnet-5-5", (Message("user", "Hi"),), extra={"stream": False})
    got = await provider.complete(request, on_delta=pieces.append)
    assert bodies[-1]["stream"] is True
    assert (pieces, got.text) == (["Hel", "lo"], "Hello")


def test_a_stream_is_put_together_whatever_the_network_cut() -> None:
    whole = events(START, PING, *text(0, "Hé", "llo\u2028", "😀"), *text(1, "!"), ended(), STOP)
    pieces = [whole[place : place + 1] for place in range(len(whole))]
    for chunks in ([whole], pieces):
        answer, _ = read(*chunks)
        assert answer == ProviderResponse(
            text="Héllo\u2028😀!",
            usage=Usage(12, 9, cached_tokens=7, requests=1),
            finish_reason="stop",
            model="claude-x",
            raw={"finish_reason": "end_turn", "id": "msg_1"},
        )


def test_halves_of_a_character_in_two_reads_are_joined() -> None:
    first = events(START, *text(0, "\ud83d"), ascii_only=True)
    second = events(*text(1, "\ude00", "\ud83d"), ended(), STOP, ascii_only=True)
    answer, pieces = read(first, second)
    assert answer.text == "😀\ufffd"
    assert pieces[0] == "😀"


def test_tool_calls_are_put_together_behind_an_empty_text() -> None:
    arguments = ["", '{"a"', ": [1, ", "2]}"]
    answer, pieces = read(
        events(
            START,
            *text(0),
            begun(1, "tool_use", id="toolu_1", name="add", input={}),
            *(grown(1, "input_json_delta", partial_json=piece) for piece in arguments),
            stopped(1),
            begun(2, "tool_use", id="toolu_2", name="now", input={}),
            stopped(2),
            ended("tool_use"),
            STOP,
        )
    )
    assert answer.tool_calls == (ToolCall("toolu_1", "add", '{"a": [1, 2]}'), ToolCall("toolu_2", "now", "{}"))
    assert (answer.finish_reason, pieces, "replay" in answer.raw) == ("tool_calls", [], False)


def test_thinking_is_no_text_and_is_kept_for_the_next_round() -> None:
    answer, pieces = read(
        events(
            START,
            begun(0, "thinking", thinking="", signature=""),
            grown(0, "thinking_delta", thinking="Hm"),
            grown(0, "thinking_delta", thinking="."),
            grown(0, "signature_delta", signature="c2ln"),
            stopped(0),
            begun(1, "redacted_thinking", data="ZW5j"),
            stopped(1),
            begun(2, "server_tool_use", id="srvtoolu_1", name="web_search", input={}),
            grown(2, "input_json_delta", partial_json='{"query": "x"}'),
            stopped(2),
            *text(3, "So"),
            begun(4, "tool_use", id="toolu_1", name="add", input={}),
            grown(4, "input_json_delta", partial_json='{"a": 1}'),
            stopped(4),
            ended("tool_use"),
            STOP,
        )
    )
    assert (answer.text, pieces) == ("So", ["So"])
    assert answer.raw["replay"] == {
        "anthropic_content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZW5j"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
            {"type": "text", "text": "So"},
            {"type": "tool_use", "id": "toolu_1", "name": "add"},
        ]
    }


def test_counts_at_the_end_replace_those_at_the_start() -> None:
    usage = {
        "input_tokens": 6,
        "cache_read_input_tokens": None,
        "cache_creation_input_tokens": 2,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    answer, _ = read(events(START, *text(0, "hi"), ended(usage=usage), STOP))
    assert answer.usage == Usage(15, 9, cached_tokens=7, cache_write_tokens=2, reasoning_tokens=4, requests=1)


@pytest.mark.parametrize("usage", ["?", {}, {"output_tokens": -1}])
def test_the_count_at_the_start_is_not_taken_for_the_whole(usage: Any) -> None:
    answer, _ = read(events(START, *text(0, "hi"), ended(usage=usage), STOP))
    assert (answer.text, answer.usage) == ("hi", None)


@pytest.mark.parametrize(
    "cut",
    [
        events(START, *text(0, "hi")),
        events(START, *text(0, "hi"), ended()),
        events(START, *text(0, "hi"), ended()) + b'data: {"type": "message_stop"}',
        b"",
    ],
)
def test_a_stream_that_ends_before_message_stop_is_truncated(cut: bytes) -> None:
    with pytest.raises(StreamTruncated, match="ended before the answer did"):
        read(cut)


def test_an_event_that_is_no_json_ends_the_stream() -> None:
    with pytest.raises(StreamTruncated, match="no JSON"):
        read(events(START) + b'data: {"type": "content_bl\n\n')


def test_after_message_stop_nothing_counts() -> None:
    late = events(*text(1, "late"), {"type": "error", "error": {"type": "api_error", "message": "late"}})
    answer, pieces = read(events(START, *text(0, "hi"), ended(), STOP) + late, b"data: {\n\n")
    assert (answer.text, pieces) == ("hi", ["hi"])


@pytest.mark.parametrize(
    ("kind", "expected"), [("overloaded_error", ProviderUnavailable), ("rate_limit_error", RateLimited)]
)
def test_an_error_in_the_stream_has_its_class(kind: str, expected: Any) -> None:
    with pytest.raises(expected, match="Too much"):
        read(events(START, *text(0, "hi"), {"type": "error", "error": {"type": kind, "message": "Too much"}}))


def test_a_refusal_in_the_stream_is_an_error_with_the_text_so_far() -> None:
    with pytest.raises(ContentRefused, match="declined") as caught:
        read(events(START, *text(0, "First,"), ended("refusal", stop_details=None), STOP))
    assert caught.value.text == "First,"


def test_a_line_over_the_limit_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match="1048576 bytes"):
        read(b"data: " + b"x" * 1_100_000)


def test_only_content_counts_as_progress_and_pings_while_it_thinks() -> None:
    reader = StreamReader(ORIGIN, lambda _: None)
    steps: list[tuple[dict[str, Any], Progress]] = [
        (START, Progress.NOTHING),
        (PING, Progress.NOTHING),
        (begun(0, "thinking", thinking="", signature=""), Progress.CONTENT),
        (PING, Progress.CONTENT),
        (grown(0, "signature_delta", signature="c2ln"), Progress.CONTENT),
        (stopped(0), Progress.NOTHING),
        (PING, Progress.NOTHING),
        (begun(1, "text", text=""), Progress.CONTENT),
        (PING, Progress.NOTHING),
        (grown(1, "text_delta", text=""), Progress.NOTHING),
        (grown(1, "text_delta", text="x"), Progress.CONTENT),
        (grown(1, "input_json_delta", partial_json="x"), Progress.NOTHING),
        ({"type": "some_new_event"}, Progress.NOTHING),
        (ended(), Progress.NOTHING),
        (STOP, Progress.OVER),
    ]
    assert [(step, reader.feed(events(step))) for step, _ in steps] == steps
