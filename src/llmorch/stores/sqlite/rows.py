"""What the works of a SQLite store share: a run's columns and state, rows of events and of the inbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..._json import dumps
from ...errors import RunNotFound
from ...ports import InboxItem
from .._rows import EventColumns, asked

__all__ = [
    "RUN_COLUMNS", "Work", "has_events", "insert_events", "insert_item", "not_found", "state_of", "values_of",
]  # fmt: skip

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""What a lane of a SQLite store does inside a transaction."""

RUN_COLUMNS = (
    "r.id, r.workflow, r.status, r.epoch, r.owner, r.last_seq, r.created_at, r.finished_at, r.idempotency_key, "
    "coalesce(d.sha, ''), r.inputs_sha, r.tags, r.totals, r.lease_until, r.wake_at, r.recoveries"
)

_COLUMNS = 8
_ROWS = 16  # of one statement, at most
_INSERTS = [
    "INSERT INTO events(run, seq, kind, step, call, at, data, sum) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * count)
    for count in range(_ROWS + 1)
]
_INSERT_ITEM = "INSERT OR IGNORE INTO inbox(run, kind, step, call, data, at, by) VALUES (?, ?, ?, ?, ?, ?, ?)"


def values_of(unit: Sequence[EventColumns], *, run: int) -> list[Any]:  # Any: columns
    """The values of the rows of that run's events, one after the other."""
    return [value for columns in unit for value in (run, *columns)]


def insert_events(connection: sqlite3.Connection, values: Sequence[Any]) -> None:  # Any: as above
    """Put events, several with each statement.

    `executemany` lets go of Python's lock for each row, and has to wait for it while an event loop is at work.

    Args:
        values: As `values_of` gives them.
    """
    for at in range(0, len(values), _COLUMNS * _ROWS):
        part = values[at : at + _COLUMNS * _ROWS]
        connection.execute(_INSERTS[len(part) // _COLUMNS], part)


def insert_item(connection: sqlite3.Connection, item: InboxItem, *, run: int) -> bool:
    """Whether it is the first of its kind, step and call."""
    data = dumps(item.data).encode("ascii")
    values: tuple[Any, ...] = (run, item.kind, item.step, item.call, data, item.at, item.by)  # Any: columns
    return connection.execute(_INSERT_ITEM, values).rowcount == 1


def has_events(connection: sqlite3.Connection, unit: Sequence[EventColumns], *, run_id: str) -> bool:
    """Whether the log holds exactly these events at their seqs."""
    if not unit:
        return False
    kept = connection.execute(
        "SELECT e.seq, e.sum FROM events e JOIN runs r ON r.n = e.run WHERE r.id = ? AND e.seq BETWEEN ? AND ? "
        "ORDER BY e.seq",
        (run_id, unit[0][0], unit[-1][0]),
    ).fetchall()
    return kept == [(columns[0], columns[6]) for columns in unit]


def state_of(connection: sqlite3.Connection, run_id: str, *, where: object) -> tuple[int, str | None, int, int]:
    """n, owner, epoch and last seq of a run.

    Args:
        where: The store's path, for texts.

    Raises:
        RunNotFound: It is not there.
    """
    query = "SELECT n, owner, epoch, last_seq FROM runs WHERE id = ?"
    found = connection.execute(query, (asked(run_id),)).fetchone()
    if found is None:
        raise not_found(run_id, where)
    n, owner, epoch, last_seq = found
    return n, owner, epoch, last_seq


def not_found(run_id: str, where: object) -> RunNotFound:
    """There is no such run in this store."""
    return RunNotFound(f"There is no run {run_id!r} in the store {where}; it may have been deleted", run_id=run_id)
