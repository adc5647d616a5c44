"""Servers that speak chat completions on 127.0.0.1: a fast one in its own process, and one that misbehaves on purpose.

Nothing here is a model. `mock_server` is for measuring and for trying a workflow without a key; `FaultServer` plays a
script on raw sockets, for tests of what a network can do to a call.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import struct
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

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


def completion(text: str, *, finish_reason: str = "stop", model: str = "mock-model") -> dict[str, Any]:
    """A whole chat completion with that text; its usage counts words."""
    words = max(1, len(text.split()))
    return {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words},
    }


def sse(tokens: Sequence[str], *, finish_reason: str | None = "stop", usage: bool = True, done: bool = True) -> bytes:
    """A streamed chat completion, one event per token.

    Args:
        finish_reason: None leaves the finishing chunk out.
        usage: Whether a chunk with the usage follows.
        done: Whether `[DONE]` ends it.
    """
    head = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": "mock-model"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": token} for token in tokens)]
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    if finish_reason is not None:
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]})
    if usage:
        counts = {"prompt_tokens": 10, "completion_tokens": len(tokens), "total_tokens": 10 + len(tokens)}
        chunks.append({**head, "choices": [], "usage": counts})
    events = [f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n" for chunk in chunks]
    return ("".join(events) + ("data: [DONE]\n\n" if done else "")).encode()


@dataclass(frozen=True, slots=True)
class _Plan:
    whole: bytes
    streamed: tuple[bytes, ...]
    models: bytes
    latency_s: float
    token_interval_s: float


def _with_head(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _plan(text: str, tokens: int, latency_s: float, token_interval_s: float) -> _Plan:
    words = text.split(" ")
    pieces = [words[index % len(words)] + " " for index in range(tokens)]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = [event + b"\n\n" for event in sse(pieces).split(b"\n\n")[:-1]]
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    chunks[0] = head + chunks[0]
    listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in _MODELS]}
    return _Plan(
        whole=_with_head(json.dumps(completion(text)).encode()),
        streamed=(*chunks, b"0\r\n\r\n"),
        models=_with_head(json.dumps(listed).encode()),
        latency_s=latency_s,
        token_interval_s=token_interval_s,
    )


class _Answering(asyncio.Protocol):
    """One connection: HTTP/1.1 with keep-alive, requests with a content-length."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
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
        head = self._buffer[:end].lower()
        _, _, after = head.partition(b"content-length:")
        total = end + 4 + int(after.split(b"\r\n", 1)[0] or 0)
        if len(self._buffer) < total:
            return None
        body, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
        return head, body

    def _reply(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get "):
            self._write(self._plan.models)
        elif b'"stream":true' not in body and b'"stream": true' not in body:
            self._write(self._plan.whole)
        elif self._plan.token_interval_s > 0:
            self._write_slowly(0)
        else:
            for chunk in self._plan.streamed:
                self._write(chunk)

    def _write_slowly(self, index: int) -> None:
        self._write(self._plan.streamed[index])
        if self._transport is not None and index + 1 < len(self._plan.streamed):
            self._loop.call_later(self._plan.token_interval_s, self._write_slowly, index + 1)

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
) -> Generator[str]:
    """A server in a process of its own that gives every request the same answer.

    Args:
        text: The answer.
        latency_s: Seconds between a request and its answer.
        tokens: How many pieces a streamed answer has; the words of `text`, over and over.
        token_interval_s: Seconds between them; 0 sends them as fast as they go.

    Yields:
        The base URL, such as `http://127.0.0.1:40123/v1`.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads and loops of the caller
    here, there = context.Pipe()
    plan = _plan(text, tokens, latency_s, token_interval_s)
    process = context.Process(target=_child, args=(plan, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(_START_TIMEOUT_S):
            raise TimeoutError(f"the mock server did not start within {_START_TIMEOUT_S} s")
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        here.close()
        process.join(2)
        if process.is_alive():
            process.kill()
            process.join()


RESET: Literal["reset"] = "reset"
"""A step that resets the connection."""
HANG: Literal["hang"] = "hang"
"""A step that sends nothing more and keeps the connection open."""
KEEP: Literal["keep"] = "keep"
"""A last step: read the next request on the same connection instead of closing it."""


@dataclass(frozen=True, slots=True)
class Drip:
    """A step that sends the same bytes again and again, until the client goes away."""

    piece: bytes
    every_s: float = 0.02


Step = bytes | float | Drip | Literal["reset", "hang", "keep"]
"""What a script is made of: bytes to send, seconds to wait, or one of the words."""


def answer(
    status: int,
    body: bytes | Mapping[str, Any] = b"",
    *,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> tuple[Step, ...]:
    """A well-formed answer that keeps the connection; a mapping is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": kind, "content-length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return (f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + content, KEEP)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # Any: whatever JSON the client sent
        """The body as data."""
        return json.loads(self.body)


@dataclass(slots=True)
class _Log:
    requests: list[Request] = field(default_factory=list[Request])
    connections: int = 0


class FaultServer:
    """Plays scripts on raw sockets, one per request in order; the last one is played again and again.

    Args:
        scripts: For each request the steps of its answer. After the last step the connection is closed, unless that
            step is `KEEP`.

    Example:
        >>> with FaultServer(answer(200, completion("hi"))) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = scripts
        self._log = _Log()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order."""
        return list(self._log.requests)

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._log.connections

    def __enter__(self) -> FaultServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        for thread in list(self._threads):
            thread.join(2)

    def _start(self, function: Any, *args: object) -> None:  # Any: a bound method of this class
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(0.05)
            self._log.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            buffer = b""
            while True:
                request, buffer = self._read(connection, buffer)
                if request is None or not self._play(connection, self._next_script(request)):
                    return

    def _next_script(self, request: Request) -> Sequence[Step]:
        with self._lock:
            self._log.requests.append(request)
            return self._scripts[min(len(self._log.requests), len(self._scripts)) - 1]

    def _read(self, connection: socket.socket, buffer: bytes) -> tuple[Request | None, bytes]:
        while not self._stopping.is_set():
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if found:
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
                length = int(headers.get("content-length", 0))
                if len(rest) >= length:
                    method, path, _ = first.split(" ")
                    return Request(method, path, headers, rest[:length]), rest[length:]
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue
            if not received:
                break
            buffer += received
        return None, buffer

    def _play(self, connection: socket.socket, script: Sequence[Step]) -> bool:
        """Play the steps; true when the connection stays open for the next request."""
        for step in script:
            match step:
                case bytes():
                    self._send(connection, step)
                case "keep":
                    return True
                case "reset":
                    # Closing with a linger time of 0 sends RST instead of FIN.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return False
                case "hang":
                    self._wait_for_end(connection)
                    return False
                case Drip():
                    while not self._stopping.wait(step.every_s):
                        self._send(connection, step.piece)
                case float() | int():
                    self._stopping.wait(step)
        return False

    def _send(self, connection: socket.socket, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._stopping.is_set():
            with suppress(TimeoutError):
                view = view[connection.send(view) :]

    def _wait_for_end(self, connection: socket.socket) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                if not connection.recv(65536):
                    return
