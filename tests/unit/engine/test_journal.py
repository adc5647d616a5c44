"""The journal: order, units, durability, and what a failing store leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmorch import (
    ClaimLost,
    Event,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    Warned,
)
from llmorch.ports import AppendReply, Claim
from llmorch.stores.memory import MemoryStore
from llmorch.testing import virtual_clock_options
from tests.unit.engine.journals import journal_on, note

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """A clock that jumps."""
    return request.param, virtual_clock_options(request.param)


class SlowStore(MemoryStore):
    """Takes a second for each unit, and notes the units."""

    is_instant = False

    def __init__(self) -> None:
        super().__init__()
        self.units: list[int] = []
        self.writing = 0

    async def append(
        self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **rest: Any
    ) -> AppendReply:
        self.writing += 1
        assert self.writing == 1, "one unit at a time"
        await anyio.sleep(1)
        self.writing -= 1
        self.units.append(len(events))
        return await super().append(claim, events, status=status, **rest)


async def test_append_numbers_folds_and_buffers_without_waiting() -> None:
    store = SlowStore()
    journal = await journal_on(store)
    event = note()
    assert journal.append(event) == 2
    assert (event.seq, event.run_id) == (2, "r")
    assert event.at_us > 0
    assert journal.state.warnings == [event]
    assert (journal.pending, journal.committed) == (1, 1)
    await journal.durable(2)
    assert (journal.pending, journal.committed) == (0, 2)


async def test_what_gathers_while_a_unit_is_written_is_the_next_unit() -> None:
    store = SlowStore()
    journal = await journal_on(store)

    async def write(count: int) -> None:
        seq = 0
        for _ in range(count):
            seq = journal.append(note())
        await journal.durable(seq)
        assert journal.committed >= seq

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(write, 2)
    assert sum(store.units) == 10
    assert len(store.units) == 2
    assert [event.seq for event in await store.events("r")] == list(range(1, 12))


async def test_a_cancelled_writer_leaves_the_unit_whole() -> None:
    store = SlowStore()
    journal = await journal_on(store)
    seq = journal.append(note())
    with anyio.move_on_after(0.5):
        await journal.durable(seq)
    assert journal.committed == 2
    await journal.durable(journal.append(note()))
    assert [event.seq for event in await store.events("r")] == [1, 2, 3]


async def test_a_waiting_writer_that_is_cancelled_loses_nothing() -> None:
    store = SlowStore()
    journal = await journal_on(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.durable, journal.append(note()))
        await anyio.sleep(0.1)
        with anyio.move_on_after(0.1):
            await journal.durable(journal.append(note()))
    await journal.flush()
    assert [event.seq for event in await store.events("r")] == [1, 2, 3]


async def test_who_lost_the_claim_writes_nothing() -> None:
    store = MemoryStore()
    journal = await journal_on(store)
    journal._claim = Claim("r", 7, 1)
    seq = journal.append(note())
    with pytest.raises(ClaimLost):
        await journal.durable(seq)
    with pytest.raises(ClaimLost):
        await journal.durable(journal.append(note()))
    assert len(await store.events("r")) == 1


async def test_all_who_wait_learn_of_the_failure() -> None:
    class Full(SlowStore):
        async def append(
            self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **rest: Any
        ) -> AppendReply:
            await anyio.sleep(1)
            raise StoreCorrupt("gone")

    journal = await journal_on(Full())
    failed: list[str] = []

    async def write() -> None:
        try:
            await journal.durable(journal.append(note()))
        except StoreError as error:
            failed.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(write)
    assert failed == ["gone"] * 3
    assert isinstance(journal.failure, StoreCorrupt)


async def test_the_status_goes_with_the_unit_that_changes_it() -> None:
    store = MemoryStore()
    journal = await journal_on(store)
    journal.append(note())
    await journal.flush()
    assert (await store.load("r")).status == "running"
    journal.append(note(), status="succeeded")
    assert (await store.load("r")).status == "running"
    await journal.flush()
    row = await store.load("r")
    assert (row.status, row.last_seq) == ("succeeded", 3)
    assert row.finished_at is not None


class Moody(SlowStore):
    """Raises what it is given, one error for each try, before or after it has committed."""

    def __init__(self, *errors: Exception, after: bool = False) -> None:
        super().__init__()
        self.errors = list(errors)
        self.after = after

    async def append(
        self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **rest: Any
    ) -> AppendReply:
        if self.errors and not self.after:
            raise self.errors.pop(0)
        reply = await super().append(claim, events, status=status, **rest)
        if self.errors:
            raise self.errors.pop(0)
        return reply


@pytest.mark.parametrize("after", [False, True])
async def test_a_unit_that_fails_is_tried_again_as_it_is(after: bool) -> None:
    store = Moody(StoreBusy("locked"), OSError("gone for a moment"), RuntimeError("a plugin's own"), after=after)
    journal = await journal_on(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.durable, journal.append(note("one")))
        await anyio.lowlevel.checkpoint()
        tasks.start_soon(journal.durable, journal.append(note("two")))
    assert [event.seq for event in await store.events("r")] == [1, 2, 3]
    assert journal.failure is None


async def test_a_full_store_is_told_once_and_the_run_goes_on() -> None:
    store = Moody(StoreFull("no space"), StoreFull("no space"))
    journal = await journal_on(store)
    await journal.durable(journal.append(note()))
    await journal.flush()
    codes = [event.code for event in await store.events("r") if isinstance(event, Warned)]
    assert codes == ["truncated", "store-full"]


async def test_a_writer_cancelled_between_two_tries_leaves_the_unit_to_the_next() -> None:
    store = Moody(*[StoreBusy("locked")] * 3)
    journal = await journal_on(store)
    with anyio.move_on_after(0.01):
        await journal.durable(journal.append(note("one")))
    assert journal.pending == 1
    await journal.durable(journal.append(note("two")))
    assert store.units == [1, 1]
    assert [event.seq for event in await store.events("r")] == [1, 2, 3]


async def test_a_run_that_is_stopped_does_not_wait_for_a_store_for_ever() -> None:
    store = Moody(*[StoreBusy("locked")] * 1_000)
    journal = await journal_on(store)
    began = anyio.current_time()
    journal.hurry(2)
    with pytest.raises(StoreBusy):
        await journal.durable(journal.append(note()))
    assert anyio.current_time() - began < 4


async def test_a_mistake_in_a_store_is_not_tried_again() -> None:
    journal = await journal_on(Moody(TypeError("no such argument")))
    with pytest.raises(TypeError):
        await journal.durable(journal.append(note()))
    assert isinstance(journal.failure, TypeError)
