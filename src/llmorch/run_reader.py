"""What an orchestrator tells of runs: one by id, a list, a handle."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from .errors import LLMOrchError
from .handle import RunHandle
from .queries import Queries, RunSummary
from .run import Run
from .workflow import Workflow

__all__ = ["RunReader"]

T = TypeVar("T")


class RunReader:
    """The verbs of `Orchestrator` that read, and forget, what its store holds.

    Example:
        >>> async def newest(orchestrator: Orchestrator) -> str:
        ...     return (await orchestrator.runs(limit=1))[0].id
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def get(self, run_id: str, *, workflow: Workflow[T] | None = None) -> Run[T]:
        """A run by id; with `workflow`, or a registered one, its values are typed.

        Raises:
            RunNotFound: There is no such run.
        """
        return await self._queries.get(run_id, definition=workflow.freeze() if workflow is not None else None)

    async def runs(
        self,
        workflow: str | None = None,
        status: str | None = None,
        *,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[RunSummary]:
        """Runs of the store, newest first.

        Args:
            since: Only runs created then or later.
            before: Go on after this run id.
        """
        moment = int(since.timestamp() * 1_000_000) if since is not None else None
        return await self._queries.runs(
            {"workflow": workflow, "status": status, "tag": tag, "since": moment, "limit": limit, "before": before}
        )

    async def delete(self, run_id: str) -> None:
        """Forget an ended run.

        Raises:
            RunNotFound: There is no such run.
            LLMOrchError: It is being carried out.
        """
        if run_id in self._queries.live:
            raise LLMOrchError(f"Run {run_id} is being carried out; cancel it first", run_id=run_id)
        await self._queries.store.delete_run(run_id)

    def attach(self, run_id: str) -> RunHandle[Any]:
        """A handle on a run by id; touches no store until it is used."""
        return RunHandle(run_id, self._queries)
