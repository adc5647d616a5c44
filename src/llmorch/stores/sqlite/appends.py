"""The commonest work of the writer: one unit of a log."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..._clock import now_us
from ...errors import ClaimLost
from ...event_late import late_items
from ...events import Event, StepFailed, StepSkipped, StepSucceeded
from ...ports import AppendReply, Claim, InboxItem
from .._rows import totals_text, unit_of
from .rows import has_events, insert_events, insert_item, state_of, values_of

__all__ = ["FINAL", "Append"]

FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})
_RECORDS = frozenset({StepSucceeded, StepFailed, StepSkipped})
_INBOX = "EXISTS(SELECT 1 FROM inbox WHERE run = runs.n AND taken = 0)"
# RETURNING of the updates would say the same, and make a table in memory for it each time.
_FIND = f"SELECT n, {_INBOX} FROM runs WHERE id = ? AND epoch = ? AND last_seq = ?"
_ADVANCE = "UPDATE runs SET last_seq = ?, recoveries = recoveries * ? WHERE n = ?"
_ENTER = (
    "UPDATE runs SET last_seq = ?, recoveries = recoveries * ?, status = ?, wake_at = ?, "
    "finished_at = iif(?, coalesce(finished_at, ?), NULL), owner = iif(?, NULL, owner), "
    "totals = coalesce(?, totals) WHERE n = ?"
)
_TAKE = "UPDATE inbox SET taken = 1, data = NULL WHERE run = ? AND kind = ? AND step = ? AND call = ?"
_IS_WAITING = "SELECT EXISTS(SELECT 1 FROM inbox WHERE run = ? AND taken = 0)"
_MOST_PLAIN = 32  # events


class Append:
    """The work that adds one unit; see `RunStore.append`.

    Attributes:
        is_plain: It changes nothing but the log, by few events, so that it can be done together with others.
        key: Run id, epoch and last seq that it is for.
        unit: The events as columns.
        last_seq: Of the log, afterwards.
        factor: What the count of owners that died is multiplied with: a recorded step says that the run is sound.

    Args:
        where: The store's path, for texts.

    Raises:
        ValueError: An event holds what is no JSON data, or their seqs have a gap.
    """

    __slots__ = (
        "_claim", "_consumed", "_events", "_status", "_wake_at", "_where", "factor", "is_plain", "key", "last_seq",
        "unit",
    )  # fmt: skip

    def __init__(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None,
        consumed: Sequence[InboxItem],
        wake_at: int | None,
        where: object,
    ) -> None:
        before = claim.last_seq
        self.unit = unit = unit_of(events)
        self.key = (claim.run_id, claim.epoch, before)
        self.last_seq = before + len(unit)
        self.factor = 1 if _RECORDS.isdisjoint(map(type, events)) else 0
        self.is_plain = status is None and not consumed and 0 < len(unit) <= _MOST_PLAIN and unit[0][0] == before + 1
        self._claim = claim
        self._events = events
        self._status = status
        self._consumed = consumed
        self._wake_at = wake_at
        self._where = where

    def __call__(self, connection: sqlite3.Connection) -> AppendReply:
        """Add it alone.

        Raises:
            ClaimLost: It is not for this log, or not any more.
        """
        unit = self.unit
        follows = not unit or unit[0][0] == self.key[2] + 1
        found = connection.execute(_FIND, self.key).fetchone() if follows else None
        if found is None:
            return self._refuse(connection)
        n, is_waiting = found
        if self._status is None:
            connection.execute(_ADVANCE, (self.last_seq, self.factor, n))
        else:
            is_final = self._status in FINAL
            change = (self.last_seq, self.factor, self._status, self._wake_at, is_final, now_us(), is_final)
            connection.execute(_ENTER, (*change, totals_text(self._events), n))
        insert_events(connection, values_of(unit, run=n))
        if self._consumed:
            connection.executemany(_TAKE, [(n, item.kind, item.step, item.call) for item in self._consumed])
            (is_waiting,) = connection.execute(_IS_WAITING, (n,)).fetchone()
        return AppendReply(self.last_seq, bool(is_waiting))

    def _refuse(self, connection: sqlite3.Connection) -> AppendReply:
        """Say why a unit is not for this log, and keep what was paid for.

        Under the same epoch nothing is late: a unit that is there already was committed before its caller heard of it.
        """
        claim, unit = self._claim, self.unit
        n, owner, epoch, last_seq = state_of(connection, claim.run_id, where=self._where)
        if epoch != claim.epoch:
            for item in late_items(self._events, at=now_us()):
                insert_item(connection, item, run=n)
            why = f"is owned by {owner or 'nobody'} now (epoch {epoch}, not {claim.epoch}); attach to it to watch it"
            raise ClaimLost(f"Run {claim.run_id} {why}", run_id=claim.run_id)
        _, _, before = self.key
        first = unit[0][0] if unit else before + 1
        if unit and first == before + 1 and has_events(connection, unit, run_id=claim.run_id):
            (is_waiting,) = connection.execute(_IS_WAITING, (n,)).fetchone()
            return AppendReply(unit[-1][0], bool(is_waiting))
        raise ClaimLost(
            f"Run {claim.run_id} is at event {last_seq}; a unit that begins with event {first} after event "
            f"{before} does not follow it, and nothing was written",
            run_id=claim.run_id,
        )
