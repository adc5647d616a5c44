"""What a server does in each kind of fault, as the steps of a script in any dialect, whole or streamed."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from llmorch.models.message import ToolCall
from llmorch.testing.dialects import Dialect, Said
from llmorch.testing.mock_server import HANG, KEEP, Drip, Step, answer

Steps = Sequence[Step]
Script = Callable[[Dialect, bool], Steps]

FINE = Said("fine")
PIECES = ["fi", "ne"]
_COUNT = 424242  # stands for what a test puts in the place of a token count
_CLOSED = b"connection: close\r\n\r\n"
_BOMB_BYTES = 200 << 20


def head(dialect: Dialect, stream: bool, *, length: int | None = None, chunked: bool = False) -> bytes:
    """The head of an answer with status 200; without a length or chunks its body ends with the connection."""
    kind = dialect.stream_kind if stream else "application/json"
    lines = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n".encode()
    if length is not None:
        return lines + b"content-length: %d\r\n\r\n" % length
    return lines + (b"transfer-encoding: chunked\r\n\r\n" if chunked else _CLOSED)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def body(dialect: Dialect, stream: bool, said: Said = FINE, pieces: Sequence[str] = PIECES) -> bytes:
    return dialect.stream(said, pieces) if stream else json.dumps(dialect.whole(said)).encode()


def content(dialect: Dialect) -> bytes:
    """The beginning of a stream, with the first piece of text."""
    return dialect.stream(Said("once"), ["once "], end=False, usage=False)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def ok(data: Callable[[Dialect, bool], bytes], **headers: str) -> Script:
    """Status 200 with that body; header names with `_` for `-`."""

    def script(dialect: Dialect, stream: bool) -> Steps:
        kind = dialect.stream_kind if stream else "application/json"
        return answer(200, data(dialect, stream), kind=kind, headers=_named(headers))

    return script


def plain(data: bytes | Mapping[str, Any], kind: str = "application/json", **headers: str) -> Script:
    """Status 200 with that body, in every dialect."""
    return lambda *_: answer(200, data, kind=kind, headers=_named(headers))


def raw(*steps: Step) -> Script:
    return lambda *_: steps


def status(code: int, said: str = "it went wrong", *, empty: bool = False, **headers: str) -> Script:
    """An error with that status, in the vendor's words."""
    return lambda dialect, _: answer(code, b"" if empty else dialect.error_body(code, said), headers=_named(headers))


def error_text(code: int, said: str) -> Script:
    """An error that is nothing but text, as proxies have it."""
    return lambda *_: answer(code, {"error": said})


def by_dialect(**scripts: tuple[int, Any]) -> Script:
    """A status and a body for each dialect."""
    return lambda dialect, _: answer(*scripts[dialect.name])


def in_seconds(seconds: float) -> Script:
    """A 429 whose `Retry-After` is an HTTP date, counted from now."""

    def script(dialect: Dialect, _: bool) -> Steps:
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        return answer(429, dialect.error_body(429, "slow down"), headers={"retry-after": at})

    return script


def inside_200(code: int) -> Script:
    """The body of an error under status 200; in a stream as its first event."""

    def script(dialect: Dialect, stream: bool) -> Steps:
        if stream:
            return head(dialect, stream), dialect.error_event(code, "it went wrong"), HANG
        return answer(200, dialect.error_body(code, "it went wrong"))

    return script


def numbered(code: int) -> Script:
    """An error under status 200 that says its status as a number."""
    data = {"error": {"message": "it went wrong", "code": code}}

    def script(dialect: Dialect, stream: bool) -> Steps:
        if stream:
            return head(dialect, stream), f"data: {json.dumps(data)}\n\n".encode(), HANG
        return answer(200, data)

    return script


def broken_body(*after: Step) -> Script:
    """Half of an answer that promised its length."""

    def script(dialect: Dialect, stream: bool) -> Steps:
        data = body(dialect, stream)
        return head(dialect, stream, length=len(data)), data[:20], *after

    return script


