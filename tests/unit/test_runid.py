"""Run ids."""

from __future__ import annotations

import string

from llmorch._clock import now_us
from llmorch.runid import new_run_id

_DIGITS = string.digits + "abcdefghjkmnpqrstvwxyz"


def _number(run_id: str) -> int:
    number = 0
    for digit in run_id:
        number = number * 32 + _DIGITS.index(digit)
    return number


def test_an_id_begins_with_the_milliseconds_it_was_made_in() -> None:
    before = now_us() // 1000
    run_id = new_run_id()
    assert len(run_id) == 26
    assert before <= _number(run_id) >> 80 <= now_us() // 1000


def test_ids_sort_as_they_were_made_and_none_comes_twice() -> None:
    ids = [new_run_id() for _ in range(2_000)]
    assert ids == sorted(set(ids))
