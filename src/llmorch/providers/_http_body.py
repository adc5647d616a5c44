"""The bytes of an answer: capped, and unpacked when a server packs them although it was told not to."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import cast

import anyio
import httpx

__all__ = ["MAX_HEADER_BYTES", "Intake", "Unreadable", "each_piece", "encoding_of", "whole"]

MAX_HEADER_BYTES = 64 * 1024
_MAX_BODY_BYTES = 32 * 1024 * 1024
_WIND_UP_S = 1
_MAX_WIND_UP = 100  # what stands in buffers comes first
_INFLATE_STEP = 64 * 1024
_ENCODING_LENGTH = len("content-encoding")
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Unreadable(Exception):
    """An answer over a cap, or in a form nobody asked for."""


async def whole(response: httpx.Response, encoding: bytes) -> bytes:
    """The whole body, unpacked.

    Raises:
        Unreadable: It is over 32 MiB, packed or not, or packed in an unknown way.
    """
    taken: list[bytes] = []
    await each_piece(response, encoding, taken.append)
    return taken[0] if len(taken) == 1 else b"".join(taken)


async def each_piece(response: httpx.Response, encoding: bytes, take: Callable[[bytes], object]) -> None:
    """Give the body to a function as it comes, unpacked; raises what `whole` raises."""
    # httpx types the stream as sync or async; a transport that is async gives an async one.
    stream = cast("AsyncIterable[bytes]", response.stream).__aiter__()
    feed = Intake(encoding, take).feed
    try:
        async for chunk in stream:
            feed(chunk)
    except BaseException:
        await _wind_up(response, stream)
        raise


class Intake:
    """Takes a body as it comes off the wire, and gives its pieces on, unpacked.

    Raises:
        Unreadable: It is packed in an unknown way.
    """

    __slots__ = ("_size", "_take", "_unpack")

    def __init__(self, encoding: bytes, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._unpack = _unpacker(encoding)
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Take bytes as they came.

        Raises:
            Unreadable: With them the body is over 32 MiB, packed or not, or its compression is broken.
        """
        for piece in (chunk,) if self._unpack is None else self._unpack.pieces(chunk):
            self._size += len(piece)
            if self._size > _MAX_BODY_BYTES:
                raise Unreadable(f"a body over {_MAX_BODY_BYTES // 1024 // 1024} MiB")
            self._take(piece)


async def _wind_up(response: httpx.Response, stream: AsyncIterator[bytes]) -> None:
    """Bring the generators inside a body to their end, after the connection.

    httpcore nests generators and closes only the outermost, and trio complains of the others. Asked for more from a
    closed connection, each of them ends by an error.
    """
    with anyio.move_on_after(_WIND_UP_S, shield=True), contextlib.suppress(Exception):
        await response.aclose()
        for _ in range(_MAX_WIND_UP):
            await anext(stream)


def encoding_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The content encoding, read in the one walk over the headers that also sums them up.

    Raises:
        Unreadable: The headers are over 64 KiB.
    """
    size = 0
    encoding = b""
    for name, value in headers:
        size += len(name) + len(value)
        if len(name) == _ENCODING_LENGTH and name.lower() == b"content-encoding":
            encoding = value.strip().lower()
    if size > MAX_HEADER_BYTES:
        raise Unreadable(f"headers over {MAX_HEADER_BYTES // 1024} KiB")
    return encoding


class _Unpacker:
    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Small pieces, so that a small body cannot become a large one in memory at once."""
        try:
            while chunk:
                piece = self._inflate.decompress(chunk, _INFLATE_STEP)
                chunk = self._inflate.unconsumed_tail
                if piece:
                    yield piece
        except zlib.error:
            raise Unreadable("a body whose compression is broken") from None


def _unpacker(encoding: bytes) -> _Unpacker | None:
    if encoding in (b"", b"identity"):
        return None
    if encoding in (b"gzip", b"x-gzip", b"deflate"):
        return _Unpacker()
    raise Unreadable(f"a body in the encoding {encoding[:40]!r}")
