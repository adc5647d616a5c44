"""What a run had used when it ended, as its row keeps it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llmorch.event_totals import spent, totals_of
from llmorch.events import Event, RunFinished, RunResumed, Warned
from llmorch.models.usage import Usage

USAGE = Usage(12, 7, 3, 1, 2, 4)


@pytest.mark.parametrize("cost", [None, Decimal(0), Decimal("123456789012345678.000000001"), Decimal("1E-9")])
def test_what_is_kept_of_an_end_is_read_again_digit_for_digit(cost: Decimal | None) -> None:
    found = spent(totals_of([Warned(None, "truncated", "w"), RunFinished("failed", usage=USAGE, cost=cost)]))
    assert found == (USAGE, cost)
    assert str(found[1]) == str(cost)


def test_only_an_end_has_totals_and_the_last_one_counts() -> None:
    first, last = RunFinished("failed", usage=USAGE), RunFinished("succeeded", usage=USAGE + USAGE)
    unit: list[Event] = [first, RunResumed(2), last]
    assert totals_of([]) == totals_of([Warned(None, "truncated", "w"), RunResumed(2)]) == {}
    assert spent(totals_of(unit)) == (USAGE + USAGE, None)


BROKEN: list[Any] = [  # what another program, or a newer one, may have left there
    {"usage": 3, "cost": 0.5},
    {"usage": {"input_tokens": "12"}, "cost": "a lot"},
    {"usage": {"input_tokens": True}, "cost": "NaN"},
    {"usage": [1], "cost": "Infinity"},
    {"usage": None, "cost": None},
    {"other": 1},
]


@pytest.mark.parametrize("kept", BROKEN)
def test_what_is_no_usage_or_amount_is_left_out(kept: Any) -> None:
    assert spent(kept) == (None, None)


def test_counts_this_version_does_not_know_are_left_out() -> None:
    assert spent({"usage": {"requests": 2, "images": 3}}) == (Usage(requests=2), None)
