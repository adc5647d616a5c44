"""Compare the means of several groups: one-way analysis of variance.

Parameters:
    groups (list of lists of numbers): Two samples or more, of two numbers or more.
    alpha (float, optional): The level of significance; 0.05 unless given.

Returns:
    An object with `f_statistic`, `p_value`, `significant`, `alpha` and `group_stats`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from llmorch.scripts.contract import serve
from llmorch.scripts.samples import as_sample, described, is_significant, level, stats

__all__ = ["anova"]


def anova(groups: Sequence[Sequence[float]], *, alpha: float = 0.05) -> dict[str, Any]:
    """Whether the means of several groups differ; their variances are taken to be equal.

    Args:
        groups: Two samples or more, of two numbers or more.
        alpha: The level of significance.

    Returns:
        `f_statistic`, `p_value`, `significant`, `alpha` and `group_stats` (`mean`, `variance`, `n` of each).

    Raises:
        MissingExtra: scipy is not installed.
        ValueError: No numbers, too few, or none that vary.
    """
    samples = [as_sample(group, f"groups[{index}]") for index, group in enumerate(groups)]
    if len(samples) < 2:
        raise ValueError(f"groups has {len(samples)} samples; the test needs 2 or more")
    limit = level(alpha)
    described_groups = [described(sample) for sample in samples]
    if not any(one["variance"] for one in described_groups):
        raise ValueError("the samples do not vary, so that the test has no result")
    found = stats().f_oneway(*samples)
    return {
        "f_statistic": float(found.statistic),
        "p_value": float(found.pvalue),
        "significant": is_significant(found, limit),
        "alpha": limit,
        "group_stats": described_groups,
    }


if __name__ == "__main__":
    sys.exit(serve(anova))
