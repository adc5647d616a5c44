"""What the reader does in one snapshot: each function makes the work of one job."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..._json import loads
from ...errors import StoreCorrupt
from ...events import Event
from ...models.values import Data
from ...ports import InboxItem, RunRow
from .._rows import asked, events_of, item_of, row_of
from .owners import Owners
from .rows import RUN_COLUMNS, Work, not_found

__all__ = ["FROM_RUNS", "Queries"]

FROM_RUNS = f"SELECT {RUN_COLUMNS} FROM runs r LEFT JOIN definitions d ON d.n = r.definition"

_PAGE = (
    "SELECT seq, kind, step, call, at, data, sum FROM events "
    "WHERE run = (SELECT n FROM runs WHERE id = ?) AND seq > ? ORDER BY seq LIMIT ?"
)
_INBOX = (
    "SELECT kind, step, call, data, at, by FROM inbox "
    "WHERE run = (SELECT n FROM runs WHERE id = ?) AND taken = 0 ORDER BY n"
)
_OPEN = (
    f"{FROM_RUNS} WHERE r.status IN ('running', 'waiting') AND (r.status = 'running' OR r.wake_at <= ? OR "
    "EXISTS (SELECT 1 FROM inbox WHERE run = r.n AND taken = 0)) ORDER BY r.id"
)
_FILTERS = {
    "workflow": "r.workflow = ?",
    "status": "r.status = ?",
    "tag": "EXISTS (SELECT 1 FROM json_each(r.tags) WHERE value = ?)",
    "since": "r.created_at >= ?",
    "before": "r.id < ?",
}


class Queries:
    """Makes the work of each reading method of the store.

    Args:
        owners: Who lives.
        path: The store's file, for texts.
    """

    def __init__(self, owners: Owners, path: Path) -> None:
        self._owners = owners
        self._path = path

    def row(self, run_id: str) -> Work[RunRow]:
        """One row; see `RunStore.load`."""
        return lambda connection: self._seen(self._row(connection, run_id))

    def _seen(self, row: RunRow) -> RunRow:
        """The row as others see it: an owner that died carries nothing out."""
        if row.owner is None or self._owners.is_alive(row.owner, row.id, epoch=row.epoch):
            return row
        return replace(row, owner=None)

    def _row(self, connection: sqlite3.Connection, run_id: str) -> RunRow:
        found = connection.execute(f"{FROM_RUNS} WHERE r.id = ?", (asked(run_id),)).fetchone()
        if found is None:
            raise not_found(run_id, self._path)
        return row_of(found)

    def page(self, run_id: str, *, after: int, limit: int) -> Work[list[Event]]:
        """A page of a log, checked; see `RunStore.events`."""

        def work(connection: sqlite3.Connection) -> list[Event]:
            last_seq = self._row(connection, run_id).last_seq
            found = connection.execute(_PAGE, (run_id, after, limit)).fetchall()
            return events_of(run_id, after=after, last_seq=last_seq, limit=limit, found=found)

        return work

    def rows(self, filters: Mapping[str, str | int | None], *, limit: int) -> Work[list[RunRow]]:
        """Rows, newest first; see `RunStore.list_runs`."""
        given = {name: value for name, value in filters.items() if value is not None}
        where = " AND ".join(_FILTERS[name] for name in given) or "TRUE"
        query = f"{FROM_RUNS} WHERE {where} ORDER BY r.id DESC LIMIT ?"
        values = [*given.values(), limit]
        return lambda connection: [self._seen(row_of(found)) for found in connection.execute(query, values)]

    def inbox(self, run_id: str) -> Work[list[InboxItem]]:
        """What waits for the owner; see `RunStore.inbox`."""

        def work(connection: sqlite3.Connection) -> list[InboxItem]:
            self._row(connection, run_id)
            return [item_of(run_id, columns) for columns in connection.execute(_INBOX, (run_id,))]

        return work

    def definition(self, sha: str) -> Work[Mapping[str, Data] | None]:
        """The body of a definition; see `RunStore.definition`."""

        def work(connection: sqlite3.Connection) -> Mapping[str, Data] | None:
            found = connection.execute("SELECT body FROM definitions WHERE sha = ?", (sha,)).fetchone()
            if found is None or found[0] is None:
                return None
            try:
                body: Mapping[str, Data] = loads(found[0])
            except ValueError as error:
                raise StoreCorrupt(f"The definition {sha} in {self._path} cannot be read: {error}") from error
            return body

        return work

    def recoverable(self, *, now: int, limit: int) -> Work[list[RunRow]]:
        """Open runs without a living owner; see `RunStore.recoverable`."""

        def work(connection: sqlite3.Connection) -> list[RunRow]:
            rows: list[RunRow] = []
            for found in connection.execute(_OPEN, (now,)):
                row = row_of(found)
                if row.owner is None or not self._owners.is_alive(row.owner, row.id, epoch=row.epoch):
                    rows.append(row)
                if len(rows) >= limit:
                    break
            return rows

        return work
