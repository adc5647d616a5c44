"""A pure function need not wait until its start is committed, but what happened before it is not kept back either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from llmorch import Orchestrator, RunContext, Workflow, step
from llmorch.events import Event
from llmorch.ports import AppendReply, Claim
from llmorch.stores import MemoryStore

pytestmark = pytest.mark.anyio


class SlowStore(MemoryStore):
    """Commits like a real store: it takes a moment."""

    is_instant = False

    async def append(
        self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **rest: Any
    ) -> AppendReply:
        await anyio.sleep(0.01)
        return await super().append(claim, events, status=status, **rest)


async def test_what_happened_before_a_long_pure_step_is_committed_while_it_runs() -> None:
    store = SlowStore()
    seen: list[str] = []

    async def first() -> int:
        return 1

    @step(pure=True)
    async def long(first: int, context: RunContext) -> int:
        await anyio.sleep(5)
        seen.extend(type(event).__name__ for event in await store.events(context.run_id))
        return first

    async with Orchestrator(store) as orchestrator:
        run = await orchestrator.run(Workflow.of(first, long, name="w"))
    assert run.output == 1
    assert seen == ["RunStarted", "StepStarted", "StepSucceeded", "StepStarted"]


async def test_a_lone_pure_step_is_committed_too() -> None:
    store = SlowStore()
    seen: list[str] = []

    @step(pure=True)
    async def alone(context: RunContext) -> None:
        seen.extend(type(event).__name__ for event in await store.events(context.run_id))

    async with Orchestrator(store) as orchestrator:
        await orchestrator.run(Workflow.of(alone, name="w"))
    assert seen == ["RunStarted", "StepStarted"]
