"""The benchmark table: what its ratios and verdicts are made of, on figures that are made up."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.rows import ROWS
from benchmarks.table import Result, Target, markdown, text


def test_a_ratio_is_the_figure_over_its_floor() -> None:
    assert Result("row", 12.0, "us", 4.0, "floor").ratio == 3.0


@pytest.mark.parametrize("floor", [None, 0.0])
def test_without_a_floor_above_zero_there_is_no_ratio(floor: float | None) -> None:
    assert Result("row", 12.0, "us", floor).ratio is None


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(12.0), "yes"),
        (Target(11.9), "NO"),
        (Target(3.0, "ratio"), "yes"),
        (Target(2.9, "ratio"), "NO"),
        (Target(8.0, "excess"), "yes"),
        (Target(7.9, "excess"), "NO"),
        (None, ""),
    ],
)
def test_a_target_is_met_up_to_its_limit_and_not_beyond(target: Target | None, met: str) -> None:
    assert Result("row", 12.0, "us", 4.0, "floor", target).met == met


@pytest.mark.parametrize(("measured", "met"), [(6.0, "yes"), (6.1, "by ratio"), (12.0, "by ratio"), (12.1, "NO")])
def test_where_the_floor_is_dearer_than_it_was_a_target_in_seconds_is_met_by_the_same_ratio(
    measured: float, met: str
) -> None:
    assert Result("row", measured, "us", 4.0, "floor", Target(6.0, floor=2.0)).met == met


def test_a_quicker_floor_does_not_make_a_target_stricter() -> None:
    assert Result("row", 6.0, "us", 1.0, "floor", Target(6.0, floor=2.0)).met == "yes"


@pytest.mark.parametrize("target", [Target(1.0, "ratio"), Target(1.0, "excess")])
def test_a_target_against_a_missing_floor_is_refused(target: Target) -> None:
    with pytest.raises(ValueError, match="no floor"):
        _ = Result("row", 12.0, "us", target=target).met


def test_the_table_shows_figure_floor_ratio_target_and_verdict() -> None:
    results = [
        Result("slow", 1234.5, "us", 100.0, "bare", Target(3, "ratio")),
        Result("quick", 2.5, "us", 2.0, "bare", Target(10, "excess")),
        Result("known", 9.0, "us", 4.0, "bare", Target(6, floor=2)),
        Result("plain", 7, ""),
    ]
    head, _, slow, quick, known, plain = text(results).splitlines()
    assert head.split() == ["row", "measured", "floor", "which", "is", "ratio", "target", "met"]
    assert slow.split() == ["slow", "1", "234", "us", "100", "us", "bare", "12.3x", "<=", "3x", "NO"]
    assert quick.split() == ["quick", "2.50", "us", "2", "us", "bare", "1.25x", "<=", "floor", "+", "10", "us", "yes"]
    assert known.split() == ["known", "9", "us", "4", "us", "bare", "2.25x", "<=", "6", "us", "or", "3x", "by", "ratio"]
    assert plain.split() == ["plain", "7"]
    assert markdown(results).splitlines()[2] == "| slow | 1 234 us | 100 us | bare | 12.3x | <= 3x | NO |"


def test_a_result_survives_the_way_from_the_measuring_process() -> None:
    from benchmarks.__main__ import read

    for result in (Result("row", 1.5, "us", 0.5, "bare", Target(3, floor=1)), Result("plain", 2, "")):
        assert read(json.loads(json.dumps(asdict(result)))) == result


def test_every_row_names_a_function_that_exists() -> None:
    from importlib import import_module

    for place in ROWS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(f"benchmarks.{module}"), function)), place
