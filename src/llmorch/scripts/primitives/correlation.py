"""How strongly two lists of numbers go together.

Parameters:
    x (list of numbers): The first list, three numbers or more.
    y (list of numbers): The second one, as long as the first.
    method (str, optional): `pearson`, for a straight line, or `spearman`, by rank; pearson unless given.
    alpha (float, optional): The level of significance; 0.05 unless given.

Returns:
    An object with `coefficient`, `p_value`, `significant`, `alpha`, `method` and `n`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

from llmorch.scripts.contract import serve
from llmorch.scripts.samples import as_sample, is_significant, level, stats

__all__ = ["correlation"]

_METHODS = {"pearson": "pearsonr", "spearman": "spearmanr"}


def correlation(
    x: Sequence[float], y: Sequence[float], *, method: Literal["pearson", "spearman"] = "pearson", alpha: float = 0.05
) -> dict[str, Any]:
    """How strongly two lists of numbers go together, and whether that may be chance.

    Args:
        x: Three numbers or more.
        y: As many.
        method: `pearson`, for a straight line, or `spearman`, by rank.
        alpha: The level of significance.

    Returns:
        `coefficient` (from -1 to 1), `p_value`, `significant`, `alpha`, `method` and `n`.

    Raises:
        MissingExtra: scipy is not installed.
        ValueError: No numbers, too few, unequally many, none that vary, or an unknown method.
    """
    first, second, limit = as_sample(x, "x", least=3), as_sample(y, "y", least=3), level(alpha)
    if len(first) != len(second):
        raise ValueError(f"x has {len(first)} numbers and y {len(second)}; they must be equally many")
    if method not in _METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(_METHODS)}")
    if len(set(first)) == 1 or len(set(second)) == 1:
        raise ValueError("the samples do not vary, so that the test has no result")
    found = getattr(stats(), _METHODS[method])(first, second)
    return {
        "coefficient": float(found.statistic),
        "p_value": float(found.pvalue),
        "significant": is_significant(found, limit),
        "alpha": limit,
        "method": method,
        "n": len(first),
    }


if __name__ == "__main__":
    sys.exit(serve(correlation))
