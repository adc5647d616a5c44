"""The floor that rows of several kinds share: a task of asyncio's TaskGroup that does nothing of weight."""

from __future__ import annotations

import asyncio

__all__ = ["TASK", "increment", "tasks"]

TASK = "asyncio TaskGroup, a task a step"


async def increment(x: int = 0) -> int:
    """A step that does nothing of weight."""
    return x + 1


async def tasks(count: int) -> None:
    """So many tasks of one group."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(increment(0))
