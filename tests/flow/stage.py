"""What most workflow tests set up: an orchestrator over a script, and small functions to use as steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from llmorch import Event, Orchestrator, Run, Workflow
from llmorch.stores.memory import MemoryStore
from llmorch.testing import ScriptedProvider

MODEL = "scripted:m"


@dataclass
class Stage:
    """An orchestrator with what stands behind it."""

    orch: Orchestrator
    provider: ScriptedProvider
    store: MemoryStore

    @property
    def asked(self) -> list[str]:
        """Step paths in the order in which they reached the provider."""
        return [request.step or "" for request in self.provider.requests]

    def prompts(self, step: str) -> list[str]:
        """The last message of each request of a step."""
        return [request.messages[-1].text for request in self.provider.requests_of(step)]

    async def log(self, run: Run[Any] | str) -> Sequence[Event]:
        """The committed events of a run."""
        return await self.store.events(run if isinstance(run, str) else run.id, limit=100_000)


@asynccontextmanager
async def stage(script: Mapping[str, object] | None = None, **options: Any) -> AsyncIterator[Stage]:
    """An orchestrator whose only model answers from the script."""
    provider, store = ScriptedProvider(script or {}), MemoryStore()
    async with Orchestrator(store, providers=[provider], model=MODEL, **options) as orch:
        yield Stage(orch, provider, store)


def kinds(events: Sequence[Event]) -> list[str]:
    """Each event as its class and step."""
    return [f"{type(event).__name__} {getattr(event, 'step', '') or ''}".strip() for event in events]


def one() -> int:
    return 1


def fails() -> Any:
    raise ValueError("on purpose")


async def slow(seconds: float = 1.0) -> float:
    await anyio.sleep(seconds)
    return seconds


class Meter:
    """Counts how many of its steps run at once."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0
        self.total = 0

    async def work(self, seconds: float = 1.0) -> int:
        self.now += 1
        self.total += 1
        self.peak = max(self.peak, self.now)
        try:
            await anyio.sleep(seconds)
        finally:
            self.now -= 1
        return self.total


def named(name: str, *steps: Any, **options: Any) -> Workflow[Any]:
    """A workflow of these steps whose output is the last one."""
    workflow: Workflow[Any] = Workflow(name, **options)
    last = None
    for step in steps:
        last = workflow.add(step)
    return workflow.returns(last) if last is not None else workflow
