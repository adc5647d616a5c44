"""One pool of connections per provider and loop, and the transport each backend gets.

On asyncio connections are aiohttp's, because httpcore's pool costs milliseconds a call when many are open and loses
connections to cancelled requests. On trio, and for a transport the caller passes in, a limiter no larger than the
pool stands before it, which keeps the second from happening.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from .. import _wake
from ._http_body import MAX_HEADER_BYTES

if TYPE_CHECKING:
    from ._http_direct import Direct

__all__ = ["Pool", "Pools"]

_MAX_CONNECTIONS = 1000
_HTTPX_CONNECTIONS = 100
_SLICE = 5  # httpcore walks all connections of a pool several times per request: many small pools are ten times quicker

_tls: ssl.SSLContext | None = None


def _tls_context(base_url: httpx.URL) -> ssl.SSLContext:
    """One context per process, because reading the CA file takes 18 ms."""
    global _tls
    if base_url.scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; a plain address never uses it
    if _tls is None:
        _tls = httpx.create_ssl_context(trust_env=False)
    return _tls


def _connection_limit() -> int:
    """At most 1 000, and no more than three quarters of the file descriptors the process may open."""
    try:
        import resource
    except ImportError:  # Windows
        return 500
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if allowed < 0 else max(16, min(_MAX_CONNECTIONS, allowed * 3 // 4))


class Pool:
    """The connections to one address on one loop.

    A transport that bounds its connections safely is used as it is: `limiter` is None. Of others there is a slot per
    connection in `free`, so that no call ever waits inside a transport. `direct` is the shorter way to whole answers
    over the same connections, where there is one.
    """

    __slots__ = ("__weakref__", "_all", "_call_off", "direct", "free", "limiter", "transport")

    def __init__(
        self, *transports: httpx.AsyncBaseTransport, slots_each: int | None = None, direct: Direct | None = None
    ) -> None:
        self.transport = transports[0]
        self.direct = direct
        self.free = [transport for transport in transports for _ in range(slots_each or 0)]
        self.limiter = anyio.CapacityLimiter(len(self.free)) if self.free else None
        self._all = transports
        self._call_off = _wake.at_loop_end(functools.partial(_close_all, transports))

    async def aclose(self) -> None:
        """Close every connection."""
        self.forget()
        await _close_all(self._all)

    def forget(self) -> None:
        """Leave the connections to their loop, which has ended."""
        self._call_off()


async def _close_all(transports: tuple[httpx.AsyncBaseTransport, ...]) -> None:
    for transport in transports:
        await transport.aclose()


class Pools:
    """The pools of one provider, by loop.

    Args:
        connect_s: Seconds until a connection stands.
        close_s: Seconds to let go of a broken one.
    """

    def __init__(
        self, base_url: httpx.URL, transport: httpx.AsyncBaseTransport | None, *, connect_s: float, close_s: float
    ) -> None:
        self._base_url = base_url
        self._given = transport
        self._connect_s = connect_s
        self._close_s = close_s
        self._by_loop: dict[Hashable, Pool] = {}

    def current(self) -> Pool:
        """The pool of the running loop, opened when it is first asked for."""
        loop = _wake.token()
        pool = self._by_loop.get(loop)
        if pool is None:
            self._forget_closed_loops()
            pool = self._by_loop[loop] = self._open()
        return pool

    def _forget_closed_loops(self) -> None:
        for loop in list(self._by_loop):
            if getattr(loop, "is_closed", bool)():  # trio's token has no such method and closes its pool itself
                self._by_loop.pop(loop).forget()

    def _open(self) -> Pool:
        if self._given is not None:
            return Pool(_NotOurs(self._given), slots_each=_size_of(self._given))
        if _wake.backend() == "asyncio":
            return _open_aiohttp(self._base_url, connect_s=self._connect_s, close_s=self._close_s)
        limits = httpx.Limits(max_connections=_SLICE, max_keepalive_connections=_SLICE, keepalive_expiry=15)
        tls = _tls_context(self._base_url)
        slices = [
            httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)
            for _ in range(_HTTPX_CONNECTIONS // _SLICE)
        ]
        return Pool(*slices, slots_each=_SLICE)

    async def aclose(self) -> None:
        """Close the pool of the running loop, and the transport that was passed in."""
        pool = self._by_loop.pop(_wake.token(), None)
        self._forget_closed_loops()
        if pool is not None:
            await pool.aclose()
        if self._given is not None:
            await self._given.aclose()


class _NotOurs(httpx.AsyncBaseTransport):
    """A transport passed in: used by every loop, so the end of one does not close it."""

    def __init__(self, given: httpx.AsyncBaseTransport) -> None:
        self.handle_async_request = given.handle_async_request  # type: ignore[method-assign]  # spares a frame per call


def _size_of(transport: httpx.AsyncBaseTransport) -> int:
    """How many connections a transport has; httpx does not tell, and its default is 100."""
    size = getattr(getattr(transport, "_pool", None), "_max_connections", None)
    return size if isinstance(size, int) and 0 < size < _HTTPX_CONNECTIONS else _HTTPX_CONNECTIONS


def _open_aiohttp(base_url: httpx.URL, *, connect_s: float, close_s: float) -> Pool:
    import aiohttp
    import httpx_aiohttp

    from ._http_direct import Direct, make_connections_honest

    tls = _tls_context(base_url)
    connector = aiohttp.TCPConnector(limit=_connection_limit(), ssl=tls)
    make_connections_honest(connector)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        trust_env=False,
    )
    transport = httpx_aiohttp.AiohttpTransport(verify=tls, trust_env=False, client=session)
    pool = Pool(transport, direct=Direct(session, connect_s=connect_s, close_s=close_s))
    weakref.finalize(pool, _abandon, session)
    return pool


def _abandon(session: Any) -> None:  # Any: an aiohttp.ClientSession, whose module this file imports late
    """Close a session nobody closed, on a loop that may be gone: aiohttp would complain on stderr."""
    connector = session.connector
    if connector is None or session.closed:
        return
    session.detach()
    with contextlib.suppress(StopIteration, RuntimeError):
        closing = connector.close()
        closing.send(None)
        closing.close()
