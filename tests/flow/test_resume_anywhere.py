"""Random workflows cut at any event of their log: what is taken up again gives what the reference interpreter gives."""

from __future__ import annotations

import os
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from llmorch import (
    Event,
    LoopTurned,
    Orchestrator,
    Run,
    RunFinished,
    RunHandle,
    RunWaiting,
    StepAnswered,
    StepCancelled,
    StepFailed,
    StepSucceeded,
    StepWaiting,
)
from llmorch.ports import RunRow, RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite.store import SqliteStore
from llmorch.testing import ScriptedProvider, run_virtual
from tests.contract.postgres_server import PostgresServer, shared_server
from tests.durability.results import IS_LONG, keep
from tests.flow.built import SCRIPTS, build, person, provider_script
from tests.flow.described import Flow
from tests.flow.random_dags import flows
from tests.flow.test_reference import INPUTS, LOOKS_S, PHASES, Observed, answered, at_once, differences

EXAMPLES = int(os.environ.get("RANDOM_RESUMES") or (2000 if IS_LONG else 60))
ON_DISK = int(os.environ.get("RANDOM_RESUMES_ON_DISK") or (200 if IS_LONG else 3))
ON_POSTGRES = int(os.environ.get("RANDOM_RESUMES_ON_POSTGRES") or (100 if IS_LONG else 2))
CUTS, CUTS_ON_DISK = 6, 3
Seen = tuple[int, Observed, list[str]]
"""Where a run was cut, what became of it, and what was asked or decided again though it was recorded."""
HEALTH = [HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large]


async def pace() -> None:
    await anyio.lowlevel.checkpoint()


@dataclass(frozen=True)
class Ground:
    """Where runs are carried out.

    Attributes:
        empty: Makes a store that holds nothing.
        looks_s: How long to wait before looking whether the time of a question is up.
    """

    empty: Callable[[], RunStore]
    looks_s: float = LOOKS_S
    cuts: int = CUTS


async def cut(store: RunStore, row: RunRow, log: Sequence[Event], at: int, definition: Any) -> None:
    """Fill a store as a process leaves it that dies after so many events."""
    is_waiting = isinstance(log[at - 1], RunWaiting)
    due = [question.deadline for question in unanswered(log[:at]) if question.deadline is not None]
    left = replace(
        row,
        status="waiting" if is_waiting else "running",
        owner=None,
        last_seq=at,
        finished_at=None,
        wake_at=min(due, default=None) if is_waiting else None,
    )
    await store.create(left, [replace(event) for event in log[:at]], definition=definition)


def unanswered(log: Sequence[Event]) -> list[StepWaiting]:
    """The questions that are open after these events."""
    found: dict[str, StepWaiting] = {}
    for event in log:
        if isinstance(event, StepWaiting):
            found[event.step] = event
        elif isinstance(event, StepAnswered | StepFailed | StepCancelled):
            found.pop(event.step, None)
    return list(found.values())


@asynccontextmanager
async def orchestrator(
    store: RunStore, flow: Flow, **options: Any
) -> AsyncIterator[tuple[Orchestrator, ScriptedProvider]]:
    provider = ScriptedProvider(provider_script(flow, pace))
    async with Orchestrator(
        store, providers=[provider], model="scripted:m", scripts=[SCRIPTS], concurrency=4, **options
    ) as orch:
        yield orch, provider


async def ended(handle: RunHandle[Any], flow: Flow, dice: random.Random, ground: Ground) -> Run[Any]:
    return await answered(handle, person(flow), dice, looks_s=ground.looks_s)


def repeated(before: Sequence[Event], after: Sequence[Event], asked: Sequence[str], *, by_itself: bool) -> list[str]:
    """What was asked or decided again though it was recorded before the cut."""
    ends = (StepSucceeded, StepFailed) if by_itself else (StepSucceeded,)  # recovery repeats no failure either
    known = {event.step for event in before if isinstance(event, ends) and getattr(event, "value", "") is not None}
    asked_for = {event.step for event in before if isinstance(event, StepAnswered)}
    asked_for |= {question.step for question in unanswered(before)}
    if by_itself:  # whoever resumes by hand has what was cancelled run again
        asked_for |= {event.step for event in before if isinstance(event, StepCancelled)}
    turns = {(event.step, event.iteration) for event in before if isinstance(event, LoopTurned)}
    found = [step for step in asked if step in known]
    found += [event.step for event in after if isinstance(event, StepWaiting) and event.step in asked_for]
    found += [event.step for event in after if isinstance(event, LoopTurned) and (event.step, event.iteration) in turns]
    return found


