"""The one HTTP layer of all providers: requests over pooled connections, with every limit and timer in one place.

It speaks httpx's `Request`, `Response` and transports, and calls the transport itself: `AsyncClient` would add
redirects, cookies and auth, which providers do not want, and twice the time. No redirect is followed, no proxy or
certificate setting is read from the environment, and no error that leaves this file holds the request or its headers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx

from .. import _wake
from ..errors import TimedOut
from ._http_body import each_piece, encoding_of, whole
from ._http_faults import rebuilt
from ._http_pool import Pools
from ._sink import Progress, Sink

__all__ = ["Http", "Reply", "Timers", "Transport", "json_headers"]

Transport = httpx.AsyncBaseTransport

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Timers:
    """Limits in seconds.

    Attributes:
        connect_s: Until a connection stands.
        total_s: A whole call, where the call says nothing.
        stall_s: A stream without content.
        linger_s: After the answer is complete, for usage and the end mark.
        tail_s: After the end mark, for the end of the body, which lets the connection be used again.
        close_s: To let go of a broken connection.
    """

    connect_s: float = 10
    total_s: float = 600
    stall_s: float = 60
    linger_s: float = 2
    tail_s: float = 0.05
    close_s: float = 1


class Reply(NamedTuple):
    """An answer; its headers are found by name in any case. `body` is empty when a sink took it as a stream."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_streamed: bool = False


def json_headers(*given: Mapping[str, str]) -> httpx.Headers:
    """The headers of a JSON request; later mappings win."""
    made = {"content-type": "application/json", "accept-encoding": "identity", "accept": "*/*", "user-agent": "llmorch"}
    for headers in given:
        made.update((name.lower(), value) for name, value in headers.items())
    return _Quiet(made)


class _Quiet(httpx.Headers):
    """Headers whose repr shows nothing: httpx's masks `authorization` alone, and some keys go by other names."""

    def __repr__(self) -> str:
        return f"Headers({len(self)})"


