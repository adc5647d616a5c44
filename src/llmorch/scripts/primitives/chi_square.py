"""Whether two ways of sorting things are independent: the chi-square test of a table of counts.

Parameters:
    table (list of lists of numbers): The counts, row by row; two rows and two columns or more.
    alpha (float, optional): The level of significance; 0.05 unless given.

Returns:
    An object with `chi2_statistic`, `degrees_of_freedom`, `p_value`, `significant`, `alpha` and `expected`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from llmorch.scripts.contract import serve
from llmorch.scripts.samples import as_sample, is_significant, level, stats

__all__ = ["chi_square"]


def chi_square(table: Sequence[Sequence[float]], *, alpha: float = 0.05) -> dict[str, Any]:
    """Whether the rows and columns of a table of counts are independent (Yates' correction for two by two).

    Args:
        table: The counts, row by row; two rows and two columns or more.
        alpha: The level of significance.

    Returns:
        `chi2_statistic`, `degrees_of_freedom`, `p_value`, `significant`, `alpha` and `expected`, the counts that would
        be expected if they were independent.

    Raises:
        MissingExtra: scipy is not installed.
        ValueError: No table of counts, or a row or column of zeros.
    """
    rows = [as_sample(row, f"table[{index}]") for index, row in enumerate(table)]
    limit = level(alpha)
    if len(rows) < 2 or len({len(row) for row in rows}) != 1:
        raise ValueError("table needs two rows or more, all of one length")
    if any(count < 0 for row in rows for count in row):
        raise ValueError("table must hold counts, none of them negative")
    if not all(sum(line) for line in [*rows, *zip(*rows, strict=True)]):
        raise ValueError("table has a row or a column of zeros; leave it out")
    found = stats().chi2_contingency(rows)
    return {
        "chi2_statistic": float(found.statistic),
        "degrees_of_freedom": int(found.dof),
        "p_value": float(found.pvalue),
        "significant": is_significant(found, limit),
        "alpha": limit,
        "expected": found.expected_freq.tolist(),
    }


if __name__ == "__main__":
    sys.exit(serve(chi_square))
