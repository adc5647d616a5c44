"""A figure that is not known yet: the least, the likely and the most it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Generic, TypeVar

__all__ = ["NOTHING", "NO_COST", "Range", "one_of", "usd"]

N = TypeVar("N", int, Decimal)


@dataclass(frozen=True, slots=True)
class Range(Generic[N]):
    """The least, the likely and the most.

    Example:
        >>> print(Range(2, 3, 5), Range(1, 1, 1))
        2-5 (likely 3) 1
        >>> Range(2, 3, 5) + Range(1, 1, 1)
        Range(low=3, likely=4, high=6)
    """

    low: N
    likely: N
    high: N

    def __add__(self, other: Range[N]) -> Range[N]:
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, factor: Range[int]) -> Range[N]:
        """Each bound multiplied by that of the factor."""
        return Range(self.low * factor.low, self.likely * factor.likely, self.high * factor.high)

    def __str__(self) -> str:
        low, likely, high = (_shown(amount) for amount in (self.low, self.likely, self.high))
        return low if low == high else f"{low}-{high} (likely {likely})"


NOTHING: Final = Range(0, 0, 0)
NO_COST: Final = Range(Decimal(0), Decimal(0), Decimal(0))


def one_of(ranges: Sequence[Range[N]]) -> Range[N]:
    """What one of several takes: the least of all, and the most of all, which is likely, too."""
    return Range(min(r.low for r in ranges), max(r.likely for r in ranges), max(r.high for r in ranges))


def _shown(amount: int | Decimal) -> str:
    return usd(amount) if isinstance(amount, Decimal) else f"{amount:,}"


def usd(amount: Decimal) -> str:
    """US dollars for people: cents from 1 dollar up, four digits below, never 0 for what is not."""
    if amount >= 1:
        return f"{amount:,.2f}"
    if amount == 0:
        return "0"
    return f"{amount:.4f}" if amount >= Decimal("0.0001") else "<0.0001"
