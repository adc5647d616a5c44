"""What the reader does: each function makes the work of one job, which is one statement and so sees one state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..._json import dumps, loads
from ...errors import RunNotFound, StoreCorrupt
from ...events import Event
from ...models.values import Data
from ...ports import InboxItem, RunRow
from .._rows import asked, events_of, item_of, row_of
from .session import NOW, Session

__all__ = ["FROM_RUNS", "IS_ALIVE", "IS_WAITING", "Queries", "not_found"]

IS_ALIVE = f"(r.owner IS NOT NULL AND coalesce(r.lease_until > {NOW}, false))"
IS_WAITING = "EXISTS(SELECT 1 FROM inbox WHERE run = r.n AND NOT taken)"
# Who let the lease run out carries the run out no more.
FROM_RUNS = (
    f"SELECT r.id, r.workflow, r.status, r.epoch, CASE WHEN {IS_ALIVE} THEN r.owner END, r.last_seq, r.created_at, "
    "r.finished_at, r.idempotency_key, coalesce(d.sha, ''), r.inputs_sha, '[' || array_to_string(r.tags, ',') || ']', "
    f"r.totals, CASE WHEN {IS_ALIVE} THEN r.lease_until END, r.wake_at, r.recoveries "
    "FROM runs r LEFT JOIN definitions d ON d.n = r.definition"
)

_PAGE = (
    "SELECT r.last_seq, e.seq, e.kind, e.step, e.call, e.at, e.data, e.sum FROM runs r LEFT JOIN LATERAL "
    "(SELECT * FROM events WHERE run = r.n AND seq > %(after)s ORDER BY seq LIMIT %(limit)s) e ON true "
    "WHERE r.id = %(id)s ORDER BY e.seq"
)
_INBOX = (
    "SELECT i.kind, i.step, i.call, i.data, i.at, i.by FROM runs r LEFT JOIN inbox i ON i.run = r.n AND NOT i.taken "
    "WHERE r.id = %(id)s ORDER BY i.n"
)
_OPEN = (
    f"{FROM_RUNS} WHERE r.status IN ('running', 'waiting') AND NOT {IS_ALIVE} AND "
    f"(r.status = 'running' OR coalesce(r.wake_at <= {NOW}, false) OR {IS_WAITING}) ORDER BY r.id LIMIT %(limit)s"
)
_FILTERS = {
    "workflow": "r.workflow = %(workflow)s",
    "status": "r.status = %(status)s",
    "tag": "%(tag)s = ANY(r.tags)",
    "since": "r.created_at >= %(since)s",
    "before": "r.id < %(before)s",
}


def not_found(run_id: str, where: str) -> RunNotFound:
    """There is no such run in this store."""
    return RunNotFound(f"There is no run {run_id!r} in the store {where}; it may have been deleted", run_id=run_id)


class Queries:
    """Makes the work of each reading method of the store.

    Args:
        where: The database, for texts.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def row(self, run_id: str) -> Callable[[Session], RunRow]:
        """One row; see `RunStore.load`."""

        def work(session: Session) -> RunRow:
            found = session.row(f"{FROM_RUNS} WHERE r.id = %(id)s", {"id": asked(run_id)})
            if found is None:
                raise not_found(run_id, self._where)
            return row_of(found)

        return work

    def page(self, run_id: str, *, after: int, limit: int) -> Callable[[Session], list[Event]]:
        """A page of a log, checked; see `RunStore.events`."""

        def work(session: Session) -> list[Event]:
            found = session.rows(_PAGE, {"id": asked(run_id), "after": after, "limit": limit})
            if not found:
                raise not_found(run_id, self._where)
            columns = [(*rest,) for _, *rest in found if rest[0] is not None]
            return events_of(run_id, after=after, last_seq=found[0][0], limit=limit, found=columns)

        return work

    def rows(self, filters: Mapping[str, str | int | None], *, limit: int) -> Callable[[Session], list[RunRow]]:
        """Rows, newest first; see `RunStore.list_runs`."""
        values: dict[str, object] = {name: value for name, value in filters.items() if value is not None}
        where = " AND ".join(_FILTERS[name] for name in values) or "TRUE"
        if "tag" in values:
            values["tag"] = dumps(values["tag"])
        values["limit"] = limit
        query = f"{FROM_RUNS} WHERE {where} ORDER BY r.id DESC LIMIT %(limit)s"
        return lambda session: [row_of(found) for found in session.rows(query, values)]

    def inbox(self, run_id: str) -> Callable[[Session], list[InboxItem]]:
        """What waits for the owner; see `RunStore.inbox`."""

        def work(session: Session) -> list[InboxItem]:
            found = session.rows(_INBOX, {"id": asked(run_id)})
            if not found:
                raise not_found(run_id, self._where)
            return [item_of(run_id, columns) for columns in found if columns[0] is not None]

        return work

    def definition(self, sha: str) -> Callable[[Session], Mapping[str, Data] | None]:
        """The body of a definition; see `RunStore.definition`."""

        def work(session: Session) -> Mapping[str, Data] | None:
            found = session.row("SELECT body FROM definitions WHERE sha = %(sha)s", {"sha": sha})
            if found is None or found[0] is None:
                return None
            try:
                body: Mapping[str, Data] = loads(found[0])
            except ValueError as error:
                raise StoreCorrupt(f"The definition {sha} in {self._where} cannot be read: {error}") from error
            return body

        return work

    def recoverable(self, *, limit: int) -> Callable[[Session], list[RunRow]]:
        """Open runs without a living owner, by the server's clock; see `RunStore.recoverable`."""
        return lambda session: [row_of(found) for found in session.rows(_OPEN, {"limit": limit})]
