"""Runs kept in this process, the latest thousand finished ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .._clock import now_us
from ..errors import AlreadyAnswered, ClaimLost, IdempotencyConflict, RunNotFound
from ..event_late import late_items
from ..event_totals import totals_of
from ..events import Event
from ..models.values import Data
from ..ports import AppendReply, Claim, InboxItem, RunRow

__all__ = ["MemoryStore"]

_FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})
_Key = tuple[str, str, int]


@dataclass(slots=True)
class _Log:
    """A run's row as it was created, what has changed since, its events and its inbox."""

    created: RunRow
    events: list[Event]
    last_seq: int
    status: str
    epoch: int
    owner: str | None
    finished_at: int | None = None
    wake_at: int | None = None
    totals: Mapping[str, Data] | None = None
    inbox: dict[_Key, InboxItem] | None = None  # most runs never have one
    taken: set[_Key] | None = None  # what was in the inbox and was taken up

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
            wake_at=self.wake_at,
            totals=self.created.totals if self.totals is None else self.totals,
        )

    def put(self, item: InboxItem) -> bool:
        """Keep the item; False when there is or was one of its kind, step and call."""
        key = (item.kind, item.step, item.call)
        if self.inbox is None:
            self.inbox = {}
        if key in self.inbox or (self.taken is not None and key in self.taken):
            return False
        self.inbox[key] = item
        return True

    def take(self, items: Sequence[InboxItem]) -> None:
        """Items of the inbox were taken up by events."""
        self.taken = self.taken or set()
        for item in items:
            key = (item.kind, item.step, item.call)
            self.taken.add(key)
            if self.inbox is not None:
                self.inbox.pop(key, None)

    def waits(self, now: int) -> bool:
        """Whether somebody may carry the run out who does not do so yet."""
        if self.owner is not None:
            return False
        if self.status == "waiting":
            return bool(self.inbox) or (self.wake_at is not None and self.wake_at <= now)
        return self.status == "running"


