"""Random workflows cut at any event of their log: what is taken up again gives what the reference interpreter gives."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import anyio.lowlevel
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from llmorch import Event, Orchestrator, RunFinished, StepFailed, StepSucceeded
from llmorch.ports import RunRow
from llmorch.stores.memory import MemoryStore
from llmorch.testing import ScriptedProvider, run_virtual
from tests.flow.built import build, provider_script
from tests.flow.described import Flow
from tests.flow.random_dags import flows
from tests.flow.test_reference import INPUTS, PHASES, Observed, differences

EXAMPLES = int(os.environ.get("RANDOM_RESUMES", "60"))
CUTS = 6


async def pace() -> None:
    await anyio.lowlevel.checkpoint()


async def cut(row: RunRow, log: Sequence[Event], at: int) -> MemoryStore:
    """A store as a process leaves it that dies after so many events."""
    store = MemoryStore()
    left = replace(row, status="running", owner=None, last_seq=at, finished_at=None)
    await store.create(left, list(log[:at]), definition=None)
    return store


async def taken_up(flow: Flow, seed: int) -> list[tuple[int, Observed, list[str]]]:
    dice = random.Random(seed)
    workflow = build(flow, pace)
    first = MemoryStore()
    provider = ScriptedProvider(provider_script(flow, pace))
    async with Orchestrator(first, providers=[provider], model="scripted:m", concurrency=4) as orch:
        run = await orch.run(workflow, INPUTS)
        row, log = await first.load(run.id), await first.events(run.id, limit=100_000)
    assert isinstance(log[-1], RunFinished)
    seen: list[tuple[int, Observed, list[str]]] = []
    for at in sorted(dice.sample(range(1, len(log)), min(CUTS, len(log) - 1))):
        store = await cut(row, log, at)
        again = ScriptedProvider(provider_script(flow, pace))
        by_itself = at % 2 == 0
        async with Orchestrator(
            store,
            providers=[again],
            model="scripted:m",
            workflows=[workflow],
            concurrency=4,
            recover="own" if by_itself else False,
        ) as orch:
            handle = orch.attach(run.id) if by_itself else await orch.resume(run.id)
            done = await handle.result()
            whole = await store.events(run.id, limit=100_000)
        assert list(whole[:at]) == list(log[:at]), "the log only grows"
        ended = (StepSucceeded, StepFailed) if by_itself else (StepSucceeded,)  # recovery repeats no failure either
        known = {
            event.step for event in log[:at] if isinstance(event, ended) and getattr(event, "value", "") is not None
        }
        repeated = [request.step for request in again.requests if request.step in known]
        ends = {event.step: at for at, event in enumerate(whole) if isinstance(event, StepSucceeded | StepFailed)}
        seen.append((at, Observed(4, done, Counter(), sorted(ends, key=ends.__getitem__)), repeated))
    return seen


@given(flow=flows(), seed=st.integers(0, 2**16))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
def test_a_run_cut_anywhere_and_taken_up_gives_what_the_interpreter_gives(flow: Flow, seed: int) -> None:
    for backend in ("asyncio", "trio"):
        for at, observed, repeated in run_virtual(taken_up, flow, seed, backend=backend):
            found = [line for line in differences(flow, observed) if "request(s)" not in line]
            if found or repeated:
                note(f"{backend}, cut after {at}, ends {observed.log}")
            assert not found, "\n".join(found)
            assert not repeated, f"asked again although recorded: {repeated}"
