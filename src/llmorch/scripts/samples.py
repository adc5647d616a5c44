"""Samples for the statistics scripts: checked numbers, and scipy when it is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from .._lazy import require

__all__ = ["as_sample", "described", "is_significant", "level", "stats"]


def stats() -> Any:  # Any: a module that need not be installed
    """`scipy.stats`, loaded when a test is first asked for.

    Raises:
        MissingExtra: It is not installed.
    """
    return require("scipy.stats", extra="statistics", purpose="a statistics test")


def as_sample(values: object, name: str, *, least: int = 2) -> list[float]:
    """The numbers of a sample.

    Raises:
        ValueError: These are no numbers, or too few.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name} must be a list of numbers, and not {type(values).__name__}")
    numbers = [_number(value, name) for value in cast("Sequence[object]", values)]
    if len(numbers) < least:
        raise ValueError(f"{name} has {len(numbers)} numbers; the test needs {least} or more")
    return numbers


def level(alpha: float) -> float:
    """A level of significance.

    Raises:
        ValueError: It is not between 0 and 1.
    """
    if not 0 < _number(alpha, "alpha") < 1:
        raise ValueError(f"alpha must be between 0 and 1, and not {alpha!r}")
    return float(alpha)


def described(numbers: Sequence[float]) -> dict[str, Any]:
    """Mean, sample variance and size."""
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1)
    return {"mean": mean, "variance": variance, "n": len(numbers)}


def is_significant(found: Any, alpha: float) -> bool:  # Any: a result of scipy
    """Whether a test's p-value is below the level.

    Raises:
        ValueError: The test came to no number.
    """
    if not math.isfinite(found.statistic) or math.isnan(found.pvalue):
        raise ValueError("the samples do not vary, so that the test has no result")
    return bool(found.pvalue < alpha)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must hold numbers only, and not {value!r:.40}")
    return float(value)
