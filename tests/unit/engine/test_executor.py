"""Runners: what a step made ready is taken by the runner that ran it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from llmorch import Orchestrator, Workflow, each
from tests.unit.engine.stores import Quick

_ITEMS = 40
_AT_ONCE = 4
_WORK_S = 0.0012  # more than a runner works without a pause


def test_steps_that_wait_do_not_bear_a_task_for_each_of_their_successors() -> None:
    born = 0

    def counted(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        nonlocal born
        born += 1
        return asyncio.Task(work, loop=loop, **options)

    async def slow(item: int) -> int:
        end = time.perf_counter() + _WORK_S
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)
        return item

    async def main() -> list[int]:
        workflow: Workflow[Any] = Workflow("mapped")
        items = workflow.input("items", list[int])
        workflow.returns(workflow.map(slow, item=each(items), concurrency=_AT_ONCE))
        asyncio.get_running_loop().set_task_factory(counted)
        async with Orchestrator() as orchestrator:
            done = await orchestrator.run(workflow, items=list(range(_ITEMS)))
        output: list[int] = done.output
        return output

    assert asyncio.run(main()) == list(range(_ITEMS))
    assert born <= 3 * _AT_ONCE


def test_a_run_that_is_alone_leaves_others_their_turn_now_and_then() -> None:
    seen: set[int] = set()
    turns = 0

    async def slow(before: int) -> int:
        end = time.perf_counter() + _WORK_S
        while time.perf_counter() < end:
            pass
        seen.add(turns)
        return before

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def main() -> tuple[str, int]:
        workflow: Workflow[Any] = Workflow("chain")
        last: Any = 0
        for number in range(_ITEMS):
            last = workflow.add(slow, name=f"s{number}", before=last)
        store = Quick()
        carrying, busy = asyncio.create_task(store.carry_on()), asyncio.create_task(others())
        async with Orchestrator(store=store) as orchestrator:
            done = await orchestrator.run(workflow)
        carrying.cancel()
        busy.cancel()
        return done.status, store.blocked

    assert asyncio.run(main()) == ("succeeded", _ITEMS)
    assert len(seen) >= _ITEMS // 8
