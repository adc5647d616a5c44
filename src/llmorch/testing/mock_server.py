"""Servers that speak like a model's on 127.0.0.1: a fast one in its own process, and one that misbehaves on purpose.

Nothing here is a model. `mock_server` is for measuring and for trying a workflow without a key; `FaultServer` plays a
script on raw sockets, for tests of what a network can do to a call.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from ..models.message import ToolCall
from ._dialect_openai import chunks
from ._dialect_openai import whole as openai_whole
from ._dialect_values import plain_value
from ._fault_server import HANG, KEEP, RESET, Drip, FaultServer, Request, Step, answer
from .dialects import DIALECTS, Asked, Dialect, Said

__all__ = [
    "HANG",
    "KEEP",
    "RESET",
    "Drip",
    "FaultServer",
    "Request",
    "Step",
    "answer",
    "completion",
    "mock_server",
    "sse",
]

_START_TIMEOUT_S = 20
_MODELS = ("mock-model", "mock-model-large")
# What must stand in a body before it is worth parsing: a tool is offered, or a form is asked for.
_MARKS = {
    "openai": (b'"tools"', b'"response_format"'),
    "anthropic": (b'"tools"', b'"output_config"', b'"output_format"'),
    "gemini": (b'"tools"', b'"responseSchema"', b'"responseJsonSchema"', b'"responseMimeType"'),
    "ollama": (b'"tools"', b'"format"'),
}


def completion(text: str, *, finish_reason: str = "stop", model: str = "mock-model") -> dict[str, Any]:
    """A whole chat completion with that text; its usage counts words."""
    return openai_whole(Said(text, finish=finish_reason, model=model))


def sse(tokens: Sequence[str], *, finish_reason: str | None = "stop", usage: bool = True, done: bool = True) -> bytes:
    """A streamed chat completion, one event per token.

    Args:
        finish_reason: None leaves the finishing chunk out.
        usage: Whether a chunk with the usage follows.
        done: Whether `[DONE]` ends it.
    """
    said = Said(output_tokens=len(tokens))
    return b"".join(chunks(said, tokens, reason=finish_reason, usage=usage, done=done))


@dataclass(frozen=True, slots=True)
class _Plan:
    dialect: str
    text: str
    whole: bytes
    streamed: tuple[bytes, ...]
    models: bytes
    latency_s: float
    token_interval_s: float


def _with_head(body: object) -> bytes:
    content = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


def _chunked(events: Sequence[bytes], kind: str) -> tuple[bytes, ...]:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    framed = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return (head + framed[0], *framed[1:], b"0\r\n\r\n")


def _plan(dialect: Dialect, text: str, tokens: int, latency_s: float, token_interval_s: float) -> _Plan:
    words = text.split(" ")
    pieces = [words[index % len(words)] + " " for index in range(tokens)]
    said = Said("".join(pieces), output_tokens=tokens)
    return _Plan(
        dialect=dialect.name,
        text=text,
        whole=_with_head(dialect.whole(Said(text))),
        streamed=_chunked(dialect.events(said, pieces), dialect.stream_kind),
        models=_with_head(dialect.model_list(_MODELS)),
        latency_s=latency_s,
        token_interval_s=token_interval_s,
    )


class _Answering(asyncio.Protocol):
    """One connection: HTTP/1.1 with keep-alive, requests with a content-length."""

    _numbers = itertools.count(1)

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._name = plan.dialect
        self._dialect = DIALECTS[plan.dialect]
        self._marks = _MARKS[plan.dialect]
        self._buffer = b""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next_request()) is not None:
            head, body = request
            if self._plan.latency_s > 0:
                self._loop.call_later(self._plan.latency_s, self._reply, head, body)
            else:
                self._reply(head, body)

    def _next_request(self) -> tuple[bytes, bytes] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end]
        _, _, after = head.lower().partition(b"content-length:")
        total = end + 4 + int(after.split(b"\r\n", 1)[0] or 0)
        if len(self._buffer) < total:
            return None
        body, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
        return head, body

    def _reply(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):
            self._write(self._plan.models)
            return
        for mark in self._marks:
            if mark in body:
                self._reply_made(head, body)
                return
        if self._is_streamed(head, body):
            self._write_all(self._plan.streamed)
        else:
            self._write(self._plan.whole)

    def _is_streamed(self, head: bytes, body: bytes) -> bool:
        """What `Dialect.asked` says too, without parsing the body."""
        if self._name == "gemini":
            return b":streamGenerateContent" in head
        if self._name == "ollama":
            return b'"stream":false' not in body and b'"stream": false' not in body
        return b'"stream":true' in body or b'"stream": true' in body

    def _reply_made(self, head: bytes, body: bytes) -> None:
        """Answer what asks for more than text."""
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        asked = self._dialect.asked(method, path, body)
        said = self._said(asked)
        if asked.is_streamed:
            self._write_all(_chunked(self._dialect.events(said), self._dialect.stream_kind))
        else:
            self._write(_with_head(self._dialect.whole(said)))

    def _said(self, asked: Asked) -> Said:
        if asked.tools and not asked.has_results:
            calls = (
                ToolCall(f"call_{next(self._numbers)}", name, json.dumps(plain_value(schema or {"type": "object"})))
                for name, schema in asked.tools.items()
            )
            return Said(calls=tuple(calls))
        return Said(self._plan.text if asked.schema is None else json.dumps(plain_value(asked.schema)))

    def _write_all(self, chunks: Sequence[bytes]) -> None:
        if self._plan.token_interval_s > 0:
            self._write_slowly(chunks, 0)
        else:
            for chunk in chunks:
                self._write(chunk)

    def _write_slowly(self, chunks: Sequence[bytes], index: int) -> None:
        self._write(chunks[index])
        if self._transport is not None and index + 1 < len(chunks):
            self._loop.call_later(self._plan.token_interval_s, self._write_slowly, chunks, index + 1)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def _serve(plan: _Plan, parent: Connection) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(plan), "127.0.0.1", 0, backlog=4096)
    parent.send(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, _until_closed, parent)
    server.close()


def _until_closed(parent: Connection) -> None:
    """Return when the parent closes its end or dies, however it dies."""
    with suppress(EOFError, OSError):
        parent.recv()


def _child(plan: _Plan, parent: Connection) -> None:
    asyncio.run(_serve(plan, parent))


@contextmanager
def mock_server(
    *,
    text: str = "Hello from the mock server.",
    latency_s: float = 0.0,
    tokens: int = 100,
    token_interval_s: float = 0.0,
    dialect: Literal["openai", "anthropic", "gemini", "ollama"] = "openai",
) -> Generator[str]:
    """A server in a process of its own that gives every request the same answer.

    Two kinds of request get another one. Where tools are offered and no message holds results yet, each tool is called
    once, with the plainest arguments its schema takes. Where a form is asked for, the text is the plainest JSON that
    satisfies the schema, in simple cases.

    Args:
        text: The answer.
        latency_s: Seconds between a request and its answer.
        tokens: How many pieces a streamed answer has; the words of `text`, over and over.
        token_interval_s: Seconds between them; 0 sends them as fast as they go.
        dialect: Whose format it speaks.

    Yields:
        The base URL as the provider of that name takes it: `http://127.0.0.1:40123/v1` for openai, without `/v1` for
        the others.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads and loops of the caller
    here, there = context.Pipe()
    spoken = DIALECTS[dialect]
    plan = _plan(spoken, text, tokens, latency_s, token_interval_s)
    process = context.Process(target=_child, args=(plan, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(_START_TIMEOUT_S):
            raise TimeoutError(f"the mock server did not start within {_START_TIMEOUT_S} s")
        yield f"http://127.0.0.1:{here.recv()}{spoken.root}"
    finally:
        here.close()
        process.join(2)
        if process.is_alive():
            process.kill()
            process.join()
