"""The floor that rows of several kinds share: a task of asyncio's TaskGroup that does nothing of weight."""

from __future__ import annotations

import asyncio

__all__ = ["TASK", "TASK_US", "increment", "tasks"]

TASK = "asyncio TaskGroup, a task a step"
TASK_US = 2.7
"""What one took on the machine for which the targets in microseconds were set."""


async def increment(x: int = 0) -> int:
    """A step that does nothing of weight."""
    return x + 1


async def tasks(count: int) -> None:
    """So many tasks of one group."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(increment(0))
