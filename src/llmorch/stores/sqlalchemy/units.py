"""What the writer does inside a transaction: each function makes the work of one job.

A job may be tried again although it was committed, when the connection was lost before the server said so: each work
finds what it did itself and answers as it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..._json import dumps
from ...errors import AlreadyAnswered, ClaimLost, IdempotencyConflict, StoreError
from ...event_late import late_items
from ...events import Event, StepFailed, StepSkipped, StepSucceeded
from ...models.values import Data
from ...ports import AppendReply, Claim, InboxItem, RunRow
from .._rows import EventColumns, asked, row_of, totals_text, unit_of
from .claims import FINAL, is_waiting, locked
from .leases import Leases
from .queries import FROM_RUNS, IS_WAITING, not_found
from .session import NOW, Session

__all__ = ["Units"]

_KNOWN_DEFINITION = "SELECT n FROM definitions WHERE sha = %(sha)s AND (body IS NOT NULL OR %(body)s::bytea IS NULL)"
_INSERT_DEFINITION = (
    "INSERT INTO definitions(sha, body) VALUES (%(sha)s, %(body)s) "
    "ON CONFLICT (sha) DO UPDATE SET body = coalesce(definitions.body, excluded.body) RETURNING n"
)
_INSERT_RUN = (
    "INSERT INTO runs(id, idempotency_key, workflow, definition, inputs_sha, status, epoch, owner, lease_until, "
    "last_seq, wake_at, recoveries, tags, created_at, finished_at, totals) "
    "VALUES (%(id)s, %(key)s, %(workflow)s, %(definition)s, %(inputs)s, %(status)s, %(epoch)s, %(owner)s, "
    f"CASE WHEN %(owner)s::text IS NULL THEN NULL ELSE {NOW} + %(lease)s END, "
    "%(last)s, %(wake)s, %(recoveries)s, %(tags)s::text[], %(created)s, %(finished)s, %(totals)s) "
    f"ON CONFLICT DO NOTHING RETURNING n, lease_until"
)
_EVENT_ROWS = (
    "unnest(%(seqs)s::bigint[], %(kinds)s::text[], %(steps)s::text[], %(calls)s::bigint[], %(ats)s::bigint[], "
    "%(bodies)s::bytea[], %(sums)s::bytea[])"
)
_INSERT_EVENTS = (
    f"INSERT INTO events(run, seq, kind, step, call, at, data, sum) SELECT %(n)s::bigint, e.* FROM {_EVENT_ROWS} e"
)
_RENEWED = f"CASE WHEN owner IS NULL THEN NULL ELSE {NOW} + %(lease)s END"
_GUARD = "WHERE id = %(id)s AND epoch = %(epoch)s AND last_seq = %(before)s"
_ADVANCE = (
    "UPDATE runs SET last_seq = %(last)s, recoveries = recoveries * %(factor)s, "
    f"lease_until = {_RENEWED} {_GUARD} RETURNING n"
)
_ENTER = (
    "UPDATE runs SET last_seq = %(last)s, recoveries = recoveries * %(factor)s, status = %(status)s, "
    "wake_at = %(wake)s, "
    f"finished_at = CASE WHEN %(is_final)s THEN coalesce(finished_at, {NOW}) END, "
    "owner = CASE WHEN %(is_final)s THEN NULL ELSE owner END, totals = coalesce(%(totals)s, totals), "
    f"lease_until = CASE WHEN %(is_final)s THEN NULL ELSE {_RENEWED} END {_GUARD} RETURNING n"
)
# One statement for a whole unit: the guard decides whether there is anything to insert.
_UNIT = (
    "WITH r AS ({}), e AS (INSERT INTO events(run, seq, kind, step, call, at, data, sum) "
    f"SELECT r.n, u.* FROM r, {_EVENT_ROWS} u) "
    f"SELECT r.n, {IS_WAITING} FROM r"
)
_TAKE = (
    "UPDATE inbox SET taken = true, data = NULL FROM "
    "unnest(%(kinds)s::text[], %(steps)s::text[], %(calls)s::bigint[]) i(kind, step, call) "
    "WHERE inbox.run = %(n)s AND inbox.kind = i.kind AND inbox.step = i.step AND inbox.call = i.call"
)
_INSERT_ITEM = (
    "INSERT INTO inbox(run, kind, step, call, data, at, by) "
    "VALUES (%(n)s, %(kind)s, %(step)s, %(call)s, %(data)s, %(at)s, %(by)s) ON CONFLICT DO NOTHING"
)


class Units:
    """Makes the work of each writing method of the store.

    Args:
        leases: Where claims are kept that were committed.
        where: The database, for texts.
    """

    def __init__(self, leases: Leases, where: str) -> None:
        self._leases = leases
        self._where = where

    def create(
        self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None
    ) -> Callable[[Session], RunRow]:
        """Put the run, its definition and its first events; see `RunStore.create`."""
        unit = unit_of(first)
        last_seq = unit[-1][0] if unit else 0
        body = None if definition is None else dumps(definition).encode("ascii")
        values: dict[str, object] = {
            "id": row.id, "key": row.idempotency_key, "workflow": row.workflow, "inputs": row.inputs_sha,
            "status": row.status, "epoch": row.epoch, "owner": row.owner, "lease": self._leases.lease_us,
            "last": last_seq, "wake": row.wake_at, "recoveries": row.recoveries,
            "tags": [dumps(tag) for tag in row.tags], "created": row.created_at, "finished": row.finished_at,
            "totals": dumps(row.totals),
        }  # fmt: skip

        def work(session: Session) -> RunRow:
            known = self._known(session, row, unit)
            if known is None:
                made = session.row(
                    _INSERT_RUN, values | {"definition": self._definition(session, row.definition_sha, body)}
                )
                if made is not None:
                    n, lease_until = made
                    session.run(_INSERT_EVENTS, {"n": n, **_columns(unit)})
                    self._keep(session, row)
                    return replace(row, last_seq=last_seq, lease_until=lease_until)
                known = self._known(session, row, unit)  # another was quicker
            if known is None:
                raise StoreError(f"The store {self._where} has another run of the id {row.id}; give a new id")
            if known.id == row.id:
                self._keep(session, row)
            return known

        return work

    def _keep(self, session: Session, row: RunRow) -> None:
        if row.owner is not None:
            session.after_commit(lambda: self._leases.keep(row.id, row.epoch))

    def _definition(self, session: Session, sha: str, body: bytes | None) -> int | None:
        """The number of the definition; one that is there already is not locked."""
        if not sha:
            return None
        values = {"sha": sha, "body": body}
        found = session.row(_KNOWN_DEFINITION, values) or session.row(_INSERT_DEFINITION, values)
        assert found is not None  # an upsert gives its row
        n: int = found[0]
        return n

    def _known(self, session: Session, row: RunRow, unit: Sequence[EventColumns]) -> RunRow | None:
        """The run that was created with this key, or this very run when its creation is tried again."""
        same = session.row(f"{FROM_RUNS} WHERE r.id = %(id)s", {"id": row.id})
        if same is not None and self._has(session, row.id, unit):
            return row_of(same)
        if row.idempotency_key is None:
            return None
        found = session.row(f"{FROM_RUNS} WHERE r.idempotency_key = %(key)s", {"key": row.idempotency_key})
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

    def _has(self, session: Session, run_id: str, unit: Sequence[EventColumns]) -> bool:
        """Whether the log holds exactly these events at their seqs."""
        if not unit:
            return False
        kept = session.rows(
            "SELECT e.seq, e.sum FROM events e JOIN runs r ON r.n = e.run "
            "WHERE r.id = %(id)s AND e.seq BETWEEN %(first)s AND %(last)s ORDER BY e.seq",
            {"id": run_id, "first": unit[0][0], "last": unit[-1][0]},
        )
        return [tuple(one) for one in kept] == [(columns[0], columns[6]) for columns in unit]

    def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        unit: Sequence[EventColumns],
        status: str | None,
        consumed: Sequence[InboxItem],
        wake_at: int | None,
    ) -> Callable[[Session], AppendReply]:
        """Add one unit; see `RunStore.append`."""
        claim = replace(claim)  # its holder may move it on
        follows = not unit or unit[0][0] == claim.last_seq + 1
        is_record = any(isinstance(event, StepSucceeded | StepFailed | StepSkipped) for event in events)
        values: dict[str, object] = {
            "id": claim.run_id, "epoch": claim.epoch, "before": claim.last_seq, "last": claim.last_seq + len(unit),
            "factor": 0 if is_record else 1, "lease": self._leases.lease_us, **_columns(unit),
        }  # fmt: skip
        query = _UNIT.format(_ADVANCE)
        if status is not None:
            query = _UNIT.format(_ENTER)
            values |= {"status": status, "wake": wake_at, "is_final": status in FINAL, "totals": totals_text(events)}

        def work(session: Session) -> AppendReply:
            found = session.row(query, values) if follows else None
            if found is None:
                return self._refuse(session, claim, events, unit)
            n, has_more = found
            if consumed:
                session.run(_TAKE, {"n": n, **_places(consumed)})
                has_more = is_waiting(session, n)
            if status in FINAL:
                session.after_commit(lambda: self._leases.drop(claim.run_id, claim.epoch))
            return AppendReply(claim.last_seq + len(unit), bool(has_more))

        return work

    def _refuse(
        self, session: Session, claim: Claim, events: Sequence[Event], unit: Sequence[EventColumns]
    ) -> AppendReply:
        """Say why a unit is not for this log, and keep what was paid for.

        Under the same epoch nothing is late: a unit that is there already was committed before its caller heard of it.
        """
        n, owner, epoch, last_seq, _ = locked(session, claim.run_id)
        if epoch != claim.epoch:
            now: int = (session.row(f"SELECT {NOW}") or (0,))[0]
            for item in late_items(events, at=now):
                _insert_item(session, n, item)
            self._leases.drop(claim.run_id, claim.epoch)
            why = f"is owned by {owner or 'nobody'} now (epoch {epoch}, not {claim.epoch}); attach to it to watch it"
            raise ClaimLost(f"Run {claim.run_id} {why}", run_id=claim.run_id)
        first = unit[0][0] if unit else claim.last_seq + 1
        if unit and first == claim.last_seq + 1 and self._has(session, claim.run_id, unit):
            return AppendReply(unit[-1][0], is_waiting(session, n))
        raise ClaimLost(
            f"Run {claim.run_id} is at event {last_seq}; a unit that begins with event {first} after event "
            f"{claim.last_seq} does not follow it, and nothing was written",
            run_id=claim.run_id,
        )

    def post(self, run_id: str, item: InboxItem) -> Callable[[Session], None]:
        """Leave an item; see `RunStore.post`."""
        data = dumps(item.data).encode("ascii")  # what is no JSON is refused before it stands in anybody's way
        was_put = False

        def work(session: Session) -> None:
            nonlocal was_put
            n, *_ = locked(session, run_id)
            if _insert_item(session, n, item):
                was_put = True
                return
            kept = session.row(
                "SELECT taken, data, at, by FROM inbox "
                "WHERE run = %(n)s AND kind = %(kind)s AND step = %(step)s AND call = %(call)s",
                {"n": n, "kind": item.kind, "step": item.step, "call": item.call},
            )
            if was_put and kept is not None and (kept[0] or tuple(kept[1:]) == (data, item.at, item.by)):
                return
            where = f"step {item.step!r} of run {run_id}" if item.step else f"run {run_id}"
            raise AlreadyAnswered(
                f"There was a {item.kind!r} for {where} before; the first one counts",
                step=item.step or None,
                run_id=run_id,
            )

        return work

    def delete(self, run_id: str) -> Callable[[Session], None]:
        """Forget a run, its log, its inbox, and its definition if no other run was made of it."""
        was_deleted = False

        def work(session: Session) -> None:
            nonlocal was_deleted
            found = session.row("DELETE FROM runs WHERE id = %(id)s RETURNING definition", {"id": asked(run_id)})
            if found is None and not was_deleted:
                raise not_found(run_id, self._where)
            was_deleted = True
            if found is not None and found[0] is not None:
                session.run(
                    "DELETE FROM definitions WHERE n = %(n)s AND NOT EXISTS "
                    "(SELECT 1 FROM runs WHERE definition = %(n)s)",
                    {"n": found[0]},
                )

        return work


def _insert_item(session: Session, n: int, item: InboxItem) -> bool:
    """Whether it is the first of its kind, step and call."""
    data = dumps(item.data).encode("ascii")
    values = {
        "n": n, "kind": item.kind, "step": item.step, "call": item.call, "data": data, "at": item.at, "by": item.by,
    }  # fmt: skip
    return session.run(_INSERT_ITEM, values) == 1


def _columns(unit: Sequence[EventColumns]) -> dict[str, object]:
    """The columns of a unit as one list each."""
    names = ("seqs", "kinds", "steps", "calls", "ats", "bodies", "sums")
    return {name: [columns[at] for columns in unit] for at, name in enumerate(names)}


def _places(items: Sequence[InboxItem]) -> dict[str, object]:
    return {
        "kinds": [item.kind for item in items],
        "steps": [item.step for item in items],
        "calls": [item.call for item in items],
    }
