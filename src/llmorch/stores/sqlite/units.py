"""What the writer does inside a transaction: each function makes the work of one job."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..._clock import now_us
from ..._json import dumps
from ...errors import AlreadyAnswered, ClaimLost, IdempotencyConflict
from ...events import Event
from ...models.values import Data
from ...ports import Claim, InboxItem, RunRow
from .._rows import EventColumns, asked, row_of, unit_of
from .appends import FINAL
from .owners import Owners
from .queries import FROM_RUNS
from .rows import Work, has_events, insert_events, insert_item, not_found, state_of, values_of

__all__ = ["Units"]

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
            insert_events(connection, values_of(unit, run=n))
            if row.owner is not None:
                self._owners.keep(row.owner, row.id, epoch=row.epoch)
            return replace(row, last_seq=last_seq)

        return work

    def _known(self, connection: sqlite3.Connection, row: RunRow, unit: Sequence[EventColumns]) -> RunRow | None:
        """The run that was created with this key, or this very run when its creation is tried again."""
        same = connection.execute(f"{FROM_RUNS} WHERE r.id = ?", (row.id,)).fetchone()
        if same is not None and has_events(connection, unit, run_id=row.id):
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

    def claim(self, run_id: str, owner: str, *, takeover: bool) -> Work[Claim]:
        """Change the owner; see `RunStore.claim`."""

        def work(connection: sqlite3.Connection) -> Claim:
            n, former, epoch, last_seq = state_of(connection, run_id, where=self._where)
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
            _, owner, epoch, _ = state_of(connection, claim.run_id, where=self._where)
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
            n, *_ = state_of(connection, run_id, where=self._where)
            if not insert_item(connection, item, run=n):
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
