"""What an orchestrator tells of runs: one by id, a list, a handle."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_args

from .definition.names import did_you_mean
from .errors import LLMOrchError
from .events import RunStatus
from .handle import RunHandle
from .queries import Queries, RunSummary
from .retention import Pruned, prune
from .run import Run
from .workflow import Workflow

__all__ = ["RunReader"]

T = TypeVar("T")


_STATUSES: tuple[str, ...] = get_args(RunStatus)


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
            workflow: Only those of the workflow of that name.
            status: Only those in that status.
            since: Only runs created then or later.
            before: Go on after this run id.

        Raises:
            TypeError: A filter is no text.
            ValueError: There is no such status, nothing has such a name or id, or the limit is below 0.
        """
        for name, value in (("workflow", workflow), ("status", status), ("tag", tag), ("before", before)):
            _check_text(name, value)
        if status is not None and status not in _STATUSES:
            raise ValueError(f"runs(status={status!r}): there is no such status{did_you_mean(status, _STATUSES)}")
        if limit < 0:
            raise ValueError(f"runs(limit={limit}): a number of runs is 0 or more")
        moment = int(since.timestamp() * 1_000_000) if since is not None else None
        return await self._queries.runs(
            {"workflow": workflow, "status": status, "tag": tag, "since": moment, "limit": limit, "before": before}
        )

    async def delete(self, run_id: str) -> None:
        """Forget an ended run.

        Raises:
            RunNotFound: There is no such run.
            LLMOrchError: It is being carried out, here or by another process.
        """
        row = await self._queries.store.load(run_id)
        live = self._queries.live.get(run_id)
        if (live is not None and not live.ended) or (row.status == "running" and row.owner is not None):
            raise LLMOrchError(f"Run {run_id} is being carried out; cancel it first", run_id=run_id)
        await self._queries.store.delete_run(run_id)
        self._queries.live.pop(run_id, None)

    async def prune(
        self,
        *,
        older_than: timedelta | float | None = None,
        status: str | Collection[str] | None = None,
        workflow: str | None = None,
        keep_latest: int | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Forget ended runs that all of these select, with their logs and definitions nothing else uses.

        Args:
            older_than: Ended so long ago, or so many seconds.
            status: Ended so.
            workflow: Of this workflow.
            keep_latest: Spare so many of the newest of each workflow.
            dry_run: Only say which.

        Raises:
            ValueError: Nothing selects.
        """
        return await prune(
            self._queries.store,
            older_than=older_than,
            status=status,
            workflow=workflow,
            keep_latest=keep_latest,
            dry_run=dry_run,
            claims=self._queries.claims,
        )

    def attach(self, run_id: str) -> RunHandle[Any]:
        """A handle on a run by id; touches no store until it is used."""
        return RunHandle(run_id, self._queries)


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"runs({name}=...) takes a text, not {value!r}")
    if value is not None and not value.isprintable() and name != "tag":  # a tag may be any text
        raise ValueError(f"runs({name}={value!r}): no run has such a text there")
