"""Number the repetitions of an experiment and give each a seed.

Parameters:
    replications (int, optional): How many; 1 unless given.
    seed (int, optional): The first seed, the others follow it; random ones unless given.

Returns:
    An object with `replications`, a list of `replication_id`, `total_replications` and `random_seed`, and with
    `total_replications` and `base_seed`.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from llmorch.scripts.contract import serve

__all__ = ["replicate_n_times"]

_MOST = 100_000
_LARGEST_SEED = 1_000_000


def replicate_n_times(replications: int = 1, seed: int | None = None) -> dict[str, Any]:
    """The repetitions of an experiment, numbered from 1, each with a seed of its own.

    Args:
        replications: How many, at most 100 000.
        seed: The first seed, which makes the result repeatable: the others follow it. None for random ones.

    Returns:
        `replications`, a list of `replication_id`, `total_replications` and `random_seed`; `total_replications` and
        `base_seed`.

    Raises:
        ValueError: A negative or too large number.

    Example:
        >>> [one["random_seed"] for one in replicate_n_times(3, seed=7)["replications"]]
        [7, 8, 9]
    """
    if isinstance(replications, bool) or not isinstance(replications, int) or not 0 <= replications <= _MOST:
        raise ValueError(f"replications must be a whole number from 0 to {_MOST}, and not {replications!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ValueError(f"seed must be a whole number, and not {seed!r}")
    found = [
        {
            "replication_id": number,
            "total_replications": replications,
            "random_seed": random.randint(1, _LARGEST_SEED) if seed is None else seed + number - 1,
        }
        for number in range(1, replications + 1)
    ]
    return {"replications": found, "total_replications": replications, "base_seed": seed}


if __name__ == "__main__":
    sys.exit(serve(replicate_n_times))