async def taken_up(flow: Flow, seed: int, ground: Ground) -> list[Seen]:
    dice = random.Random(seed)
    workflow = build(flow, pace)
    first = ground.empty()
    async with orchestrator(first, flow, on_ask=at_once(person(flow), pace) if dice.random() < 0.5 else None) as (
        orch,
        _,
    ):
        run = await ended(await orch.start(workflow, INPUTS), flow, dice, ground)
        row, log = await first.load(run.id), await first.events(run.id, limit=100_000)
        definition = await first.definition(row.definition_sha) if row.definition_sha else None
    assert isinstance(log[-1], RunFinished)
    seen: list[Seen] = []
    places = [
        at for at in range(1, len(log)) if not isinstance(log[at - 1], StepAnswered)
    ]  # it and its end are one unit
    for at in sorted(dice.sample(places, min(ground.cuts, len(places)))):
        store = ground.empty()
        await cut(store, row, log, at, definition)
        by_itself = at % 2 == 0 or isinstance(log[at - 1], RunWaiting)
        recover: Any = "own" if by_itself else False
        async with orchestrator(store, flow, workflows=[workflow], recover=recover) as (orch, provider):
            handle = orch.attach(run.id) if by_itself else await orch.resume(run.id)
            done = await ended(handle, flow, dice, ground)
            whole = await store.events(run.id, limit=100_000)
        assert list(whole[:at]) == list(log[:at]), "the log only grows"
        asked = [request.step or "" for request in provider.requests]
        again = repeated(log[:at], whole[at:], asked, by_itself=by_itself)
        ends = {event.step: at for at, event in enumerate(whole) if isinstance(event, StepSucceeded | StepFailed)}
        seen.append((at, Observed(4, done, Counter(), sorted(ends, key=ends.__getitem__)), again))
    return seen


def check(flow: Flow, backend: str, seen: Sequence[Seen]) -> None:
    for at, observed, again in seen:
        found = [line for line in differences(flow, observed) if "request(s)" not in line]
        if found or again:
            note(f"{backend}, cut after {at}, ends {observed.log}")
        assert not found, "\n".join(found)
        assert not again, f"asked or decided again although recorded: {again}"


@pytest.fixture(scope="module")
def counted() -> Iterator[Counter[str]]:
    """How many runs were carried out on each store; kept for the report."""
    runs, began = Counter[str](), time.monotonic()
    yield runs
    for store, count in runs.items():
        keep("random workflows, cut anywhere", store=store, runs=count, seconds=round(time.monotonic() - began, 1))


@given(flow=flows(), seed=st.integers(0, 2**16))
@settings(max_examples=EXAMPLES, deadline=None, print_blob=True, phases=PHASES, suppress_health_check=HEALTH)
def test_a_run_cut_anywhere_and_taken_up_gives_what_the_interpreter_gives(
    counted: Counter[str], flow: Flow, seed: int
) -> None:
    for backend in ("asyncio", "trio"):
        seen = run_virtual(taken_up, flow, seed, Ground(MemoryStore), backend=backend)
        counted["memory"] += len(seen)
        check(flow, backend, seen)


def lasting(flow: Flow, seed: int, empty: Callable[[], RunStore], *, backend: str) -> Sequence[Seen]:
    """The same on a store that lives longer than its process, in real time."""
    return anyio.run(taken_up, flow, seed, Ground(empty, looks_s=0.02, cuts=CUTS_ON_DISK), backend=backend)


def empty_file(folder: Path) -> SqliteStore:
    return SqliteStore(folder / f"{len(list(folder.iterdir()))}.db")


@given(flow=flows(with_scripts=True), seed=st.integers(0, 2**16))
@settings(max_examples=ON_DISK, deadline=None, print_blob=True, phases=PHASES, suppress_health_check=HEALTH)
def test_a_run_with_scripts_cut_anywhere_on_disk_gives_what_the_interpreter_gives(
    counted: Counter[str], flow: Flow, seed: int
) -> None:
    for backend in ("asyncio", "trio"):
        with tempfile.TemporaryDirectory() as folder:
            seen = lasting(flow, seed, partial(empty_file, Path(folder)), backend=backend)
        counted["sqlite"] += len(seen)
        check(flow, backend, seen)


@pytest.fixture(scope="module")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


def empty_schema(server: PostgresServer) -> RunStore:
    from llmorch.stores.sqlalchemy import SqlAlchemyStore

    return SqlAlchemyStore(server.url(), schema=f"test_{secrets.token_hex(6)}")


@given(flow=flows(with_scripts=True), seed=st.integers(0, 2**16))
@settings(max_examples=ON_POSTGRES, deadline=None, print_blob=True, phases=PHASES, suppress_health_check=HEALTH)
def test_a_run_with_scripts_cut_anywhere_on_postgres_gives_what_the_interpreter_gives(
    counted: Counter[str], server: PostgresServer, flow: Flow, seed: int
) -> None:
    for backend in ("asyncio", "trio"):
        seen = lasting(flow, seed, partial(empty_schema, server), backend=backend)
        counted["postgres"] += len(seen)
        check(flow, backend, seen)
