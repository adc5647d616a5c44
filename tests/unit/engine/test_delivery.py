"""How units reach a store that carries them on by itself, and what happens when nobody may wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmorch.engine.delivery import quick_way
from llmorch.errors import StoreBusy
from llmorch.events import Event
from llmorch.ports import AppendReply, Claim
from llmorch.stores.memory import MemoryStore
from llmorch.testing import virtual_clock_options
from tests.unit.engine.journals import journal_on, note

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """A clock that jumps."""
    return request.param, virtual_clock_options(request.param)


class Left:
    """A unit that was left with the store."""

    def __init__(self) -> None:
        self.is_done = False
        self.reply: AppendReply | None = None
        self._bell = anyio.Event()

    async def wait(self) -> None:
        await self._bell.wait()
        self._bell = anyio.Event()

    def wake(self) -> None:
        self._bell.set()

    def given(self) -> AppendReply:
        assert self.reply is not None
        return self.reply


class Carrying(MemoryStore):
    """Commits a unit so many seconds after it was left here; knows one that it has."""

    is_instant = False

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self.takes_s = takes_s
        self.left: list[tuple[Left, Claim, Sequence[Event], str | None]] = []
        self.has: dict[int, AppendReply] = {}

    async def append(self, claim: Claim, events: Sequence[Event], **rest: Any) -> AppendReply:
        raise AssertionError("there is a quicker way")

    def append_soon(self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **_: Any) -> Left:
        job = Left()
        self.left.append((job, Claim(claim.run_id, claim.epoch, claim.last_seq), events, status))
        return job

    async def carry_on(self) -> None:
        while True:
            await anyio.sleep(self.takes_s)
            for job, claim, events, status in self.left:
                first = events[0].seq or 0
                if first not in self.has:
                    self.has[first] = super().append_now(claim, events, status=status)
                job.reply, job.is_done = self.has[first], True
                job.wake()
            self.left.clear()


async def test_a_unit_is_left_with_a_store_that_carries_on_by_itself() -> None:
    store = Carrying(1)
    journal = await journal_on(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.carry_on)
        await journal.durable(journal.append(note()))
        await journal.durable(journal.append(note()))
        tasks.cancel_scope.cancel()
    assert journal.committed == 3
    assert [event.seq for event in await store.events("r")] == [1, 2, 3]


async def test_who_is_cancelled_leaves_at_once_and_the_unit_is_recorded_once() -> None:
    store = Carrying(5)
    journal = await journal_on(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.carry_on)
        began = anyio.current_time()
        with anyio.move_on_after(1):
            await journal.durable(journal.append(note()))
        assert anyio.current_time() - began == pytest.approx(1)
        assert (journal.committed, journal.pending) == (1, 1)
        await journal.durable(journal.append(note()))
        tasks.cancel_scope.cancel()
    assert [event.seq for event in await store.events("r")] == [1, 2, 3]


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_a_run_that_is_stopped_does_not_wait_for_a_store_that_does_not_answer(is_waiting: bool) -> None:
    journal = await journal_on(Carrying(1_000))
    began = anyio.current_time()
    found: list[BaseException] = []

    async def wait() -> None:
        try:
            await journal.durable(journal.append(note()))
        except StoreBusy as error:
            found.append(error)

    async with anyio.create_task_group() as tasks:
        if is_waiting:
            tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            journal.hurry(2)
        else:
            journal.hurry(2)
            tasks.start_soon(wait)
    assert anyio.current_time() - began == pytest.approx(2)
    assert "its last 1 events could not be recorded in time" in str(found[0])


async def test_an_append_that_a_subclass_has_of_its_own_is_the_one_that_is_used() -> None:
    class Watched(Carrying):
        async def append(self, claim: Claim, events: Sequence[Event], **rest: Any) -> AppendReply:
            return super().append_now(claim, events, **rest)

    assert quick_way(Carrying(1), "append_soon") is not None
    assert quick_way(Watched(1), "append_soon") is None
    assert quick_way(MemoryStore(), "append_soon") is None
    journal = await journal_on(Watched(1))
    await journal.durable(journal.append(note()))
    assert journal.committed == 2
