"""Every row by name; each is measured in a process of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import cast

from .table import Result

__all__ = ["ROWS", "measured"]

ROWS = {
    "import": "loading:importing",
    "first-use": "loading:first_use",
    "chain": "engine:chain",
    "fan-out": "engine:fan_out",
    "map": "engine:mapped",
    "layered": "engine:layered",
    "makespan": "engine:makespan",
    "planning": "planning:planning",
    "call": "calls:calls",
    "burst": "calls:burst",
    "stream": "calls:streaming",
    "call-anthropic": "calls:calls_of_anthropic",
    "burst-anthropic": "calls:burst_of_anthropic",
    "stream-anthropic": "calls:streaming_of_anthropic",
    "durable": "durable:durable",
    "memory": "memory:memory",
}


def measured(name: str) -> list[Result]:
    """Measure a row in this process."""
    module, _, function = ROWS[name].partition(":")
    measure = cast(
        "Callable[[], list[Result] | Awaitable[list[Result]]]",
        getattr(import_module(f".{module}", __package__), function),
    )
    results = measure()
    return asyncio.run(_awaited(results)) if inspect.isawaitable(results) else results


async def _awaited(results: Awaitable[list[Result]]) -> list[Result]:
    return await results
