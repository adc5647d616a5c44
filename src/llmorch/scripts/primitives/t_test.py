"""Compare the means of two groups: Welch's t-test.

Parameters:
    group1 (list of numbers): The first sample, two numbers or more.
    group2 (list of numbers): The second one.
    alpha (float, optional): The level of significance; 0.05 unless given.

Returns:
    An object with `t_statistic`, `degrees_of_freedom`, `p_value`, `significant`, `alpha`, `group1_stats`,
    `group2_stats` and `effect_size_cohens_d`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from llmorch.scripts.contract import serve
from llmorch.scripts.samples import as_sample, described, is_significant, level, stats

__all__ = ["t_test"]


def t_test(group1: Sequence[float], group2: Sequence[float], *, alpha: float = 0.05) -> dict[str, Any]:
    """Whether the means of two groups differ; their variances may (Welch), and both directions count.

    Args:
        group1: Two numbers or more.
        group2: The same.
        alpha: The level of significance.

    Returns:
        `t_statistic`, `degrees_of_freedom`, `p_value`, `significant`, `alpha`, `group1_stats` and `group2_stats`
        (`mean`, `variance`, `n`), and `effect_size_cohens_d`.

    Raises:
        MissingExtra: scipy is not installed.
        ValueError: No numbers, too few, or none that vary.
    """
    first, second, limit = as_sample(group1, "group1"), as_sample(group2, "group2"), level(alpha)
    one, other = described(first), described(second)
    spread = math.sqrt((one["variance"] + other["variance"]) / 2)
    if spread == 0:
        raise ValueError("the samples do not vary, so that the test has no result")
    found = stats().ttest_ind(first, second, equal_var=False)
    return {
        "t_statistic": float(found.statistic),
        "degrees_of_freedom": float(found.df),
        "p_value": float(found.pvalue),
        "significant": is_significant(found, limit),
        "alpha": limit,
        "group1_stats": one,
        "group2_stats": other,
        "effect_size_cohens_d": (one["mean"] - other["mean"]) / spread,
    }


if __name__ == "__main__":
    sys.exit(serve(t_test))
