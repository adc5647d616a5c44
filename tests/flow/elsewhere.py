"""Several processes on one store, played in one process: each has a name of its own, and may lose what it owns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel

from llmorch import Event, Orchestrator, Workflow
from llmorch.models.values import Data
from llmorch.ports import AppendReply, Claim, InboxItem, RunRow
from llmorch.stores.memory import MemoryStore
from llmorch.testing import ScriptedProvider
from tests.flow.stage import MODEL, Stage

_LONGEST_S = 5_000.0


class SharedStore(MemoryStore):
    """A memory store as those are that processes share: each commit takes a moment, and any may come from elsewhere.

    Args:
        name: Of the process that uses it.
        of: The store of another process, to share what it keeps.
    """

    is_instant = False

    def __init__(self, name: str = "a", *, of: SharedStore | None = None) -> None:
        super().__init__()
        self.owner = name
        self.commits = [0] if of is None else of.commits
        if of is not None:
            self._logs, self._keys, self._finished = of._logs, of._keys, of._finished
            self._definitions, self._uses = of._definitions, of._uses

    async def revision(self) -> int:
        """How often anything was committed."""
        return self.commits[0]

    async def create(
        self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None = None
    ) -> RunRow:
        """Put a run, and let others run before the reply."""
        kept = await super().create(row, first, definition=definition)
        await self._committed()
        return kept

    async def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None = None,
        consumed: Sequence[InboxItem] = (),
        wake_at: int | None = None,
    ) -> AppendReply:
        """Commit, and let others run before the reply."""
        try:
            return await super().append(claim, events, status=status, consumed=consumed, wake_at=wake_at)
        finally:
            await self._committed()

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        """Claim, and let others run before the reply."""
        claim = await super().claim(run_id, owner, takeover=takeover)
        await self._committed()
        return claim

    async def release(self, claim: Claim, *, status: str) -> bool:
        """Release, and let others run before the reply."""
        released = await super().release(claim, status=status)
        await self._committed()
        return released

    async def post(self, run_id: str, item: InboxItem) -> None:
        """Leave something, and let others run before the reply."""
        await super().post(run_id, item)
        await self._committed()

    async def load(self, run_id: str) -> RunRow:
        """The row, after others had a turn."""
        await anyio.lowlevel.checkpoint()
        return await super().load(run_id)

    async def _committed(self) -> None:
        self.commits[0] += 1
        await anyio.lowlevel.checkpoint()

    def disown(self, run_id: str) -> None:
        """The run's owner counts as dead from now on, though it may not know yet."""
        self._logs[run_id].owner = None
        self.commits[0] += 1


@asynccontextmanager
async def process(
    store: SharedStore, script: Mapping[str, object] | None = None, *, workflows: Sequence[Workflow[Any]] = (),
    **options: Any,
) -> AsyncIterator[Stage]:  # fmt: skip
    """An orchestrator of its own over the store; what waits for ever in it fails, though others still look out."""
    provider = ScriptedProvider(script or {})
    with anyio.fail_after(_LONGEST_S):
        async with Orchestrator(store, providers=[provider], model=MODEL, workflows=workflows, **options) as orch:
            yield Stage(orch, provider, store)


async def whole(workflow: Workflow[Any], script: Mapping[str, object], **inputs: Any) -> tuple[SharedStore, str]:
    """A store with one run of the workflow that has ended, and its id."""
    store = SharedStore()
    async with process(store, script, recover=False) as s:
        run = await s.orch.run(workflow, inputs)
    return store, run.id


async def cut(store: SharedStore, run_id: str, at: int) -> SharedStore:
    """The store as a process leaves it that dies when so many events of the run are committed."""
    row, log = await store.load(run_id), await store.events(run_id, limit=100_000)
    left = SharedStore("b")
    body = await store.definition(row.definition_sha)
    row = replace(row, status="running", owner=None, last_seq=at, finished_at=None)
    await left.create(row, [replace(event) for event in log[:at]], definition=body)
    return left


async def dying(
    workflow: Workflow[Any], script: Mapping[str, object], *, when: Callable[[Event], bool], **inputs: Any
) -> tuple[SharedStore, str]:
    """A store as a process leaves it that dies right after it has committed the first event of that kind."""
    store, run_id = await whole(workflow, script, **inputs)
    log = await store.events(run_id, limit=100_000)
    at = next(index for index, event in enumerate(log, 1) if when(event))
    return await cut(store, run_id, at), run_id
