"""A unit that cannot be committed is tried again as it is: nothing is paid for meanwhile, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest

from llmorch import ClaimLost, Event, Orchestrator, Payload, RunNotFound, StoreBusy, StoreCorrupt, StoreError, StoreFull
from llmorch.ports import RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.testing import run_virtual
from tests.durability.faults_scenario import no_more_than, tasks_now
from tests.durability.faults_store import Disturbance, Mode, faulty
from tests.durability.faults_workflow import MODEL, OUTPUT, SUBJECT, Book, workflow

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
FOR_EVER = 10**9


def orchestrator(store: RunStore, book: Book, *hooks: Callable[[Event], object]) -> Orchestrator:
    return Orchestrator(store, providers=[book], model=MODEL, hooks=hooks)


@BACKENDS
@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize(
    "error", [StoreError, StoreBusy, StoreFull, OSError, TimeoutError, RuntimeError], ids=lambda kind: kind.__name__
)
def test_any_error_of_append_is_tried_again_with_the_same_unit_after_growing_pauses(
    backend: str, mode: Mode, error: type[Exception]
) -> None:
    disturbance = Disturbance(mode, "append", at=3, count=9, error=lambda: error("on purpose"))

    async def work() -> Any:
        store = MemoryStore()
        async with orchestrator(faulty(store, disturbance), Book()) as orch:
            run = await orch.run(workflow([]), subject=SUBJECT)
        assert run.output == OUTPUT
        return await store.events(run.id, limit=10_000)

    log = run_virtual(work, backend=backend)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert disturbance.fired == 9
    tries = disturbance.tries[2:12]
    given = [(args[0].epoch, args[0].last_seq, list(args[1]), named) for _, args, named in tries]
    assert all(one == given[0] for one in given), "a unit changed between two tries"
    starts = [at for at, _, _ in tries]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[0] > 0
    assert all(later >= earlier - 0.001 for earlier, later in pairwise(pauses)), pauses
    assert 0.5 < pauses[-1] <= 30, f"the pauses are {pauses}"


@BACKENDS
@pytest.mark.parametrize("error", [ClaimLost, StoreCorrupt, RunNotFound], ids=lambda kind: kind.__name__)
def test_what_no_second_try_can_mend_ends_the_run_at_once(backend: str, error: type[Exception]) -> None:
    disturbance = Disturbance("before", "append", at=3, count=FOR_EVER, error=lambda: error("on purpose"))
    book = Book()

    async def work() -> float:
        tasks = tasks_now()
        orch = orchestrator(faulty(MemoryStore(), disturbance), book)
        began = anyio.current_time()
        with pytest.raises(error, match="on purpose"):
            await orch.run(workflow([]), subject=SUBJECT)
        sent = len(book.requests)
        await orch.aclose()
        took_s = anyio.current_time() - began
        assert len(book.requests) == sent
        await no_more_than(tasks)
        return took_s

    assert run_virtual(work, backend=backend) < 2.5
    units = [(args[0].last_seq, len(args[1])) for _, args, _ in disturbance.tries]
    assert len(units) == len(set(units)), f"a refused unit was given again: {units}"


@BACKENDS
def test_while_the_store_takes_nothing_no_request_is_sent_and_the_run_goes_on_by_itself_afterwards(
    backend: str,
) -> None:
    disturbance = Disturbance("before", "append", at=4, count=FOR_EVER)
    book = Book()

    async def work() -> list[int]:
        seen = []
        async with orchestrator(faulty(MemoryStore(), disturbance), book) as orch:
            handle = await orch.start(workflow([]), subject=SUBJECT)
            for _ in range(3):
                await anyio.sleep(600)
                seen.append(len(book.requests))
            disturbance.count = 0
            run = await handle.result()
            assert run.output == OUTPUT
        return seen

    before, *later = run_virtual(work, backend=backend)
    assert later == [before, before], "requests were sent though their start was not committed"
    assert len(book.requests) == 7


@BACKENDS
@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
def test_a_run_is_cancelled_within_two_seconds_though_its_log_cannot_be_written(
    backend: str, mode: Mode, at: int
) -> None:
    disturbance = Disturbance(mode, "append", at=at, count=FOR_EVER)

    async def work() -> None:
        tasks = tasks_now()
        book = Book()
        orch = orchestrator(faulty(MemoryStore(), disturbance), book)
        handle = await orch.start(workflow([]), subject=SUBJECT)
        await anyio.sleep(5)
        sent = len(book.requests)
        began = anyio.current_time()
        await handle.cancel()
        assert anyio.current_time() - began <= 2.5
        with anyio.fail_after(1), pytest.raises(StoreError):
            await handle.result()
        await orch.aclose()
        assert anyio.current_time() - began <= 4
        assert len(book.requests) == sent
        await no_more_than(tasks)

    run_virtual(work, backend=backend)


@BACKENDS
def test_an_orchestrator_closes_within_its_grace_though_a_log_cannot_be_written(backend: str) -> None:
    disturbance = Disturbance("before", "append", at=4, count=FOR_EVER)

    async def work() -> float:
        tasks = tasks_now()
        orch = orchestrator(faulty(MemoryStore(), disturbance), Book())
        await orch.start(workflow([]), subject=SUBJECT)
        await anyio.sleep(5)
        began = anyio.current_time()
        await orch.aclose()
        took_s = anyio.current_time() - began
        await no_more_than(tasks)
        return took_s

    assert run_virtual(work, backend=backend) <= 13


@BACKENDS
def test_a_full_store_is_told_once_in_the_log(backend: str) -> None:
    disturbance = Disturbance("before", "append", at=3, count=6, error=lambda: StoreFull("no room"))

    async def work() -> list[tuple[str, str]]:
        store = MemoryStore()
        async with orchestrator(faulty(store, disturbance), Book()) as orch:
            run = await orch.run(workflow([]), subject=SUBJECT)
        assert run.output == OUTPUT
        log = await store.events(run.id, limit=10_000)
        return [(type(event).__name__, getattr(event, "code", "")) for event in log]

    assert run_virtual(work, backend=backend).count(("Warned", "store-full")) == 1


@BACKENDS
def test_a_hook_sees_every_event_though_reading_fails_now_and_then(backend: str) -> None:
    disturbance = Disturbance("before", "events", at=2, count=3)
    seen: list[Event] = []

    async def work() -> int:
        store = MemoryStore()
        async with orchestrator(faulty(store, disturbance), Book(), seen.append) as orch:
            run = await orch.run(workflow([]), subject=SUBJECT)
        return (await store.load(run.id)).last_seq

    last = run_virtual(work, backend=backend)
    assert disturbance.fired == 3
    assert [event.seq for event in seen] == list(range(1, last + 1))


@BACKENDS
def test_start_raises_what_the_store_raises_and_leaves_nothing(backend: str) -> None:
    disturbance = Disturbance("before", "create", error=lambda: StoreFull("There is no room left for the store"))

    async def work() -> None:
        tasks = tasks_now()
        store, book = MemoryStore(), Book()
        async with orchestrator(faulty(store, disturbance), book) as orch:
            with pytest.raises(StoreFull, match="no room left"):
                await orch.start(Payload("ask", "Go."))
            assert not await store.list_runs()
            assert (await orch.run(workflow([]), subject=SUBJECT)).output == OUTPUT
        assert len(book.requests) == 7
        await no_more_than(tasks)

    run_virtual(work, backend=backend)
