"""Amounts per minute: spread, bounded in every minute, corrected afterwards."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.policies._rate import Rate

MINUTE = Fraction(60)


def taken(rate: Rate, amounts: list[int], *, start: float = 0.0) -> list[float]:
    """When each amount was taken by somebody who wants all of them at once."""
    now = start
    moments: list[float] = []
    for amount in amounts:
        while (delay_s := rate.delay(amount, now=now)) > 0:
            now += delay_s
        rate.book(amount, now=now)
        moments.append(now)
    return moments


def most_in_a_minute(moments: list[float], amounts: list[int]) -> int:
    """The largest sum over any half-open minute, in exact arithmetic; the fullest ones end with one of the moments."""
    exact = [Fraction(moment) for moment in moments]
    most = total = first = 0
    for at, amount in zip(exact, amounts, strict=True):
        total += amount
        while at - exact[first] >= MINUTE:
            total -= amounts[first]
            first += 1
        most = max(most, total)
    return most


@pytest.mark.parametrize("per_minute", [1, 2, 3, 7, 9, 10, 11, 13, 59, 60, 61, 97, 600])
@pytest.mark.parametrize("start", [0.0, 0.1, 1 / 3, 86_399.7, 1e7 / 7, 3e8 / 7])
def test_no_minute_has_more_than_the_limit(per_minute: int, start: float) -> None:
    amounts = [1] * (3 * per_minute + 5)
    moments = taken(Rate(per_minute), amounts, start=start)
    assert most_in_a_minute(moments, amounts) == per_minute


@pytest.mark.parametrize("per_minute", [7, 60, 600])
def test_the_limit_is_used_up(per_minute: int) -> None:
    moments = taken(Rate(per_minute), [1] * (10 * per_minute))
    assert moments[-1] - moments[0] < 600.1


@pytest.mark.parametrize(("per_minute", "burst"), [(1, 1), (7, 1), (19, 1), (20, 2), (60, 6), (605, 60)])
def test_a_burst_is_at_most_a_tenth_and_at_least_one(per_minute: int, burst: int) -> None:
    moments = taken(Rate(per_minute), [1] * (2 * per_minute), start=5.0)
    assert moments[:burst] == [5.0] * burst
    assert all(moments.count(moment) <= burst for moment in moments)
    gap_s = 60 / per_minute
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            assert last - first + 1 <= burst + (moments[last] - moments[first]) / gap_s + 1e-3


def test_an_amount_above_a_tenth_goes_when_what_went_before_is_paid_off() -> None:
    rate = Rate(600)
    rate.book(30, now=0.0)
    assert rate.delay(300, now=0.0) == pytest.approx(3.0)
    rate.book(300, now=3.0)
    assert rate.delay(60, now=3.0) == pytest.approx(30.0)
    assert rate.delay(1, now=3.0) == pytest.approx(24.1)


def test_an_amount_above_the_limit_waits_for_an_empty_minute_and_goes_alone() -> None:
    rate = Rate(100)
    rate.book(1, now=0.0)
    assert rate.delay(250, now=10.0) == pytest.approx(50, abs=0.01)
    rate.book(250, now=60.01)
    assert rate.delay(1, now=60.01) == pytest.approx(60, abs=0.01)
    assert rate.delay(100, now=60.01) == pytest.approx(60, abs=0.01)
    assert rate.delay(1, now=120.02) == 0


def test_nothing_is_taken_by_an_amount_of_zero() -> None:
    rate = Rate(10)
    rate.book(10, now=0.0)
    assert rate.delay(0, now=60.0) == 0
    rate.book(0, now=60.0)
    assert rate.delay(10, now=60.1) == 0


def test_what_was_not_used_may_be_taken_at_once() -> None:
    rate = Rate(100)
    booking = rate.book(100, now=0.0)
    assert rate.delay(10, now=1.0) > 50
    rate.correct(booking, 20, now=1.0)
    assert rate.delay(10, now=1.0) == pytest.approx(11.0)  # 20 of 100 a minute are 12 s, 1 s is over, 10 are a burst
    rate.book(80, now=20.0)
    assert rate.delay(1, now=30.0) == pytest.approx(32.6)  # the burst allows it then; the minute is full until 60.0


def test_what_was_used_above_the_estimate_is_taken_from_what_follows() -> None:
    rate = Rate(100)
    booking = rate.book(10, now=0.0)
    rate.correct(booking, 90, now=30.0)
    assert rate.delay(11, now=30.0) >= 30
    assert rate.delay(21, now=60.1) == pytest.approx(30, abs=0.2)


def test_a_correction_that_comes_a_minute_late_changes_no_other_minute() -> None:
    rate = Rate(100)
    late = rate.book(100, now=0.0)
    rate.delay(1, now=61.0)
    rate.book(100, now=61.0)
    rate.correct(late, 1, now=62.0)
    assert rate.delay(1, now=62.0) >= 59


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 20), st.integers(0, 60)), min_size=1, max_size=60),
)
def test_every_minute_holds_for_any_amounts_arrivals_and_refunds(
    per_minute: int, calls: list[tuple[int, float, int]]
) -> None:
    rate = Rate(per_minute)
    now = 0.0
    moments: list[float] = []
    amounts: list[int] = []
    for amount, idle_s, used in calls:
        now += idle_s
        while (delay_s := rate.delay(amount, now=now)) > 0:
            now += delay_s
        begun = [index for index, moment in enumerate(moments) if Fraction(now) - Fraction(moment) < MINUTE]
        others = sum(amounts[index] for index in begun)
        assert others + amount <= per_minute or others == 0 or amount == 0
        booking = rate.book(amount, now=now)
        rate.correct(booking, min(used, amount), now=now)
        moments.append(now)
        amounts.append(min(used, amount))
