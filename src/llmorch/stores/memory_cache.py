"""Answers of models kept in this process, the latest used ones."""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock

from .. import _clock

__all__ = ["MemoryCache"]


class MemoryCache:
    """A ResponseCache that forgets everything when the process ends; what was used least lately goes first.

    Several orchestrators may share one, also in several threads.

    Args:
        max_entries: How many answers are kept.
        max_bytes: How many bytes keys and entries take together; a larger entry is not kept.

    Example:
        >>> cache = MemoryCache(max_entries=2)
        >>> async def fill() -> bytes | None:
        ...     for key in ("a", "b", "c"):
        ...         await cache.put(key, b"entry of " + key.encode())
        ...     return await cache.get("a")
        >>> import anyio
        >>> anyio.run(fill) is None, len(cache), cache.bytes
        (True, 2, 22)
    """

    def __init__(self, *, max_entries: int = 10_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        if max_entries < 1 or max_bytes < 1:
            raise ValueError(f"MemoryCache({max_entries=}, {max_bytes=}) keeps nothing; give 1 or more")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._lock = Lock()  # never held across an await

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"MemoryCache(max_entries={self.max_entries}, max_bytes={self.max_bytes})"

    async def get(self, key: str) -> bytes | None:
        """The entry of that key, or None when there is none or its time is over."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            entry, until_us = found
            if _clock.now_us() >= until_us:
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return entry

    async def put(self, key: str, entry: bytes, *, ttl_s: float | None = None) -> None:
        """Keep an entry for so many seconds; None is for good. An entry of the same key is replaced."""
        until_us = math.inf if ttl_s is None else _clock.now_us() + ttl_s * 1_000_000
        with self._lock:
            if key in self._entries:
                self._drop(key)
            size = len(key) + len(entry)
            if size > self.max_bytes or not until_us > _clock.now_us():  # NaN is no time either
                return
            self._entries[key] = bytes(entry), until_us
            self.bytes += size
            while len(self._entries) > self.max_entries or self.bytes > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry, _ = self._entries.pop(key)
        self.bytes -= len(key) + len(entry)
