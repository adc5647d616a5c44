"""The columns of a run's row, and how events are put into their table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from .._rows import EventColumns

__all__ = ["RUN_COLUMNS", "Work", "insert_events"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""What a lane of a SQLite store does inside a transaction."""

RUN_COLUMNS = (
    "r.id, r.workflow, r.status, r.epoch, r.owner, r.last_seq, r.created_at, r.finished_at, r.idempotency_key, "
    "coalesce(d.sha, ''), r.inputs_sha, r.tags, r.totals, r.lease_until, r.wake_at, r.recoveries"
)

_ROWS = 8  # of one INSERT
_INSERTS = [
    "INSERT INTO events(run, seq, kind, step, call, at, data, sum) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * count)
    for count in range(_ROWS + 1)
]


def insert_events(connection: sqlite3.Connection, unit: Sequence[EventColumns], *, run: int) -> None:
    """Put events of the run with that number, several with each statement.

    `executemany` lets go of Python's lock for each row, and has to wait for it while an event loop is at work.
    """
    for at in range(0, len(unit), _ROWS):
        part = unit[at : at + _ROWS]
        connection.execute(_INSERTS[len(part)], [value for columns in part for value in (run, *columns)])
