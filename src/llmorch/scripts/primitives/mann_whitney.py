"""Compare two groups by rank: the Mann-Whitney U test.

Parameters:
    group1 (list of numbers): The first sample.
    group2 (list of numbers): The second one.
    alpha (float, optional): The level of significance; 0.05 unless given.

Returns:
    An object with `u_statistic`, `p_value`, `significant` and `alpha`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from llmorch.scripts.contract import serve
from llmorch.scripts.samples import as_sample, is_significant, level, stats

__all__ = ["mann_whitney"]


def mann_whitney(group1: Sequence[float], group2: Sequence[float], *, alpha: float = 0.05) -> dict[str, Any]:
    """Whether one of two groups tends to larger numbers; nothing is assumed of how they are distributed.

    Args:
        group1: One number or more.
        group2: The same.
        alpha: The level of significance.

    Returns:
        `u_statistic` (of the first group), `p_value` (both directions count), `significant` and `alpha`.

    Raises:
        MissingExtra: scipy is not installed.
        ValueError: No numbers.
    """
    first, second = as_sample(group1, "group1", least=1), as_sample(group2, "group2", least=1)
    limit = level(alpha)
    found = stats().mannwhitneyu(first, second, alternative="two-sided")
    return {
        "u_statistic": float(found.statistic),
        "p_value": float(found.pvalue),
        "significant": is_significant(found, limit),
        "alpha": limit,
    }


if __name__ == "__main__":
    sys.exit(serve(mann_whitney))
