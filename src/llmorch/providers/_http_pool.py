"""One pool of connections per provider and loop, and the transport each backend gets.

On asyncio connections are aiohttp's, because httpcore's pool costs milliseconds a call when many are open and loses
connections to cancelled requests. On trio, and for a transport the caller passes in, a limiter no larger than the
pool stands before it, which keeps the second from happening.
"""

from __future__ import annotations

import contextlib
import ssl
import weakref
from collections.abc import Hashable
from typing import Any

import anyio
import httpx

from .. import _wake
from ._http_body import MAX_HEADER_BYTES

__all__ = ["Pool", "Pools"]

_MAX_CONNECTIONS = 1000
_HTTPX_CONNECTIONS = 100  # httpcore walks all connections on every request: more of them make each call slower

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
    """The connections to one address on one loop. `limiter` is None where the transport itself bounds them safely."""

    __slots__ = ("__weakref__", "_call_off", "limiter", "transport")

    def __init__(self, transport: httpx.AsyncBaseTransport, *, limit: int | None = None) -> None:
        self.transport = transport
        self.limiter = None if limit is None else anyio.CapacityLimiter(limit)
        self._call_off = _wake.at_loop_end(transport.aclose)

    async def aclose(self) -> None:
        """Close every connection."""
        self.forget()
        await self.transport.aclose()

    def forget(self) -> None:
        """Leave the connections to their loop, which has ended."""
        self._call_off()


class Pools:
    """The pools of one provider, by loop."""

    def __init__(self, base_url: httpx.URL, transport: httpx.AsyncBaseTransport | None) -> None:
        self._base_url = base_url
        self._given = transport
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
            return Pool(_NotOurs(self._given), limit=_size_of(self._given))
        if _wake.backend() == "asyncio":
            return _open_aiohttp(self._base_url)
        limits = httpx.Limits(
            max_connections=_HTTPX_CONNECTIONS, max_keepalive_connections=_HTTPX_CONNECTIONS, keepalive_expiry=15
        )
        transport = httpx.AsyncHTTPTransport(verify=_tls_context(self._base_url), trust_env=False, limits=limits)
        return Pool(transport, limit=_HTTPX_CONNECTIONS)

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


def _open_aiohttp(base_url: httpx.URL) -> Pool:
    import aiohttp
    import httpx_aiohttp

    tls = _tls_context(base_url)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_connection_limit(), ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        trust_env=False,
    )
    pool = Pool(httpx_aiohttp.AiohttpTransport(verify=tls, trust_env=False, client=session))
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
