"""A connection's hold on its files: whether they still are what was opened, and who in this process has them open."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ..._clock import monotonic
from .faults import Gone
from .place import Place

__all__ = ["Hold", "is_open_here"]

_LOOK_EVERY_S = 0.05  # asking costs as much as a small commit
_open_here: Counter[Path] = Counter()
_guard = threading.Lock()


def _in_child() -> None:
    """The connections are the parent's."""
    global _guard
    _guard = threading.Lock()
    _open_here.clear()


os.register_at_fork(after_in_child=_in_child)


class Hold:
    """Made before a connection is opened and closed after it.

    SQLite goes on with a file that was deleted, moved or replaced under it, and what it commits is then nowhere.

    Source: https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use (2025-05).

    Attributes:
        looked_at: When the files were found to be the same; 0 is never.

    Args:
        place: Whose database is opened.
    """

    def __init__(self, place: Place) -> None:
        self.looked_at = 0.0
        self._database = place.database
        self._log = place.wal
        self._first = _identity(self._database)
        self._first_log: tuple[int, int] | None = None
        self._name = Path(os.path.realpath(self._database))
        with _guard:
            _open_here[self._name] += 1

    @property
    def is_good(self) -> bool:
        """Whether the file at the path is the one that was opened."""
        return _identity(self._database) == self._first

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at the files again."""
        return monotonic() >= self.looked_at + _LOOK_EVERY_S

    def look_ahead(self) -> None:
        """Look before it is due; called when something was committed, and the event loop still waits to be told.

        Between two commits the loop has the answers of the first, and the thread that wants to begin the second would
        wait for Python's lock, of which each look lets go, until the loop has nothing left to do. What is wrong is for
        the next look to say, when it is due: what was committed is committed.
        """
        now = monotonic()
        if now < self.looked_at + _LOOK_EVERY_S / 2:
            return
        with suppress(OSError):
            if self.is_good and self.log() == "same":
                self.looked_at = now

    def check(self) -> None:
        """Be sure that the file at the path is the one that was opened.

        Raises:
            Gone: It is not.
        """
        now = _identity(self._database)
        if now != self._first:
            what = "deleted or moved" if now is None else "replaced by another file"
            raise Gone(f"{self._database.name} was {what}")

    def log(self) -> Literal["same", "missing", "other"]:
        """What became of the write-ahead log since the first call of this after an opening."""
        now = _identity(self._log)
        if self._first_log is None:
            self._first_log = now
        if now == self._first_log:
            return "same"
        return "missing" if now is None else "other"

    def forget_log(self) -> None:
        """The connection was closed and is opened again: it may have another log then."""
        self._first_log = None
        self.looked_at = 0.0

    def close(self) -> None:
        """The connection is closed."""
        with _guard:
            _open_here[self._name] -= 1


def is_open_here(path: Path) -> bool:
    """Whether a store of this process has the file open."""
    with _guard:
        return _open_here[Path(os.path.realpath(path))] > 0


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
