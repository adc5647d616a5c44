"""Forgetting runs that ended, by age, status and workflow, on any store."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from ._clock import now_us, seconds
from .claims import Claims
from .errors import ClaimLost, RunNotFound
from .ports import RunRow, RunStore

__all__ = ["ENDED", "Pruned", "prune"]

ENDED = ("succeeded", "partial", "failed", "cancelled")
"""Statuses of runs that may be deleted."""

_PAGE = 200
_AT_ONCE = 16
_CLEANUP_S = 5.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted, or would be.

    Attributes:
        run_ids: Of those runs, oldest last.
        by_status: How many ended in which status.
        by_workflow: How many were of which workflow.
        kept: How many ended runs were looked at and stay.
        is_dry: Nothing was deleted.

    Example:
        >>> Pruned(("r2", "r1"), {"failed": 2}, {"tea": 2}).count
        2
    """

    run_ids: tuple[str, ...] = ()
    by_status: Mapping[str, int] = field(default_factory=dict[str, int])
    by_workflow: Mapping[str, int] = field(default_factory=dict[str, int])
    kept: int = 0
    is_dry: bool = False

    @property
    def count(self) -> int:
        """How many runs."""
        return len(self.run_ids)


async def prune(
    store: RunStore,
    *,
    older_than: timedelta | float | None = None,
    status: str | Collection[str] | None = None,
    workflow: str | None = None,
    keep_latest: int | None = None,
    dry_run: bool = False,
    claims: Claims | None = None,
) -> Pruned:
    """Delete ended runs with their events, inbox rows and unused definitions; what is given must all be true of a run.

    A run that is running, waiting or left by a killed process is never deleted, nor one that is resumed meanwhile.

    Args:
        older_than: Only runs that ended longer ago than this (seconds or a timedelta).
        status: Only runs that ended so: `succeeded`, `partial`, `failed`, `cancelled`, or several of them.
        workflow: Only runs of the workflow of that name.
        keep_latest: Of the runs that `status` and `workflow` select, keep the newest so many of each workflow.
        dry_run: Delete nothing, only say what would be deleted.
        claims: Those of the process on that store; unset, what could not be deleted after all may stay its own.

    Raises:
        ValueError: Nothing is given that selects runs, or something that selects none.
        StoreError: The store failed; some runs may be deleted, and the same call goes on with the rest.

    Example:
        >>> from llmorch.stores.memory import MemoryStore
        >>> async def main() -> int:
        ...     return (await prune(MemoryStore(), older_than=timedelta(days=30))).count
        >>> anyio.run(main)
        0
    """
    wanted = _statuses(status)
    if older_than is None and status is None and workflow is None and keep_latest is None:
        raise ValueError("prune() without older_than, status, workflow or keep_latest would delete every ended run")
    if keep_latest is not None and keep_latest < 0:
        raise ValueError(f"prune(keep_latest={keep_latest}): a number of runs is 0 or more")
    before = _before(older_than)
    seen: Counter[str] = Counter()
    found: list[RunRow] = []
    async for row in _ended(store, wanted, workflow=workflow):
        seen[row.workflow] += 1
        is_latest = keep_latest is not None and seen[row.workflow] <= keep_latest
        if not is_latest and (before is None or _end_of(row) < before):
            found.append(row)
    gone = found if dry_run else await _delete(store, found, claims or Claims(store))
    return _pruned(gone, kept=seen.total() - len(gone), is_dry=dry_run)


def _pruned(gone: list[RunRow], *, kept: int, is_dry: bool) -> Pruned:
    by_status, by_workflow = Counter(row.status for row in gone), Counter(row.workflow for row in gone)
    return Pruned(tuple(row.id for row in gone), dict(by_status), dict(by_workflow), kept, is_dry)


def _before(older_than: timedelta | float | None) -> int | None:
    """The moment before which a run must have ended, in microseconds UTC."""
    age_s = seconds(older_than)
    if age_s is None:
        return None
    if not age_s >= 0:
        raise ValueError(f"prune(older_than={older_than!r}): an age is 0 or more")
    return now_us() - int(age_s * 1_000_000)


def _statuses(status: str | Collection[str] | None) -> tuple[str, ...]:
    if status is None:
        return ENDED
    wanted = (status,) if isinstance(status, str) else tuple(status)
    unknown = [name for name in wanted if name not in ENDED]
    if unknown or not wanted:
        what = f"{unknown[0]!r} is" if unknown else "an empty status is"
        raise ValueError(f"prune(status=...): {what} not how a run ends; only runs that ended are deleted: {ENDED}")
    return wanted


async def _ended(store: RunStore, statuses: tuple[str, ...], *, workflow: str | None) -> AsyncIterator[RunRow]:
    """Those runs, newest first; deleting some meanwhile disturbs nothing."""
    status = statuses[0] if len(statuses) == 1 else None
    before: str | None = None
    while page := await store.list_runs(workflow=workflow, status=status, limit=_PAGE, before=before):
        for row in page:
            if row.status in statuses:
                yield row
        before = page[-1].id


def _end_of(row: RunRow) -> int:
    return row.created_at if row.finished_at is None else row.finished_at


async def _delete(store: RunStore, rows: list[RunRow], claims: Claims) -> list[RunRow]:
    """Those that are gone now; others had been taken up again, or deleted by somebody else."""
    waiting = iter(rows)
    gone: set[str] = set()
    failures: list[Exception] = []

    async def delete_some() -> None:
        try:
            for row in waiting:
                if await _is_deleted(store, row.id, claims):
                    gone.add(row.id)
        except Exception as error:  # told by itself below: a task group would wrap it
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(min(_AT_ONCE, len(rows))):
            tasks.start_soon(delete_some)
    if failures:
        raise failures[0]
    return [row for row in rows if row.id in gone]


async def _is_deleted(store: RunStore, run_id: str, claims: Claims) -> bool:
    try:
        row = await store.load(run_id)
        if row.status not in ENDED:
            return False
        claim = await claims.claim(row)  # from here on nobody else can resume it
    except (ClaimLost, RunNotFound):
        return False
    is_gone = False
    try:
        if (await store.load(run_id)).status in ENDED:
            await store.delete_run(run_id)
            is_gone = True
    finally:
        if not is_gone:
            await claims.let_go(claim, limit_s=_CLEANUP_S)
    return is_gone
