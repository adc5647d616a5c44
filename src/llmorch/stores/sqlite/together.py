"""Plain units of several runs, added by one statement.

Python's lock is let go of while a statement runs, and whoever wants it back has to wait until the event loop has
nothing to do. A commit that is a single statement therefore goes on beside the loop; of five, four wait for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ...ports import AppendReply
from .appends import Append

__all__ = ["MOST", "PREPARED", "together"]

MOST = 512
"""Events of one statement, at most."""

PREPARED = (
    "CREATE TEMP VIEW units(id, epoch, last, factor, seq, kind, step, call, at, data, sum) AS "
    "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0",
    """CREATE TEMP TRIGGER units_added INSTEAD OF INSERT ON units WHEN NEW.id IS NOT NULL BEGIN
        UPDATE runs SET last_seq = NEW.last, recoveries = recoveries * NEW.factor
            WHERE NEW.last IS NOT NULL AND id = NEW.id AND epoch = NEW.epoch AND last_seq = NEW.seq - 1
            AND NOT EXISTS(SELECT 1 FROM inbox WHERE run = runs.n AND taken = 0);
        SELECT RAISE(ABORT, 'refused') WHERE NEW.last IS NOT NULL AND changes() = 0;
        INSERT INTO events(run, seq, kind, step, call, at, data, sum)
            SELECT n, NEW.seq, NEW.kind, NEW.step, NEW.call, NEW.at, NEW.data, NEW.sum FROM runs WHERE id = NEW.id;
    END""",
)
"""What a connection needs for it; it stands in no file."""

_COLUMNS = 11
_NOTHING = (None,) * _COLUMNS


def _put(rows: int) -> str:
    return f"INSERT INTO temp.units VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'] * rows)}"


_PUTS = {1 << power: _put(1 << power) for power in range(MOST.bit_length())}


def together(appends: Sequence[Append], connection: sqlite3.Connection) -> list[AppendReply] | None:
    """Add plain units, as if one after the other: a transaction of its own, unless it is called in one.

    Returns:
        None, with nothing done, when one of them has to be refused, or to be told of its inbox, which it is when it is
        done alone.
    """
    values: list[Any] = []  # Any: columns
    for append in appends:
        run_id, epoch, _ = append.key  # the trigger takes the third from the unit's first event, which follows it
        head: tuple[Any, ...] = (run_id, epoch, append.last_seq, append.factor)  # Any: columns
        for columns in append.unit:
            values += head
            values += columns
            head = (run_id, None, None, None)  # the run's row changes once for a unit
    rows = len(values) // _COLUMNS
    size = 1 << (rows - 1).bit_length()  # few sizes, as each statement is kept
    values += _NOTHING * (size - rows)
    try:
        connection.execute(_PUTS[size], values)
    except (sqlite3.IntegrityError, OverflowError):
        return None
    return [AppendReply(append.last_seq) for append in appends]
