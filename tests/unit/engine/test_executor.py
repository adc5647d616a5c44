"""Runners: what a step made ready is taken by the runner that ran it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from llmorch import Orchestrator, Workflow, each

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
