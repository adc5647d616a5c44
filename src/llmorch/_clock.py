"""The only place that reads the wall clock or sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["from_us", "monotonic", "now_us", "read", "seconds", "sleep"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_wall_ns: Callable[[], int] = time.time_ns


def now_us() -> int:
    """Microseconds of UTC since 1970."""
    return _wall_ns() // 1000


def read(wall_ns: Callable[[], int]) -> Callable[[], int]:
    """Have `now_us` read another wall clock, such as a virtual one.

    Args:
        wall_ns: Nanoseconds of UTC since 1970.

    Returns:
        The one read before, to be read again when the other is over.
    """
    global _wall_ns
    former, _wall_ns = _wall_ns, wall_ns
    return former


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
