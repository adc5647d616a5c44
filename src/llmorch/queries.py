"""Reading runs: those being carried out here, and those a store keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio

from ._clock import from_us
from .definition.workflow import WorkflowDef
from .engine.listener import Listener
from .engine.state.resume import folded
from .errors import CodeMissing, RunNotFound
from .events import Event
from .live import LiveRun
from .ports import RunRow, RunStore
from .run import Run

__all__ = ["Queries", "RunSummary"]

_PAGE = 500
_CLEANUP_S = 5.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as lists show it."""

    id: str
    workflow: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    tags: tuple[str, ...]


class Queries:
    """Answers about runs.

    Attributes:
        live: Runs carried out in this process, by id.
        known: Definitions this process has seen, by workflow name.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.live: dict[str, LiveRun] = {}
        self.known: dict[str, WorkflowDef] = {}
        self._definitions: OrderedDict[str, WorkflowDef] = OrderedDict()

    def remember(self, run_id: str, definition: WorkflowDef) -> None:
        """Keep what is needed to read a run of the memory store again."""
        self.known.setdefault(definition.name, definition)
        self._definitions[run_id] = definition
        while len(self._definitions) > 2_000:
            self._definitions.popitem(last=False)  # a dict would look for its first key ever longer

    def listen(self, run_id: str, *, after: int = 0) -> Listener:
        """The run's events after a seq."""
        live = self.live.get(run_id)
        return Listener(run_id, self.store, after=after) if live is None else live.listen(after=after)

    async def result(self, run_id: str) -> Run[Any]:
        """The run when it has ended."""
        live = self.live.get(run_id)
        if live is None:
            return await self.get(run_id)
        await live.wait()
        if live.failure is not None and isinstance(live.failure, Exception):
            raise live.failure
        return Run(live.state)

    async def cancel(self, run_id: str) -> None:
        """Stop a run that is carried out here."""
        live = self.live.get(run_id)
        if live is None:
            await self.store.load(run_id)
            return
        live.executor.cancel()
        with anyio.move_on_after(_CLEANUP_S):
            await live.wait()

    async def get(self, run_id: str, *, definition: WorkflowDef | None = None) -> Run[Any]:
        """The run as its log tells it.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: This process has never seen its workflow.
        """
        live = self.live.get(run_id)
        if live is not None:
            return Run(live.state)
        row = await self.store.load(run_id)
        state = folded(definition or self.definition_of(row), await self.log(run_id))
        if row.owner is None and state.status == "running":
            state.status = "interrupted"
        return Run(state)

    def definition_of(self, row: RunRow) -> WorkflowDef:
        """The definition of a run.

        Raises:
            CodeMissing: This process has never seen its workflow.
        """
        found = self._definitions.get(row.id) or self.known.get(row.workflow)
        if found is None:
            raise CodeMissing(
                f"Run {row.id} is of workflow {row.workflow!r}, which this process has not seen; "
                "pass it as workflow=, or register it with Orchestrator(workflows=[...])",
                run_id=row.id,
            )
        return found

    async def log(self, run_id: str) -> list[Event]:
        """Every committed event of a run.

        Raises:
            RunNotFound: There is no such run, or it has none.
        """
        events: list[Event] = []
        while page := await self.store.events(run_id, after=len(events), limit=_PAGE):
            events += page
        if not events:
            raise RunNotFound(f"Run {run_id!r} has no events", run_id=run_id)
        return events

    async def runs(self, filters: Mapping[str, Any]) -> list[RunSummary]:
        """Runs, newest first."""
        return [_summary(row) for row in await self.store.list_runs(**filters)]


def _summary(row: RunRow) -> RunSummary:
    finished = from_us(row.finished_at) if row.finished_at is not None else None
    return RunSummary(row.id, row.workflow, row.status, from_us(row.created_at), finished, row.tags)
