"""A series of random cases of one fixture, judged and kept for the report."""

from __future__ import annotations

import time
from collections import Counter

from tests.durability.kill_case import Ground, Verdict, random_case
from tests.durability.results import keep

__all__ = ["FAULTS", "series"]

FAULTS = ("lost", "changed", "repeated", "stuck")
_MOST_CASES = 10  # for each kill that is due: a process may end before its moment


def series(here: Ground, fixture: str, *, seed: int, due: int, store: str, **about: str) -> None:
    """Carry out cases until so many kills are done.

    Args:
        about: More for the report.

    Raises:
        AssertionError: A promise was broken, or there were too few kills; the text says how to do it again.
    """
    began = time.monotonic()
    verdicts: list[Verdict] = []
    while sum(verdict.kills for verdict in verdicts) < due and len(verdicts) < due * _MOST_CASES:
        number = len(verdicts)
        verdicts.append(here.judged(random_case(f"{seed}-{fixture}-{number}", here, fixture, number=number)))
    faults = Counter(fault.kind for verdict in verdicts for fault in verdict.faults)
    kills = sum(verdict.kills for verdict in verdicts)
    keep(
        "random kills",
        store=store,
        fixture=fixture,
        seed=seed,
        runs=len(verdicts),
        kills=kills,
        **{kind: faults[kind] for kind in FAULTS},
        seconds=round(time.monotonic() - began, 1),
        **about,
    )
    again = f"LLMORCH_KILL_SEED={seed}"
    bad = [verdict for verdict in verdicts if verdict.faults]
    assert not bad, f"{again}: {len(bad)} of {len(verdicts)} cases broke a promise\n" + "\n".join(map(str, bad))
    assert kills >= due, f"{again}: {kills} kills in {len(verdicts)} cases; {due} were due"