def shifted_length(dialect: Dialect, stream: bool) -> Steps:
    """A content-length that is too small, on a connection that stays open."""
    data = body(dialect, stream)
    # The half of a stream, because its end may stand before the end of the body.
    # In one piece with the head: what aiohttp makes of the rest depends on whether the head was read before it.
    return head(dialect, stream, length=len(data) // 2 if stream else len(data) - 10) + data, KEEP


def surplus(dialect: Dialect, stream: bool) -> Steps:
    """A good answer with bytes behind it that belong to none, on a connection that stays open."""
    data = body(dialect, stream)
    return head(dialect, stream, length=len(data)) + data + b"surplus\r\n", KEEP


def no_length(dialect: Dialect, stream: bool) -> Steps:
    return head(dialect, stream), body(dialect, stream)


def nothing(dialect: Dialect, stream: bool) -> Steps:
    return (head(dialect, stream),)


@functools.cache
def bomb() -> bytes:
    """200 MiB of blanks in 200 KB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * (1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(_BOMB_BYTES >> 20)), packer.flush()])


def bombed(dialect: Dialect, stream: bool) -> Steps:
    return ok(lambda *_: bomb(), content_encoding="gzip")(dialect, stream)


def packed(dialect: Dialect, stream: bool) -> bytes:
    return gzip.compress(body(dialect, stream))


def flood(piece: bytes, length: int) -> Script:
    """A body of that many bytes, sent for as long as anybody reads."""
    return lambda dialect, stream: (head(dialect, stream, length=length), Drip(piece, 0))


def flood_of_comments(dialect: Dialect, stream: bool) -> Steps:
    """Lines without content, each well under the limit of a line."""
    line = b": " + b"x" * 8000 if dialect.stream_kind == "text/event-stream" else b" " * 8000
    return head(dialect, stream, length=100 << 20), Drip((line + b"\n\n") * 8, 0)


def long_line(dialect: Dialect, stream: bool) -> Steps:
    start = b"data: " if dialect.stream_kind == "text/event-stream" else b'{"x": "'
    return head(dialect, stream), start, Drip(b"x" * 65536, 0)


def cut(*after: Step) -> Script:
    """A stream that begins well, and what comes then."""
    return lambda dialect, stream: (head(dialect, stream), content(dialect), *after)


def cut_event(dialect: Dialect, stream: bool) -> Steps:
    return head(dialect, stream), content(dialect), content(dialect)[:20]


def no_terminal(dialect: Dialect, stream: bool) -> bytes:
    """All of the text and the usage, but not the event that ends an answer."""
    return dialect.stream(FINE, PIECES, end=False)


def cut_chunk(*after: Step) -> Script:
    """A chunk that promised more."""
    return lambda dialect, stream: (
        head(dialect, stream, chunked=True) + b"ffff\r\n",
        content(dialect),
        *after,
    )


def bad_chunks(dialect: Dialect, stream: bool) -> Steps:
    return (head(dialect, stream, chunked=True) + b"many\r\n{}\r\n0\r\n\r\n",)


def no_json(dialect: Dialect, stream: bool) -> Steps:
    line = b"data: {'a'}\n\n" if dialect.stream_kind == "text/event-stream" else b"{'a'}\n"
    return head(dialect, stream), content(dialect), line, HANG


def error_event(code: int) -> Script:
    return lambda dialect, stream: (
        head(dialect, stream),
        content(dialect),
        dialect.error_event(code, "it went wrong"),
        HANG,
    )


def comments(dialect: Dialect, stream: bool) -> Steps:
    drop = b": still here\n\n" if dialect.stream_kind == "text/event-stream" else b"\n"
    return head(dialect, stream), content(dialect), Drip(drop)


PINGS = {
    "openai": b'data: {"choices":[{"index":0,"delta":{}}]}\n\n',
    "anthropic": b'event: ping\ndata: {"type":"ping"}\n\n',
    "gemini": b'data: {"candidates":[{"index":0}]}\n\n',
    "ollama": b'{"model":"m","message":{"role":"assistant","content":""},"done":false}\n',
}


def pings(dialect: Dialect, stream: bool) -> Steps:
    return head(dialect, stream), content(dialect), Drip(PINGS[dialect.name])


def after_the_end(*after: Step) -> Script:
    """A stream that is complete, and what comes then."""

    def script(dialect: Dialect, stream: bool) -> Steps:
        return head(dialect, stream), dialect.stream(FINE, PIECES), 0.05, *after

    return script


def more_after_the_end(dialect: Dialect, stream: bool) -> Steps:
    return head(dialect, stream), dialect.stream(FINE, PIECES), 0.05, content(dialect), HANG


@ok
def doubled(dialect: Dialect, stream: bool) -> bytes:
    """Each piece of text twice."""
    return body(dialect, stream, FINE, ["fi", "fi", "ne", "ne"])


def bytewise(dialect: Dialect, stream: bool) -> Steps:
    """Every byte in a chunk of its own, so that characters and events fall apart."""
    data = body(dialect, stream, Said("f\u00efn\u00e9 \U0001f600"), ["f\u00ef", "n\u00e9 \U0001f600"])
    pieces = [chunk(data[at : at + 1]) for at in range(len(data))]
    return head(dialect, stream, chunked=True), *pieces, b"0\r\n\r\n", KEEP


def replaced(old: str, new: bytes, said: Said = FINE) -> Script:
    """An answer with some of its bytes replaced."""

    def made(dialect: Dialect, stream: bool) -> bytes:
        data = body(dialect, stream, said, [said.text])
        assert old.encode() in data
        return data.replace(old.encode(), new)

    return ok(made)


def halves(dialect: Dialect, stream: bool) -> Steps:
    """The halves of a surrogate pair in two pieces."""
    data = body(dialect, stream, FINE, ["fi<", ">ne"])
    return ok(lambda *_: data.replace(b"<", b"\\ud83d").replace(b">", b"\\ude00"))(dialect, stream)


def usage(value: bytes) -> Script:
    """An answer whose count of input tokens is what it should not be."""
    return replaced(str(_COUNT), value, Said("fine", input_tokens=_COUNT))


def no_usage(dialect: Dialect, stream: bool) -> Steps:
    if stream:
        data = dialect.stream(FINE, PIECES, usage=False)
    else:
        made = dialect.whole(FINE)
        for name in ("usage", "usageMetadata", "prompt_eval_count", "eval_count"):
            made.pop(name, None)
        data = json.dumps(made).encode()
    return ok(lambda *_: data)(dialect, stream)


def tool_call(arguments: str) -> Script:
    """A call of a tool; where the vendor sends arguments as text, that text."""
    return ok(lambda dialect, stream: body(dialect, stream, Said(calls=(ToolCall("call_1", "add", arguments),)), []))


@ok
def carriage_returns(dialect: Dialect, stream: bool) -> bytes:
    return body(dialect, stream).replace(b"\n", b"\r\n")


@ok
def unknown_events(dialect: Dialect, stream: bool) -> bytes:
    """Events nobody knows, events without data, fields nobody knows, a byte order mark."""
    if dialect.stream_kind != "text/event-stream":
        return b'\n{"model":"m","news":1}\n' + body(dialect, stream)
    strange = b'\xef\xbb\xbfid: 7\nretry: 10\n\nevent: news\n\nevent: news\ndata: {"type":"news","x":1}\n\n: hm\n\n'
    return strange + body(dialect, stream)


ODD_TYPES: dict[str, dict[str, Any]] = {
    "openai": {"choices": [{"message": "text"}]},
    "anthropic": {"type": "message", "role": "assistant", "content": 7, "stop_reason": {}},
    "gemini": {"candidates": "text"},
    "ollama": {"message": [], "done": "yes"},
}
NO_ANSWER: dict[str, dict[str, Any]] = {
    "openai": {"id": "x", "choices": []},
    "anthropic": {"type": "message", "role": "assistant", "stop_reason": "end_turn"},
    "gemini": {"candidates": [], "usageMetadata": {"promptTokenCount": 1}},
    "ollama": {"model": "m", "message": None, "done": True},
}
REFUSALS: dict[str, dict[str, Any]] = {
    "openai": {"choices": [{"index": 0, "message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]},
    "anthropic": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "No."}]}
    | {"stop_reason": "refusal", "usage": {"input_tokens": 1, "output_tokens": 1}},
    "gemini": {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 1}},
}


def odd_types(dialect: Dialect, _: bool) -> Steps:
    return answer(200, ODD_TYPES[dialect.name])


def no_answer(dialect: Dialect, _: bool) -> Steps:
    return answer(200, NO_ANSWER[dialect.name])


@ok
def filtered(dialect: Dialect, stream: bool) -> bytes:
    return body(dialect, stream, Said("par", finish="content_filter"), ["par"])


def refusal(dialect: Dialect, stream: bool) -> Steps:
    if stream and dialect.name == "openai":
        data = b'data: {"choices":[{"delta":{"refusal":"No."},"finish_reason":"stop"}]}\n\n'
    elif stream and dialect.name == "anthropic":
        data = dialect.stream(Said("No.", finish="content_filter"))
    else:
        data = json.dumps(REFUSALS[dialect.name]).encode()
        data = b"data: " + data + b"\n\n" if stream else data
    return ok(lambda *_: data)(dialect, stream)