class MemoryStore:
    """A RunStore that forgets everything when the process ends.

    Whoever owns a run lives: all of them are in this process.

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
        self._definitions: dict[str, Mapping[str, Data]] = {}
        self._uses: dict[str, int] = {}  # sha of a definition -> how many runs were made of it

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
        if row.id in self._logs and self._logs[row.id].events[: len(first)] == list(first):
            return self._logs[row.id].row  # given again, because the first reply was lost
        last = first[-1].seq or 0 if first else 0
        self._logs[row.id] = _Log(
            row, list(first), last, row.status, row.epoch, row.owner, row.finished_at, row.wake_at
        )
        if key is not None:
            self._keys[key] = row.id
        sha = row.definition_sha
        if sha:
            self._uses[sha] = self._uses.get(sha, 0) + 1
            if definition is not None:
                self._definitions.setdefault(sha, definition)
        return row if last == row.last_seq else replace(row, last_seq=last)

    async def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None = None,
        consumed: Sequence[InboxItem] = (),
        wake_at: int | None = None,
    ) -> AppendReply:
        """Commit one unit; see `RunStore.append`."""
        return self.append_now(claim, events, status=status, consumed=consumed, wake_at=wake_at)

    def append_now(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None = None,
        consumed: Sequence[InboxItem] = (),
        wake_at: int | None = None,
    ) -> AppendReply:
        """The same without a coroutine, for the journal, which commits here several times a call."""
        try:  # the common case costs no call
            log = self._logs[claim.run_id]
        except KeyError:
            log = self._log(claim.run_id)
        last = claim.last_seq
        if log.epoch != claim.epoch or log.last_seq != last:
            return self._repeated(log, claim, events)
        end = last + len(events)
        if events and (events[0].seq != last + 1 or events[-1].seq != end):
            raise ClaimLost(
                f"Run {claim.run_id}: events {events[0].seq} to {events[-1].seq} do not follow event {last} without a "
                "gap; nothing was written",
                run_id=claim.run_id,
            )
        log.events.extend(events)
        log.last_seq = end
        if consumed:
            log.take(consumed)
        if status is not None:
            log.totals = totals_of(events) or log.totals
            self._enter(claim.run_id, log, status)
            log.wake_at = wake_at
        return AppendReply(end, True) if log.inbox else AppendReply(end)

    def _repeated(self, log: _Log, claim: Claim, events: Sequence[Event]) -> AppendReply:
        """The reply to a unit that is in the log already, whose first reply was lost.

        Raises:
            ClaimLost: It is not there; what was paid for is kept.
        """
        first = claim.last_seq
        if log.epoch != claim.epoch:
            for item in late_items(events, at=now_us()):
                log.put(item)
            who = f"is owned by {log.owner or 'nobody'} now (epoch {log.epoch}, not {claim.epoch})"
        elif events and log.last_seq == first + len(events) and log.events[first:] == list(events):
            return AppendReply(log.last_seq, bool(log.inbox))
        else:
            who = f"is at event {log.last_seq}, not {first}"
        raise ClaimLost(f"Run {claim.run_id} {who}; attach to it to watch it", run_id=claim.run_id)

    def _enter(self, run_id: str, log: _Log, status: str) -> None:
        """The run has this status from here on."""
        log.status = status
        if status not in _FINAL:
            if log.finished_at is not None:  # it goes on
                log.finished_at = None
                self._finished.pop(run_id, None)
            return
        log.owner = None
        if log.finished_at is None:
            log.finished_at = now_us()
        self._finished[run_id] = None
        while len(self._finished) > self.keep:
            oldest, _ = self._finished.popitem(last=False)
            self._forget(oldest)

    def _forget(self, run_id: str) -> None:
        log = self._logs.pop(run_id, None)
        if log is None:
            return
        if log.created.idempotency_key is not None:
            self._keys.pop(log.created.idempotency_key, None)
        sha = log.created.definition_sha
        if sha:
            self._uses[sha] -= 1
            if not self._uses[sha]:
                del self._uses[sha]
                self._definitions.pop(sha, None)

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

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        """Become the owner; see `RunStore.claim`."""
        log = self._log(run_id)
        if log.owner is not None and not takeover:
            raise ClaimLost(
                f"Run {run_id} is owned by {log.owner}; cancel it there first, or take it over", run_id=run_id
            )
        log.owner = owner
        log.epoch += 1
        return Claim(run_id, log.epoch, log.last_seq)

    async def renew(self, claim: Claim) -> None:
        """Say that the owner lives; see `RunStore.renew`."""
        if self._log(claim.run_id).epoch != claim.epoch:
            raise ClaimLost(f"Run {claim.run_id} was taken by another owner", run_id=claim.run_id)

    async def release(self, claim: Claim, *, status: str) -> bool:
        """Give the run up; see `RunStore.release`."""
        log = self._logs.get(claim.run_id)
        if log is None or log.epoch != claim.epoch:
            return True
        if log.inbox:
            return False
        log.owner = None
        if log.status != status:
            self._enter(claim.run_id, log, status)
        return True

    async def post(self, run_id: str, item: InboxItem) -> None:
        """Leave something for the owner; see `RunStore.post`."""
        if not self._log(run_id).put(item):
            where = f"step {item.step!r} of run {run_id}" if item.step else f"run {run_id}"
            raise AlreadyAnswered(
                f"There was a {item.kind!r} for {where} before; the first one counts", step=item.step, run_id=run_id
            )

    async def inbox(self, run_id: str) -> Sequence[InboxItem]:
        """What waits for the owner; see `RunStore.inbox`."""
        return list((self._log(run_id).inbox or {}).values())

    async def definition(self, sha: str) -> Mapping[str, Data] | None:
        """The definition of that sha; see `RunStore.definition`."""
        return self._definitions.get(sha)

    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        """Runs that wait for an owner; see `RunStore.recoverable`."""
        found = sorted(run_id for run_id, log in self._logs.items() if log.waits(now))
        return [self._logs[run_id].row for run_id in found[:limit]]

    async def aclose(self) -> None:
        """Nothing to let go of; the runs stay readable."""
