"""Processes are killed at random moments, and others finish what they began as if nothing had happened.

`LLMORCH_KILLS` says how many kills, `LLMORCH_KILL_SEED` repeats what a failure names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.durability.kill_case import Ground, ground, random_case
from tests.durability.kill_fixtures import FIXTURES
from tests.durability.kill_series import series
from tests.durability.results import IS_LONG, seed_from

SEED = seed_from("LLMORCH_KILL_SEED")
KILLS = int(os.environ.get("LLMORCH_KILLS") or (500 if IS_LONG else 100))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("kills"), seed=SEED) as found:
        yield found


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_killed_run_ends_as_if_nothing_had_happened(here: Ground, fixture: str) -> None:
    series(here, fixture, seed=SEED, due=-(-KILLS // len(FIXTURES)), store="sqlite")


@pytest.mark.parametrize(
    ("bug", "fixture", "kind"),
    [
        ("unawaited-start", "chain", "lost"),
        ("start-after-sending", "branch", "lost"),
        ("later-unit-first", "fan_out", "lost"),
        ("attempts-in-memory", "retry", "repeated"),
        ("two-transactions", "fan_out", "repeated"),
        ("in-completion-order", "map", "changed"),
        ("truncated-accepted", "retry", "changed"),
        ("definition-reread", "chain", "changed"),
    ],
)
def test_the_proof_notices_a_bug(here: Ground, bug: str, fixture: str, kind: str) -> None:
    faults: list[str] = []
    for number in range(25):
        verdict = here.judged(random_case(f"{SEED}-{bug}-{number}", here, fixture, number=number, bug=bug))
        faults += [fault.kind for fault in verdict.faults]
        if kind in faults:
            return
    pytest.fail(f"LLMORCH_KILL_SEED={SEED}: with the bug {bug!r} 25 cases found {Counter(faults)}, and nothing {kind}")
