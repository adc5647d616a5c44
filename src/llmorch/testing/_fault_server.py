"""A server that misbehaves on purpose: it plays scripts on raw sockets, to show what a network can do to a call."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

__all__ = ["HANG", "KEEP", "RESET", "Drip", "FaultServer", "Request", "Step", "answer"]

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
        >>> with FaultServer(answer(200, {"id": 1})) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = scripts
        self._log = _Log()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listeners = [socket.create_server(("127.0.0.1", 0), backlog=256)]
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listeners[0].getsockname()[1]}/v1"

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order."""
        return list(self._log.requests)

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._log.connections

    def __enter__(self) -> Self:
        self._start(self._accept, self._listeners[0])
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listener.close()
        for thread in list(self._threads):
            thread.join(2)

    def _start(self, function: Any, *args: object) -> None:  # Any: a bound method of this class
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, bound: socket.socket) -> None:
        """Serve on another address, too."""
        bound.listen(256)
        self._listeners.append(bound)
        self._start(self._accept, bound)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = listener.accept()
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
