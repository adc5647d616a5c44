"""Places: counted, first come first served, never lost or doubled by cancellation."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.engine.places import Places
from llmorch.testing import run_virtual

pytestmark = pytest.mark.anyio


async def test_a_free_place_is_taken_at_once() -> None:
    places = Places(2)
    await places.take()
    assert places.try_take()
    assert not places.try_take()
    assert places.free == 0
    places.give()
    places.give()
    assert places.free == 2


async def test_those_who_wait_get_a_place_in_their_order() -> None:
    places = Places(1)
    await places.take()
    served: list[int] = []

    async def wait(number: int) -> None:
        await places.take()
        served.append(number)
        places.give()

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(wait, number)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
        assert places.contended
        places.give()
    assert served == sorted(served)
    assert len(served) == 5
    assert places.free == 1
    assert not places.contended


async def test_one_who_stops_waiting_leaves_the_queue() -> None:
    places = Places(1)
    await places.take()
    with anyio.move_on_after(0):
        await places.take()
    assert not places.contended
    places.give()
    assert places.free == 1


async def test_a_place_that_comes_with_the_cancellation_is_given_on() -> None:
    places = Places(1)
    await places.take()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(places.take)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        places.give()
        tasks.cancel_scope.cancel()
    assert places.free in (0, 1)  # either it was taken in time, or it came back


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 8)), max_size=12), st.integers(1, 3))
def test_no_storm_of_cancelled_waits_changes_the_count(visits: list[tuple[int, int, int]], count: int) -> None:
    async def storm() -> int:
        places = Places(count)
        held = 0

        async def visit(arrives: int, stays: int, patience: int) -> None:
            nonlocal held
            await anyio.sleep(arrives)
            with anyio.move_on_after(patience):
                await places.take()
                held += 1
                assert held <= count
                try:
                    await anyio.sleep(stays)
                finally:
                    held -= 1
                    places.give()

        async with anyio.create_task_group() as tasks:
            for one in visits:
                tasks.start_soon(visit, *one)
        return places.free

    assert run_virtual(storm) == count
