"""A process is killed instead of making a write or a sync of its store, at each of them in turn.

The short form takes some of them, evenly, from a random one on; `LLMORCH_KILL_SEED` repeats what a failure names.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import pytest

from tests.durability.kill_case import Case, Ground, Moment, Verdict, ground
from tests.durability.kill_trace import CannotTrace, counted, sent_unsynced
from tests.durability.results import IS_LONG, keep, seed_from

SEED = seed_from("LLMORCH_KILL_SEED")
POINTS = 5  # of each system call, in the short form
BEYOND = 60_000  # strace counts no further than 65 535
FIXTURE = "chain"  # five steps
BEFORE: Mapping[str, tuple[Moment, ...]] = {"begun": (), "taken up": (Moment("request", 2),)}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("writes"), seed=SEED) as found:
        yield found


def how_many(here: Ground, case: Case, call: Literal["pwrite64", "fdatasync"]) -> int:
    """How often an uninterrupted run makes that call."""
    return counted(traced(here, replace(case, moments=(*case.moments, Moment(call, BEYOND)))).trace, call)


def traced(here: Ground, case: Case) -> Verdict:
    """The case without a fault; a skip where nothing can be traced."""
    try:
        verdict = here.judged(case)
    except CannotTrace as reason:
        pytest.skip(str(reason))
    assert not verdict.faults, str(verdict)
    return verdict


@pytest.mark.parametrize("backend", ["asyncio", "trio"] if IS_LONG else ["asyncio"])
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("before", BEFORE)
def test_a_run_survives_being_killed_instead_of_a_write(
    here: Ground, before: str, call: Literal["pwrite64", "fdatasync"], backend: str
) -> None:
    began = time.monotonic()
    case = Case(f"every {call}", FIXTURE, backend, moments=BEFORE[before])
    count = how_many(here, case, call)
    assert count > POINTS, f"an uninterrupted run makes {count} {call}"
    step = 1 if IS_LONG else -(-count // POINTS)
    verdicts: list[Verdict] = []
    for n in range(1 + SEED % step, count + 1, step):
        verdicts.append(here.judged(replace(case, name=f"{call} {n}", moments=(*case.moments, Moment(call, n)))))
    faults = Counter(fault.kind for verdict in verdicts for fault in verdict.faults)
    kills = sum(verdict.kills for verdict in verdicts)
    keep(
        f"kill at every {call}",
        store="sqlite",
        fixture=f"{FIXTURE}, {before}, {backend}",
        seed=SEED,
        runs=len(verdicts),
        kills=kills,
        **{kind: faults[kind] for kind in ("lost", "changed", "repeated", "stuck")},
        seconds=round(time.monotonic() - began, 1),
    )
    bad = "\n".join(str(verdict) for verdict in verdicts if verdict.faults)
    assert not faults, f"LLMORCH_KILL_SEED={SEED}: of {count} {call}\n{bad}"
    # How many units are committed together is a matter of time, so the last points may lie beyond the end.
    assert kills >= (0.5 + len(case.moments)) * len(verdicts), (
        f"LLMORCH_KILL_SEED={SEED}: {kills} kills in {len(verdicts)} runs"
    )


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_is_sent_when_its_start_is_synced_to_the_disk(here: Ground, backend: str) -> None:
    case = Case("synced", FIXTURE, backend, moments=(Moment("never"),))
    sent, unsynced = sent_unsynced(traced(here, case).trace, file="runs.db-wal")
    keep(
        "requests and the sync of their start",
        store="sqlite",
        fixture=f"{FIXTURE}, {backend}",
        runs=1,
        requests=sent,
        sent_before=unsynced,
    )
    assert (sent, unsynced) == (here.baseline(FIXTURE).requests, 0)


def test_with_process_durability_requests_do_not_wait_for_the_disk(here: Ground) -> None:
    case = Case("not synced", FIXTURE, durability="process", moments=(Moment("never"),))
    sent, unsynced = sent_unsynced(traced(here, case).trace, file="runs.db-wal")
    assert sent == unsynced == here.baseline(FIXTURE).requests
