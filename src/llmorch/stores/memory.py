"""Runs kept in this process, the latest thousand finished ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .._clock import now_us
from ..errors import ClaimLost, IdempotencyConflict, RunNotFound
from ..events import Event
from ..models.values import Data
from ..ports import AppendReply, Claim, RunRow

__all__ = ["MemoryStore"]

_FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})


@dataclass(slots=True)
class _Log:
    """A run's row as it was created, what has changed since, and its events."""

    created: RunRow
    events: list[Event]
    last_seq: int
    status: str
    epoch: int
    owner: str | None
    finished_at: int | None = None

    @property
    def row(self) -> RunRow:
        """The row as it is now."""
        return replace(
            self.created,
            last_seq=self.last_seq,
            status=self.status,
            epoch=self.epoch,
            owner=self.owner,
            finished_at=self.finished_at,
        )


class MemoryStore:
    """A RunStore that forgets everything when the process ends.

    Args:
        keep: How many finished runs are kept; the oldest go first.

    Example:
        >>> MemoryStore(keep=10).keep
        10
    """

    is_instant = True

    def __init__(self, *, keep: int = 1_000) -> None:
        self.keep = keep
        self._logs: dict[str, _Log] = {}
        self._keys: dict[str, str] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()  # a dict would look for its first key ever longer

    async def create(
        self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None = None
    ) -> RunRow:
        """Put a new run; see `RunStore.create`."""
        key = row.idempotency_key
        if key is not None and key in self._keys:
            known = self._logs[self._keys[key]].row
            if (known.workflow, known.inputs_sha) == (row.workflow, row.inputs_sha):
                return known
            raise IdempotencyConflict(
                f"The idempotency key {key!r} was used for run {known.id} of workflow {known.workflow!r} with other "
                "inputs or another workflow; use a new key",
                run_id=known.id,
            )
        last = first[-1].seq or 0 if first else 0
        self._logs[row.id] = _Log(row, list(first), last, row.status, row.epoch, row.owner)
        if key is not None:
            self._keys[key] = row.id
        return row if last == row.last_seq else replace(row, last_seq=last)

    async def append(self, claim: Claim, events: Sequence[Event], *, status: str | None = None) -> AppendReply:
        """Commit one unit; see `RunStore.append`."""
        log = self._log(claim.run_id)
        first = events[0].seq if events else claim.last_seq + 1
        if log.epoch != claim.epoch or log.last_seq != claim.last_seq or first != claim.last_seq + 1:
            raise ClaimLost(
                f"Run {claim.run_id} is owned by {log.owner or 'nobody'} now (epoch {log.epoch}, not {claim.epoch}); "
                "attach to it to watch it",
                run_id=claim.run_id,
            )
        log.events.extend(events)
        log.last_seq += len(events)
        if status is not None:
            log.status = status
            if status in _FINAL:
                log.finished_at = now_us()
                self._retire(claim.run_id)
        return AppendReply(log.last_seq)

    def _retire(self, run_id: str) -> None:
        self._finished[run_id] = None
        while len(self._finished) > self.keep:
            oldest, _ = self._finished.popitem(last=False)
            self._forget(oldest)

    def _forget(self, run_id: str) -> None:
        log = self._logs.pop(run_id, None)
        if log is not None and log.created.idempotency_key is not None:
            self._keys.pop(log.created.idempotency_key, None)

    def _log(self, run_id: str) -> _Log:
        found = self._logs.get(run_id)
        if found is None:
            raise RunNotFound(
                f"There is no run {run_id!r} in memory; the memory store keeps this process's latest {self.keep} "
                "finished runs",
                run_id=run_id,
            )
        return found

    async def load(self, run_id: str) -> RunRow:
        """The run's row; see `RunStore.load`."""
        return self._log(run_id).row

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """Committed events after a seq; see `RunStore.events`."""
        return self._log(run_id).events[after : after + limit]  # seq counts from 1 without gaps

    async def list_runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        since: int | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[RunRow]:
        """Rows, newest first; see `RunStore.list_runs`."""
        rows = [
            log.row
            for log in self._logs.values()
            if (workflow is None or log.created.workflow == workflow)
            and (status is None or log.status == status)
            and (tag is None or tag in log.created.tags)
            and (since is None or log.created.created_at >= since)
            and (before is None or log.created.id < before)
        ]
        return sorted(rows, key=lambda row: row.id, reverse=True)[:limit]

    async def delete_run(self, run_id: str) -> None:
        """Forget a run; see `RunStore.delete_run`."""
        self._log(run_id)
        self._finished.pop(run_id, None)
        self._forget(run_id)

    async def claim(self, run_id: str, owner: str) -> Claim:
        """Become the owner; see `RunStore.claim`."""
        log = self._log(run_id)
        if log.owner is not None:
            raise ClaimLost(f"Run {run_id} is owned by {log.owner}; cancel it there first", run_id=run_id)
        log.owner = owner
        log.epoch += 1
        return Claim(run_id, log.epoch, log.last_seq)

    async def renew(self, claim: Claim) -> None:
        """Say that the owner lives; see `RunStore.renew`."""
        if self._log(claim.run_id).epoch != claim.epoch:
            raise ClaimLost(f"Run {claim.run_id} was taken by another owner", run_id=claim.run_id)

    async def release(self, claim: Claim, *, status: str) -> None:
        """Give the run up; see `RunStore.release`."""
        await self.renew(claim)
        log = self._log(claim.run_id)
        log.owner = None
        log.status = status

    async def aclose(self) -> None:
        """Nothing to let go of; the runs stay readable."""
