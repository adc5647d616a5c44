"""What the writer does inside a transaction: each function makes the work of one job."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..._clock import now_us
from ..._json import dumps
from ...errors import AlreadyAnswered, ClaimLost, IdempotencyConflict
from ...event_late import late_items
from ...events import Event, StepFailed, StepSkipped, StepSucceeded
from ...models.values import Data
from ...ports import AppendReply, Claim, InboxItem, RunRow
from .._rows import EventColumns, asked, row_of, unit_of
from .owners import Owners
from .queries import FROM_RUNS, not_found
from .rows import Work, insert_events

__all__ = ["FINAL", "Units"]

FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})
_RECORDS = frozenset({StepSucceeded, StepFailed, StepSkipped})
_INSERT_RUN = (
    "INSERT INTO runs(id, idempotency_key, workflow, definition, inputs_sha, status, epoch, owner, lease_until, "
    "last_seq, wake_at, recoveries, tags, created_at, finished_at, totals) "
    "VALUES (?, ?, ?, (SELECT n FROM definitions WHERE sha = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING n"
)
_HAS_DEFINITION = "SELECT 1 FROM definitions WHERE sha = ? AND body IS NOT NULL"  # to write it takes long
_INSERT_DEFINITION = (
    "INSERT INTO definitions(sha, body) VALUES (?, ?) "
    "ON CONFLICT(sha) DO UPDATE SET body = excluded.body WHERE body IS NULL AND excluded.body IS NOT NULL"
)
_INSERT_ITEM = "INSERT OR IGNORE INTO inbox(run, kind, step, call, data, at, by) VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIND = (  # RETURNING of the updates would say the same, and make a table in memory for it each time
    "SELECT n, EXISTS(SELECT 1 FROM inbox WHERE run = runs.n AND taken = 0) FROM runs"
    " WHERE id = ? AND epoch = ? AND last_seq = ? "
)
_ADVANCE = "UPDATE runs SET last_seq = ?, recoveries = recoveries * ? WHERE n = ?"
_ENTER = (
    "UPDATE runs SET last_seq = ?, recoveries = recoveries * ?, status = ?, wake_at = ?, "
    "finished_at = iif(?, coalesce(finished_at, ?), NULL), owner = iif(?, NULL, owner) WHERE n = ?"
)
_TAKE = "UPDATE inbox SET taken = 1, data = NULL WHERE run = ? AND kind = ? AND step = ? AND call = ?"
_IS_WAITING = "SELECT EXISTS(SELECT 1 FROM inbox WHERE run = ? AND taken = 0)"


class Units:
    """Makes the work of each writing method of the store.

    Args:
        owners: Who lives; asked inside the transaction, so that two who claim at once cannot both see a dead owner.
        where: The store's path, for texts.
    """

    def __init__(self, owners: Owners, where: object) -> None:
        self._owners = owners
        self._where = where

    def create(self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None) -> Work[RunRow]:
        """Put the run, its definition and its first events; see `RunStore.create`."""
        unit = unit_of(first)
        last_seq = unit[-1][0] if unit else 0
        tags, totals = dumps(row.tags), dumps(row.totals)

        def work(connection: sqlite3.Connection) -> RunRow:
            known = self._known(connection, row, unit)
            if known is not None:
                return known
            if row.owner is not None:
                self._owners.hold(row.owner)
            if row.definition_sha and connection.execute(_HAS_DEFINITION, (row.definition_sha,)).fetchone() is None:
                body = None if definition is None else dumps(definition).encode("ascii")
                connection.execute(_INSERT_DEFINITION, (row.definition_sha, body))
            values = (
                row.id, row.idempotency_key, row.workflow, row.definition_sha, row.inputs_sha, row.status, row.epoch,
                row.owner, row.lease_until, last_seq, row.wake_at, row.recoveries, tags, row.created_at,
                row.finished_at, totals,
            )  # fmt: skip
            (n,) = connection.execute(_INSERT_RUN, values).fetchone()
            insert_events(connection, unit, run=n)
            if row.owner is not None:
                self._owners.keep(row.owner, row.id, epoch=row.epoch)
            return replace(row, last_seq=last_seq)

        return work

    def _known(self, connection: sqlite3.Connection, row: RunRow, unit: Sequence[EventColumns]) -> RunRow | None:
        """The run that was created with this key, or this very run when its creation is tried again."""
        same = connection.execute(f"{FROM_RUNS} WHERE r.id = ?", (row.id,)).fetchone()
        if same is not None and self._has(connection, row.id, unit):
            return row_of(same)
        if row.idempotency_key is None:
            return None
        found = connection.execute(f"{FROM_RUNS} WHERE r.idempotency_key = ?", (row.idempotency_key,)).fetchone()
        if found is None:
            return None
        known = row_of(found)
        if (known.workflow, known.inputs_sha) == (row.workflow, row.inputs_sha):
            return known
        raise IdempotencyConflict(
            f"The idempotency key {row.idempotency_key!r} was used for run {known.id} of workflow {known.workflow!r} "
            "with other inputs or another workflow; use a new key",
            run_id=known.id,
        )

    def _has(self, connection: sqlite3.Connection, run_id: str, unit: Sequence[EventColumns]) -> bool:
        """Whether the log holds exactly these events at their seqs."""
        if not unit:
            return False
        kept = connection.execute(
            "SELECT e.seq, e.sum FROM events e JOIN runs r ON r.n = e.run WHERE r.id = ? AND e.seq BETWEEN ? AND ? "
            "ORDER BY e.seq",
            (run_id, unit[0][0], unit[-1][0]),
        ).fetchall()
        return kept == [(columns[0], columns[6]) for columns in unit]

    def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        unit: Sequence[EventColumns],
        status: str | None,
        consumed: Sequence[InboxItem],
        wake_at: int | None,
    ) -> Work[AppendReply]:
        """Add one unit; see `RunStore.append`."""
        run_id, epoch, before = claim.run_id, claim.epoch, claim.last_seq
        follows = not unit or unit[0][0] == before + 1
        last_seq = before + len(unit)
        is_record = any(map(_RECORDS.__contains__, map(type, events)))
        factor = 0 if is_record else 1

        def work(connection: sqlite3.Connection) -> AppendReply:
            found = connection.execute(_FIND, (run_id, epoch, before)).fetchone() if follows else None
            if found is None:
                return self._refuse(connection, claim, events, unit)
            n, is_waiting = found
            if status is None:
                connection.execute(_ADVANCE, (last_seq, factor, n))
            else:
                is_final = status in FINAL
                change = (last_seq, factor, status, wake_at, is_final, now_us(), is_final)
                connection.execute(_ENTER, (*change, n))
            insert_events(connection, unit, run=n)
            if consumed:
                connection.executemany(_TAKE, [(n, item.kind, item.step, item.call) for item in consumed])
                (is_waiting,) = connection.execute(_IS_WAITING, (n,)).fetchone()
            return AppendReply(last_seq, bool(is_waiting))

        return work

    def _refuse(
        self, connection: sqlite3.Connection, claim: Claim, events: Sequence[Event], unit: Sequence[EventColumns]
    ) -> AppendReply:
        """Say why a unit is not for this log, and keep what was paid for.

        Under the same epoch nothing is late: a unit that is there already was committed before its caller heard of it.
        """
        n, owner, epoch, last_seq = self._state(connection, claim.run_id)
        if epoch != claim.epoch:
            for item in late_items(events, at=now_us()):
                _insert_item(connection, n, item)
            why = f"is owned by {owner or 'nobody'} now (epoch {epoch}, not {claim.epoch}); attach to it to watch it"
            raise ClaimLost(f"Run {claim.run_id} {why}", run_id=claim.run_id)
        first = unit[0][0] if unit else claim.last_seq + 1
        if unit and first == claim.last_seq + 1 and self._has(connection, claim.run_id, unit):
            (is_waiting,) = connection.execute(_IS_WAITING, (n,)).fetchone()
            return AppendReply(unit[-1][0], bool(is_waiting))
        raise ClaimLost(
            f"Run {claim.run_id} is at event {last_seq}; a unit that begins with event {first} after event "
            f"{claim.last_seq} does not follow it, and nothing was written",
            run_id=claim.run_id,
        )

    def _state(self, connection: sqlite3.Connection, run_id: str) -> tuple[int, str | None, int, int]:
        """n, owner, epoch and last seq of a run."""
        query = "SELECT n, owner, epoch, last_seq FROM runs WHERE id = ?"
        found = connection.execute(query, (asked(run_id),)).fetchone()
        if found is None:
            raise not_found(run_id, self._where)
        n, owner, epoch, last_seq = found
        return n, owner, epoch, last_seq

    def claim(self, run_id: str, owner: str, *, takeover: bool) -> Work[Claim]:
        """Change the owner; see `RunStore.claim`."""

        def work(connection: sqlite3.Connection) -> Claim:
            n, former, epoch, last_seq = self._state(connection, run_id)
            if former is not None and not takeover and self._owners.is_alive(former, run_id, epoch=epoch):
                raise ClaimLost(
                    f"Run {run_id} is owned by {former}, which lives; cancel the run there first, or take it over",
                    run_id=run_id,
                )
            self._owners.hold(owner)
            connection.execute(
                "UPDATE runs SET owner = ?, epoch = ?, recoveries = recoveries + ? WHERE n = ?",
                (owner, epoch + 1, former is not None, n),
            )
            self._owners.keep(owner, run_id, epoch=epoch + 1)
            return Claim(run_id, epoch + 1, last_seq)

        return work

    def renew(self, claim: Claim) -> Work[None]:
        """Check the epoch; the lock says that the owner lives, so nothing is written."""

        def work(connection: sqlite3.Connection) -> None:
            _, owner, epoch, _ = self._state(connection, claim.run_id)
            if epoch != claim.epoch:
                raise ClaimLost(f"Run {claim.run_id} was taken by {owner or 'another owner'}", run_id=claim.run_id)

        return work

    def release(self, claim: Claim, status: str) -> Work[bool]:
        """Give the run up unless somebody left something; see `RunStore.release`."""
        is_final = status in FINAL

        def work(connection: sqlite3.Connection) -> bool:
            found = connection.execute(
                "SELECT n, EXISTS(SELECT 1 FROM inbox WHERE run = r.n AND taken = 0) FROM runs r "
                "WHERE id = ? AND epoch = ?",
                (claim.run_id, claim.epoch),
            ).fetchone()
            if found is None:
                return True
            n, is_waiting = found
            if is_waiting:
                return False
            connection.execute(
                "UPDATE runs SET owner = NULL, lease_until = NULL, status = ?, "
                "finished_at = iif(?, coalesce(finished_at, ?), NULL) WHERE n = ?",
                (status, is_final, now_us(), n),
            )
            return True

        return work

    def post(self, run_id: str, item: InboxItem) -> Work[None]:
        """Leave an item; see `RunStore.post`."""
        dumps(item.data)  # what is no JSON is refused to the caller, before it stands in anybody's way

        def work(connection: sqlite3.Connection) -> None:
            n, *_ = self._state(connection, run_id)
            if not _insert_item(connection, n, item):
                where = f"step {item.step!r} of run {run_id}" if item.step else f"run {run_id}"
                raise AlreadyAnswered(
                    f"There was a {item.kind!r} for {where} before; the first one counts",
                    step=item.step or None,
                    run_id=run_id,
                )

        return work

    def delete(self, run_id: str) -> Work[None]:
        """Forget a run, its log, its inbox, and its definition if no other run was made of it."""

        def work(connection: sqlite3.Connection) -> None:
            query = "DELETE FROM runs WHERE id = ? RETURNING definition"
            found = connection.execute(query, (asked(run_id),)).fetchall()
            if not found:
                raise not_found(run_id, self._where)
            connection.execute(
                "DELETE FROM definitions WHERE n = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE definition = ?)",
                (found[0][0], found[0][0]),
            )

        return work


def _insert_item(connection: sqlite3.Connection, n: int, item: InboxItem) -> bool:
    """Whether it is the first of its kind, step and call."""
    data = dumps(item.data).encode("ascii")
    values: tuple[Any, ...] = (n, item.kind, item.step, item.call, data, item.at, item.by)  # Any: columns
    return connection.execute(_INSERT_ITEM, values).rowcount == 1
