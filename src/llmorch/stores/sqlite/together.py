"""Plain units of several runs, added by one statement.

Python's lock is let go of while a statement runs, and whoever wants it back has to wait until the event loop has
nothing to do. A commit that is a single statement therefore goes on beside the loop; of five, four wait for it.

A row of the view is two events of a unit, as most have: SQLite puts several rows aside first, and a single one not.
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

_EVENT = ("seq", "kind", "step", "call", "at", "data", "sum")
_COLUMNS = ("id", "epoch", "last", "factor", *_EVENT, *(f"{name}2" for name in _EVENT))

PREPARED = (
    f"CREATE TEMP VIEW units({', '.join(_COLUMNS)}) AS SELECT {', '.join(['NULL'] * len(_COLUMNS))} WHERE 0",
    """CREATE TEMP TRIGGER units_added INSTEAD OF INSERT ON units WHEN NEW.id <> 0 BEGIN
        UPDATE runs SET last_seq = NEW.last, recoveries = recoveries * NEW.factor
            WHERE NEW.last > 0 AND id = NEW.id AND epoch = NEW.epoch AND last_seq = NEW.seq - 1
            AND NOT EXISTS(SELECT 1 FROM inbox WHERE run = runs.n AND taken = 0);
        SELECT RAISE(ABORT, 'refused') WHERE NEW.last > 0 AND changes() = 0;
        INSERT INTO events(run, seq, kind, step, call, at, data, sum)
            SELECT n, NEW.seq, NEW.kind, NEW.step, NEW.call, NEW.at, NEW.data, NEW.sum FROM runs WHERE id = NEW.id;
        INSERT INTO events(run, seq, kind, step, call, at, data, sum)
            SELECT n, NEW.seq2, NEW.kind2, NEW.step2, NEW.call2, NEW.at2, NEW.data2, NEW.sum2 FROM runs
            WHERE NEW.seq2 > 0 AND id = NEW.id;
    END""",
)
"""What a connection needs for it; it stands in no file."""

# Not None: for each of those, sqlite3 looks for an adapter. An id is a text, so that none is taken for the number.
_NO_EVENT = (0,) * len(_EVENT)
_NO_ROW = (0,) * len(_COLUMNS)


def _put(rows: int) -> str:
    row = f"({', '.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO temp.units VALUES {', '.join([row] * rows)}"


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
        unit = append.unit
        for at in range(0, len(unit), 2):
            values += head
            values += unit[at]
            values += unit[at + 1] if at + 1 < len(unit) else _NO_EVENT
            head = (run_id, 0, 0, 0)  # a run's own row changes once for a unit
    rows = len(values) // len(_COLUMNS)
    size = 1 << (rows - 1).bit_length()  # few sizes, as each statement is kept
    values += _NO_ROW * (size - rows)
    try:
        connection.execute(_PUTS[size], values)
    except (sqlite3.IntegrityError, OverflowError):
        return None
    return [AppendReply(append.last_seq) for append in appends]
