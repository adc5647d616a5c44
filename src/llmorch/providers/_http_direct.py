"""Whole answers from aiohttp itself: httpx's request, response and stream around them cost a quarter of a call.

Only the exchange is shorter. Connections, limits and what an error becomes are those of the transport that stands on
the same session and carries the streams.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import aiohttp
import anyio
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp.transport import map_aiohttp_exceptions
from multidict import CIMultiDict
from yarl import URL

from .. import _wake
from ._http_body import Intake, encoding_of

__all__ = ["Direct", "make_connections_honest"]


class _Connection(ResponseHandler):
    """aiohttp tells of a malformed body whoever waits for the next answer, and not who reads this one."""

    def set_exception(self, exc: Any, exc_cause: Any = None) -> None:  # Any: exceptions, or classes of them
        super().set_exception(exc, *(() if exc_cause is None else (exc_cause,)))
        body = self._payload
        if isinstance(exc, HttpProcessingError) and body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(httpx.RemoteProtocolError(exc.message))


def make_connections_honest(connector: aiohttp.TCPConnector) -> None:
    """Have its connections tell the reader of an answer when the answer is malformed; else a call hangs on it."""
    loop: Any = _wake.token()  # Any: on asyncio it is the loop itself
    factory = functools.partial(_Connection, loop=loop)
    private: Any = connector  # Any: aiohttp has no public way to give one
    private._factory = factory


class Direct:
    """Asks over one session.

    Args:
        connect_s: Seconds until a connection stands.
        close_s: Seconds to let go of a broken one.
    """

    __slots__ = ("_close_s", "_kept", "_session", "_timeout", "_urls")

    def __init__(self, session: aiohttp.ClientSession, *, connect_s: float, close_s: float) -> None:
        self._session = session
        self._close_s = close_s
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_s)
        self._urls: dict[str, URL] = {}
        self._kept: tuple[httpx.Headers, CIMultiDict[str]] | None = None

    async def exchange(
        self, method: str, url: str, *, host: str, headers: httpx.Headers, body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the whole body; raises what the transport raises."""
        try:
            response = await self._session.request(
                method,
                self._urls.get(url) or self._parsed(url),
                headers=self._sent(headers, host),
                data=body or None,
                allow_redirects=False,
                auto_decompress=False,
                timeout=self._timeout,
            )
            try:
                taken = await _whole(response)
            except BaseException:  # cancellation too must give the connection back
                with anyio.move_on_after(self._close_s, shield=True), contextlib.suppress(Exception):
                    await response.__aexit__(None, None, None)
                raise
            with contextlib.suppress(Exception):  # the answer is here; how its connection ends changes nothing
                await response.__aexit__(None, None, None)
        except Exception:
            with map_aiohttp_exceptions():  # entered only now: it is a generator, and most calls need no mapping
                raise
        return response.status, response.headers, taken

    def _parsed(self, url: str) -> URL:
        parsed = self._urls[url] = URL(url)
        return parsed

    def _sent(self, headers: httpx.Headers, host: str) -> CIMultiDict[str]:
        """The headers as aiohttp wants them; a provider gives the same ones until its key changes."""
        kept = self._kept
        if kept is None or kept[0] is not headers:
            made = CIMultiDict(headers)
            made["host"] = host
            kept = self._kept = (headers, made)
        return kept[1]


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    taken: list[bytes] = []
    feed = Intake(encoding_of(response.raw_headers), taken.append).feed
    content = response.content
    while not content.at_eof():
        feed(await content.readany())
    return taken[0] if len(taken) == 1 else b"".join(taken)
