"""What tests of questions set up: an orchestrator over any store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmorch import Event, Orchestrator, RunHandle, StepWaiting, Workflow
from llmorch.ports import RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite.store import SqliteStore
from llmorch.testing import ScriptedProvider
from tests.flow.stage import MODEL

Place = Callable[[], RunStore]
"""Gives a store of its own to each process that is played; all hold the same runs."""


def place_of(kind: str, folder: Path) -> Place:
    """Stores in memory or in a file."""
    if kind == "sqlite":
        return lambda: SqliteStore(folder / "runs.db")
    memory = MemoryStore()
    return lambda: memory


@dataclass
class Desk:
    """An orchestrator with what stands behind it."""

    orch: Orchestrator
    provider: ScriptedProvider
    store: RunStore

    @property
    def asked(self) -> list[str]:
        """Step paths in the order in which they reached the provider."""
        return [request.step or "" for request in self.provider.requests]

    async def log(self, run_id: str) -> Sequence[Event]:
        """The committed events of a run."""
        return await self.store.events(run_id, limit=100_000)


@asynccontextmanager
async def desk(place: Place, script: Mapping[str, object] | None = None, **options: Any) -> AsyncIterator[Desk]:
    """A process of its own over the store."""
    provider, store = ScriptedProvider(script or {}), place()
    async with Orchestrator(store, providers=[provider], model=MODEL, **options) as orch:
        yield Desk(orch, provider, store)


async def waiting(orch: Orchestrator, workflow: Workflow[Any], **inputs: Any) -> RunHandle[Any]:
    """A run that has come as far as it can without people."""
    handle = await orch.start(workflow, inputs)
    assert (await handle.result()).status == "waiting"
    return handle


async def open_at(handle: RunHandle[Any], *steps: str) -> dict[str, StepWaiting]:
    """Questions by step, as soon as those of the steps are open, though the run may go on meanwhile."""
    found: dict[str, StepWaiting] = {}
    async for event in handle.events():
        if isinstance(event, StepWaiting):
            found[event.step] = event
        if found.keys() >= set(steps):
            break
    return found
