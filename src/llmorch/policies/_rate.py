"""An amount per minute: spread evenly, in small bursts, and never above it in any minute.

Two rules stand side by side, because neither does alone. GCRA spreads, but lets a burst and a whole minute's allowance
through within one minute. A look at the last minute is exact, but would let all of it through at once.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["Booking", "Rate"]

_MINUTE_S = 60.0
_WINDOW_S = _MINUTE_S + 0.001  # the millisecond keeps rounding of clocks and sums from letting one call in too early
_SLACK_S = 1e-6  # a wait shorter than this is rounding
_BURSTS_A_MINUTE = 10


class Booking:
    """An amount taken at a moment; `amount` is what is known of it now."""

    __slots__ = ("amount", "at", "is_recent")

    def __init__(self, at: float, amount: int) -> None:
        self.at = at
        self.amount = amount
        self.is_recent = True


class Rate:
    """What may be taken of a thing in a minute. Moments are seconds on a clock that never goes back.

    At most a tenth of a minute's allowance is taken at once, or a single larger amount. An amount above the whole
    allowance is taken when nothing was taken for a minute, and nothing is taken for a minute after it.

    Args:
        per_minute: At least 1.

    Example:
        >>> rate = Rate(60)
        >>> for _ in range(6):
        ...     booking = rate.book(1, now=100.0)
        >>> round(rate.delay(1, now=100.0), 3)
        1.0
    """

    __slots__ = ("_burst_s", "_paid_at", "_recent", "_second_per_one", "_taken", "per_minute")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._second_per_one = _MINUTE_S / per_minute
        self._burst_s = max(1, per_minute // _BURSTS_A_MINUTE) * self._second_per_one
        self._paid_at = -math.inf  # when what was taken would have come in drop by drop
        self._recent: deque[Booking] = deque()
        self._taken = 0  # the sum of the recent ones

    def delay(self, amount: int, *, now: float) -> float:
        """Seconds until the amount may be taken; 0 is now."""
        self._forget(now)
        wanted = min(amount, self.per_minute)
        delay_s = self._paid_at - max(0.0, self._burst_s - self._cost_s(amount)) - now
        excess = self._taken + wanted - self.per_minute
        if excess > 0:
            delay_s = max(delay_s, self._leaves_at(excess) - now)
        return delay_s if delay_s > _SLACK_S else 0.0

    def book(self, amount: int, *, now: float) -> Booking:
        """Take the amount, whether or not it is time."""
        booking = Booking(now, amount)
        self._recent.append(booking)
        self._taken += amount
        self._paid_at = max(self._paid_at, now) + self._cost_s(amount)
        return booking

    def correct(self, booking: Booking, amount: int, *, now: float) -> None:
        """Say what a booking really took: the rest is given back, or the excess is taken now."""
        if amount > booking.amount:
            self.book(amount - booking.amount, now=now)
        elif amount < booking.amount:
            self._paid_at -= self._cost_s(booking.amount) - self._cost_s(amount)
            if booking.is_recent:
                self._taken -= booking.amount - amount
            booking.amount = amount

    def _cost_s(self, amount: int) -> float:
        return min(amount, self.per_minute) * self._second_per_one

    def _leaves_at(self, excess: int) -> float:
        """When that much of what was taken is a minute old."""
        for booking in self._recent:
            excess -= booking.amount
            if excess <= 0:
                return booking.at + _WINDOW_S
        raise AssertionError("no more is in excess than was taken")

    def _forget(self, now: float) -> None:
        recent = self._recent
        while recent and recent[0].at + _WINDOW_S <= now:
            booking = recent.popleft()
            booking.is_recent = False
            self._taken -= booking.amount
