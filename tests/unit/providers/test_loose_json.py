"""JSON of servers is read leniently where a paid answer would be lost otherwise, and bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.models.usage import Usage
from llmorch.providers._loose_json import mended, parse, usage_of


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    assert parse(b'{"a": "x\xffy"}') == {"a": "x\ufffdy"}


@pytest.mark.parametrize("levels", [101, 100_000])
def test_deep_nesting_is_refused(levels: int) -> None:
    with pytest.raises(ValueError, match="deep"):
        parse(b"[" * levels + b"]" * levels)


def test_nesting_within_the_limit_is_read() -> None:
    assert parse(b"[" * 100 + b"]" * 100)


def test_many_brackets_in_text_are_no_nesting() -> None:
    text = "[" * 500
    assert parse(json.dumps({"a": text}).encode()) == {"a": text}


@given(st.text(alphabet=st.characters(), max_size=20))
def test_mended_text_is_always_valid_unicode(text: str) -> None:
    mended(text).encode()


def test_halves_of_a_pair_are_joined_and_lone_ones_replaced() -> None:
    assert mended("a\ud83d\ude00b\ud83dc\ude00") == "a\U0001f600b\ufffdc\ufffd"


@pytest.mark.parametrize("count", [None, -1, float("nan"), float("inf"), "12", True, [1], 1.5, 10**12, int("9" * 400)])
def test_an_absurd_count_makes_the_usage_unknown(count: Any) -> None:
    assert usage_of({"prompt_tokens": count, "completion_tokens": 3}) is None
    assert usage_of({"prompt_tokens": 3, "completion_tokens": count}) is None


def test_an_integer_of_thousands_of_digits_does_not_lose_the_answer() -> None:
    parsed = parse(b'{"text": "x", "usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}")
    assert parsed["text"] == "x"
    assert usage_of(parsed["usage"]) is None


def test_parts_of_the_totals_are_read() -> None:
    given = {
        "prompt_tokens": 10,
        "completion_tokens": 5.0,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert usage_of(given) == Usage(10, 5, cached_tokens=4, reasoning_tokens=3, requests=1)


def test_a_part_larger_than_its_total_counts_as_not_told() -> None:
    given = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}}
    assert usage_of(given) == Usage(10, 5, requests=1)
