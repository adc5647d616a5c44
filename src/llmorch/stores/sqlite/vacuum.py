"""Making the file smaller after runs were deleted."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from ..._clock import monotonic
from .faults import Locked, Trouble, error_of, trouble_of
from .hold import Hold
from .locks import CheckpointLock
from .place import Place

__all__ = ["Vacuumed", "vacuumed"]

_INCREMENTAL = 2
_SLICE_PAGES = 256
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What `SqliteStore.vacuum` gained; bytes of the database and its log together."""

    before: int
    after: int


def vacuumed(place: Place, *, patience_s: float, on_step: Callable[[], object]) -> Vacuumed:
    """Shrink the file; see `SqliteStore.vacuum`."""
    before = _bytes(place)
    hold = Hold(place)
    gate = CheckpointLock(place.checkpoint)
    try:
        with closing(_opened(place)) as connection:
            if connection.execute("PRAGMA auto_vacuum").fetchone() == (_INCREMENTAL,):
                while _freed(connection, gate, patience_s=patience_s):
                    on_step()
            else:
                with _alone(connection, gate, patience_s=patience_s):
                    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                    connection.execute("VACUUM")
            with _alone(connection, gate, patience_s=patience_s):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except (sqlite3.Error, OSError, Locked) as error:
        raise error_of(trouble_of(error), error, path=place.database, waited_s=patience_s) from error
    finally:
        gate.close()
        hold.close()
    return Vacuumed(before, _bytes(place))


def _bytes(place: Place) -> int:
    return place.database.stat().st_size + place.wal_bytes()


def _opened(place: Place) -> sqlite3.Connection:
    connection = sqlite3.connect(
        place.writer_uri(), uri=True, timeout=1.0, isolation_level=None, check_same_thread=False
    )
    for setting in ("synchronous = FULL", "wal_autocheckpoint = 0", "mmap_size = 0", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _freed(connection: sqlite3.Connection, gate: CheckpointLock, *, patience_s: float) -> bool:
    """Give some pages back; False when there are none."""
    if connection.execute("PRAGMA freelist_count").fetchone() == (0,):
        return False
    with _begun(connection, patience_s=patience_s):
        gate.share()
        try:
            connection.execute(f"PRAGMA incremental_vacuum({_SLICE_PAGES})").fetchall()
            connection.execute("COMMIT")
        finally:
            gate.release()
    return True


@contextmanager
def _alone(connection: sqlite3.Connection, gate: CheckpointLock, *, patience_s: float) -> Generator[None, None, None]:
    """Nobody writes or checkpoints while the block runs."""
    with _begun(connection, patience_s=patience_s):  # who writes alone finds nobody else at the gate for long
        _tried(lambda: _take_alone(gate), patience_s=patience_s)
    try:
        yield
    finally:
        gate.release()


@contextmanager
def _begun(connection: sqlite3.Connection, *, patience_s: float) -> Generator[None, None, None]:
    """A transaction that writes; undone at the end, unless it was committed."""
    _tried(lambda: connection.execute("BEGIN IMMEDIATE"), patience_s=patience_s)
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _take_alone(gate: CheckpointLock) -> None:
    if not gate.take_alone():
        raise Locked("another process moves the write-ahead log into the database")


def _tried(work: Callable[[], object], *, patience_s: float) -> None:
    """Do it as soon as nobody stands in its way."""
    due = monotonic() + patience_s
    pause = threading.Event()
    while True:
        try:
            work()
        except (sqlite3.Error, Locked) as error:
            if trouble_of(error) is not Trouble.BUSY or monotonic() >= due:
                raise
            pause.wait(_PAUSE_S * random.uniform(0.5, 1.5))
        else:
            return