class Http:
    """Sends requests of one provider to one base address.

    Args:
        base_url: What stands before each path, without a slash at the end.
        provider: The provider's name, for errors.
        transport: Used instead of the pooled ones.
        timers: Limits in seconds.
    """

    def __init__(
        self, base_url: str, provider: str, *, transport: Transport | None = None, timers: Timers | None = None
    ) -> None:
        self.base_url = base_url
        self.host = urlsplit(base_url).netloc
        self._provider = provider
        self._timers = timers or Timers()
        self._pools = Pools(
            httpx.URL(base_url), transport, connect_s=self._timers.connect_s, close_s=self._timers.close_s
        )
        self._urls: dict[str, tuple[httpx.URL, str]] = {}
        self._extensions = {"timeout": {"connect": self._timers.connect_s}}

    def post_json(
        self, path: str, body: bytes, *, headers: httpx.Headers, model: str = "", timeout: float | None = None
    ) -> Coroutine[Any, Any, Reply]:
        """Send a body and give the whole answer, whatever its status.

        Args:
            timeout: Seconds for everything; None is 600.

        Raises:
            ProviderUnavailable: No connection, or it broke.
            TimedOut: It took longer than `timeout`.
            BadAnswer: The answer is over a cap or not HTTP.
        """
        return self._exchange("POST", path, headers, body, model=model, timeout=timeout)

    def get(self, path: str, *, headers: httpx.Headers, timeout: float | None = None) -> Coroutine[Any, Any, Reply]:
        """Ask for a resource; raises what `post_json` raises."""
        return self._exchange("GET", path, headers, b"", model="", timeout=timeout)

    async def stream(
        self,
        path: str,
        body: bytes,
        *,
        headers: httpx.Headers,
        sink: Sink,
        model: str = "",
        timeout: float | None = None,
    ) -> Reply:
        """Send a body and feed the answer to a sink as it comes.

        Args:
            sink: Takes the bytes; untouched when the answer is no stream.
            timeout: Seconds for everything; None is 600.

        Returns:
            The answer: `is_streamed` when the sink took it to its end, whole when it is no stream or its status no 200.

        Raises:
            ProviderUnavailable: No connection, or it was reset.
            StreamTruncated: The connection was closed in the middle of the body.
            TimedOut: It took longer than `timeout`, or brought no content for 60 s.
            BadAnswer: The answer is over a cap or not HTTP.
        """
        request = self._request("POST", path, headers, body)
        span = self._timers.total_s if timeout is None else timeout
        reading = _Reading(self._timers, span)
        failure: BaseException
        try:
            with reading.scope:
                return await self._through(request, lambda response: _stream(response, reading, sink))
            if reading.is_complete:
                return reading.reply()
            failure = self._timed_out(model, span, stalled=reading.is_stalled)
        except Exception as error:  # transports, injected ones too, raise what they like
            if error is reading.sink_error:
                raise
            if reading.is_complete:
                return reading.reply()
            failure = rebuilt(error, provider=self._provider, host=self.host, model=model, streaming=reading.has_begun)
        raise failure  # outside the handler: the transport's error holds the request and must not become the context

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._pools.aclose()

    def _request(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> httpx.Request:
        url, _ = self._url(path)
        # Given a stream, httpx adds no headers of its own and does not walk ours several times.
        request = httpx.Request(method, url, headers=headers, stream=_Body(body), extensions=self._extensions)
        request.headers.encoding = headers.encoding
        request.headers["host"] = self.host
        if body:
            request.headers["content-length"] = str(len(body))
        request.read()
        return request

    def _url(self, path: str) -> tuple[httpx.URL, str]:
        """The address for httpx, and the same as text for aiohttp."""
        known = self._urls.get(path)
        if known is None:
            url = httpx.URL(self.base_url + path)
            known = self._urls[path] = (url, str(url))
        return known

    async def _exchange(
        self, method: str, path: str, headers: httpx.Headers, body: bytes, *, model: str, timeout: float | None
    ) -> Reply:
        span = self._timers.total_s if timeout is None else timeout
        failure: BaseException
        try:
            with _wake.cancel_scope(_wake.clock()() + span):
                direct = self._pools.current().direct
                if direct is None:
                    return await self._through(self._request(method, path, headers, body), _whole)
                answer = direct.exchange(method, self._url(path)[1], host=self.host, headers=headers, body=body)
                return Reply(*await answer)
            failure = self._timed_out(model, span, stalled=False)
        except Exception as error:  # transports, injected ones too, raise what they like
            failure = rebuilt(error, provider=self._provider, host=self.host, model=model)
        raise failure  # outside the handler, as above

    async def _through(self, request: httpx.Request, read: Callable[[httpx.Response], Awaitable[R]]) -> R:
        pool = self._pools.current()
        if pool.limiter is None:
            return await self._send(pool.transport, request, read)
        async with pool.limiter:
            transport = pool.free.pop()  # the last one given back, whose connection is still warm
            try:
                return await self._send(transport, request, read)
            finally:
                pool.free.append(transport)

    async def _send(
        self, transport: Transport, request: httpx.Request, read: Callable[[httpx.Response], Awaitable[R]]
    ) -> R:
        response = await transport.handle_async_request(request)
        try:
            result = await read(response)
        except BaseException:  # cancellation too must give the connection back
            with anyio.move_on_after(self._timers.close_s, shield=True), contextlib.suppress(Exception):
                await response.aclose()
            raise
        _forget_surplus(response)
        with contextlib.suppress(Exception):  # the answer is here; how its connection ends changes nothing
            await response.aclose()
        return result

    def _timed_out(self, model: str, span: float, *, stalled: bool) -> TimedOut:
        what = (
            f"sent nothing of worth for {self._timers.stall_s:g} s in the middle of a stream"
            if stalled
            else f"did not finish its answer within {span:g} s"
        )
        return TimedOut(
            f"{self._provider} at {self.host} {what} (model {model!r}); try again, or give the call a longer timeout"
        )


def _forget_surplus(response: httpx.Response) -> None:
    """Keep a connection from being used again when bytes stand behind the answer.

    httpcore would read them as the beginning of the next answer, which could be somebody else's; it shows them nowhere
    but inside.
    """
    stream = getattr(getattr(response.stream, "_httpcore_stream", None), "_stream", None)
    connection: Any = getattr(stream, "_connection", None)  # Any: httpcore's own, of no public type
    trailing = getattr(getattr(connection, "_h11_state", None), "trailing_data", None)
    if trailing is not None and trailing[0]:
        connection._keepalive_expiry = 0.0  # it then counts as expired the moment it is given back


class _Body(httpx.ByteStream):
    """A request's body in one piece. httpx's own is a generator, which a cancelled call leaves open; trio complains."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._piece = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._piece)


class _Once:
    __slots__ = ("_left",)

    def __init__(self, piece: bytes) -> None:
        self._left: bytes | None = piece

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        piece, self._left = self._left, None
        if piece is None:
            raise StopAsyncIteration
        return piece


class _Reading:
    """How far a stream has come, and the one timer that watches over it."""

    __slots__ = (
        "_ends_at",
        "_moved_at",
        "_now",
        "_timers",
        "has_begun",
        "headers",
        "is_complete",
        "is_stalled",
        "scope",
        "sink_error",
    )

    def __init__(self, timers: Timers, span: float) -> None:
        self._timers = timers
        self._now = _wake.clock()
        self._ends_at = self._now() + span
        self._moved_at = 0.0
        self.scope = anyio.CancelScope(deadline=self._ends_at)
        self.has_begun = False
        self.headers: Mapping[str, str] = {}
        self.is_complete = False
        self.is_stalled = False
        self.sink_error: Exception | None = None

    def note(self, progress: Progress) -> None:
        """Move the timer: a stream lives by its content, and ends soon after it is complete."""
        if not self.has_begun:
            self.has_begun = True
            self._watch(self._timers.stall_s)
        if progress is Progress.CONTENT:
            # Moving the timer costs more than parsing an event; a sixtieth of the limit is exact enough.
            if self._now() - self._moved_at > self._timers.stall_s / 60:
                self._watch(self._timers.stall_s)
        elif progress is Progress.COMPLETE:
            if not self.is_complete:
                self.is_complete = True
                self._watch(self._timers.linger_s)
        elif progress is Progress.OVER:
            self.is_complete = True
            self._watch(self._timers.tail_s)

    def reply(self) -> Reply:
        """What is told of a stream that a sink has taken."""
        return Reply(200, self.headers, b"", is_streamed=True)

    def _watch(self, span: float) -> None:
        self._moved_at = self._now()
        deadline = self._moved_at + span
        self.is_stalled = deadline < self._ends_at
        self.scope.deadline = min(deadline, self._ends_at)


async def _stream(response: httpx.Response, reading: _Reading, sink: Sink) -> Reply:
    if response.status_code != 200 or _is_document(response):
        return await _whole(response)
    reading.headers = response.headers
    feed = sink.feed
    is_over = False

    def take(piece: bytes) -> None:
        nonlocal is_over
        if is_over:
            return  # the rest is read only so that the connection can be used again
        try:
            progress = feed(piece)
        except Exception as error:  # told apart from the transport's errors, which are rebuilt
            reading.sink_error = error
            raise
        reading.note(progress)
        is_over = progress is Progress.OVER

    await each_piece(response, encoding_of(response.headers.raw), take)
    return reading.reply()


def _is_document(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "")
    return ("json" in kind and "ndjson" not in kind) or "html" in kind or "xml" in kind


async def _whole(response: httpx.Response) -> Reply:
    body = await whole(response, encoding_of(response.headers.raw))
    return Reply(response.status_code, response.headers, body)
