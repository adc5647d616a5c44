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
        (Target(12.0), True),
        (Target(11.9), False),
        (Target(3.0, "ratio"), True),
        (Target(2.9, "ratio"), False),
        (Target(8.0, "excess"), True),
        (Target(7.9, "excess"), False),
        (None, None),
    ],
)
def test_a_target_is_met_up_to_its_limit_and_not_beyond(target: Target | None, met: bool | None) -> None:
    assert Result("row", 12.0, "us", 4.0, "floor", target).met is met


@pytest.mark.parametrize("target", [Target(1.0, "ratio"), Target(1.0, "excess")])
def test_a_target_against_a_missing_floor_is_refused(target: Target) -> None:
    with pytest.raises(ValueError, match="no floor"):
        _ = Result("row", 12.0, "us", target=target).met


def test_the_table_shows_figure_floor_ratio_target_and_verdict() -> None:
    results = [
        Result("slow", 1234.5, "us", 100.0, "bare", Target(3, "ratio")),
        Result("quick", 2.5, "us", 2.0, "bare", Target(10, "excess")),
        Result("plain", 7, ""),
    ]
    head, _, slow, quick, plain = text(results).splitlines()
    assert head.split() == ["row", "measured", "floor", "which", "is", "ratio", "target", "met"]
    assert slow.split() == ["slow", "1", "234", "us", "100", "us", "bare", "12.3x", "<=", "3x", "NO"]
    assert quick.split() == ["quick", "2.50", "us", "2", "us", "bare", "1.25x", "<=", "floor", "+", "10", "us", "yes"]
    assert plain.split() == ["plain", "7"]
    assert markdown(results).splitlines()[2] == "| slow | 1 234 us | 100 us | bare | 12.3x | <= 3x | NO |"


def test_a_result_survives_the_way_from_the_measuring_process() -> None:
    from benchmarks.__main__ import read

    for result in (Result("row", 1.5, "us", 0.5, "bare", Target(3, "ratio")), Result("plain", 2, "")):
        assert read(json.loads(json.dumps(asdict(result)))) == result


def test_every_row_names_a_function_that_exists() -> None:
    from importlib import import_module

    for place in ROWS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(f"benchmarks.{module}"), function)), place
