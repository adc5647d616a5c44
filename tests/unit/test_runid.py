"""Run ids."""

from __future__ import annotations

import string

import pytest

from llmorch import runid
from llmorch.runid import new_run_id

_DIGITS = string.digits + "abcdefghjkmnpqrstvwxyz"


def _number(run_id: str) -> int:
    number = 0
    for digit in run_id:
        number = number * 32 + _DIGITS.index(digit)
    return number


class _Clock:
    """The machine's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.us = 1_700_000_000_123_456
        monkeypatch.setattr(runid, "now_us", lambda: self.us)
        monkeypatch.setattr(runid, "_last", 0)


def test_an_id_begins_with_the_milliseconds_it_was_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    run_id = new_run_id()
    assert len(run_id) == 26
    assert _number(run_id) >> 80 == clock.us // 1000


def test_ids_sort_as_they_were_made_and_none_comes_twice() -> None:
    ids = [new_run_id() for _ in range(2_000)]
    assert ids == sorted(set(ids))


def test_ids_stay_in_order_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    ids = [new_run_id()]
    clock.us -= 122_000_000
    ids += [new_run_id() for _ in range(10)]
    clock.us += 200_000_000
    ids.append(new_run_id())
    assert ids == sorted(set(ids))
    assert _number(ids[-1]) >> 80 == clock.us // 1000
