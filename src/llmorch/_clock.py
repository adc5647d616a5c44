"""The only place that reads the wall clock or sleeps."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

__all__ = ["from_us", "jump", "monotonic", "now_us", "seconds", "sleep"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ahead_ns = 0


def now_us() -> int:
    """Microseconds of UTC since 1970."""
    return (time.time_ns() + _ahead_ns) // 1000


def jump(ns: int) -> None:
    """Have `now_us` tell so many nanoseconds more from now on, for a virtual clock; negative to take it back."""
    global _ahead_ns
    _ahead_ns += ns


def from_us(us: int) -> datetime:
    """The moment as an aware datetime, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=us)


monotonic = time.perf_counter
"""Seconds on a clock that never goes back; its zero has no meaning."""


def seconds(span: float | timedelta | None) -> float | None:
    """A span given as seconds or timedelta, as seconds; None stays None."""
    return span.total_seconds() if isinstance(span, timedelta) else span


async def sleep(duration_s: float) -> None:
    """Wait on the running loop's own clock, so that tests may advance it."""
    import anyio

    await anyio.sleep(duration_s)
