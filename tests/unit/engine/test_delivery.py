"""How units reach a store that carries them on by itself, and what happens when nobody may wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmorch.engine.delivery import quick_way
from llmorch.engine.journal import Journal
from llmorch.engine.places import Places
from llmorch.errors import ClaimLost, StoreBusy
from llmorch.events import Event
from llmorch.ports import AppendReply, Claim
from llmorch.stores.memory import MemoryStore
from llmorch.testing import virtual_clock_options
from tests.unit.engine.journals import journal_on, note
from tests.unit.engine.stores import Carrying, Quick

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """A clock that jumps."""
    return request.param, virtual_clock_options(request.param)


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


async def alone_on(store: Quick, *, busy: int = 1, ready: int = 0) -> Journal:
    """A journal of a run in an orchestrator in which so many steps are being executed, and so many of it are ready."""
    journal, places = await journal_on(store), Places(10)
    if not ready:
        journal.state.ready.popleft()
    assert journal.state.ready.left == ready
    for _ in range(busy):
        assert places.try_take()
    return Journal(store, journal.claim, journal.state, places=places)


async def test_a_run_that_is_alone_waits_for_a_commit_without_leaving_its_turn() -> None:
    store = Quick()
    journal = await alone_on(store)
    for _ in range(3):
        await journal.durable(journal.append(note()))
    assert (journal.committed, journal.passes, store.blocked) == (4, 0, 3)
    assert [event.seq for event in await store.events("r")] == [1, 2, 3, 4]


@pytest.mark.parametrize("busy", [0, 2])
async def test_a_run_among_others_leaves_them_their_turn(busy: int) -> None:
    store = Quick()
    journal = await alone_on(store, busy=busy)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.carry_on)
        await journal.durable(journal.append(note()))
        tasks.cancel_scope.cancel()
    assert (journal.committed, journal.passes, store.blocked) == (2, 1, 0)


async def test_a_run_that_has_more_to_do_leaves_its_next_step_its_turn() -> None:
    store = Quick()
    journal = await alone_on(store, ready=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.carry_on)
        await journal.durable(journal.append(note()))
        tasks.cancel_scope.cancel()
    assert (journal.passes, store.blocked) == (1, 0)


async def test_a_slow_store_gets_a_unit_once_and_is_not_waited_for_like_that_again_soon() -> None:
    store = Quick(is_slow=True)
    journal = await alone_on(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.carry_on)
        for _ in range(22):
            await journal.durable(journal.append(note()))
        tasks.cancel_scope.cancel()
    assert (journal.committed, journal.passes, store.blocked) == (23, 22, 2)
    assert store.given == list(range(2, 24))


async def test_who_waits_without_leaving_its_turn_hears_of_a_lost_claim() -> None:
    store = Quick()
    journal = await alone_on(store)
    await store.claim("r", "another", takeover=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.carry_on)
        with pytest.raises(ClaimLost):
            await journal.durable(journal.append(note()))
        tasks.cancel_scope.cancel()
    assert isinstance(journal.failure, ClaimLost)
    assert [event.seq for event in await store.events("r")] == [1]
