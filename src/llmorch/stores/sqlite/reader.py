"""The connection that reads: a thread of its own, a snapshot for each job, and nothing held between two of them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import suppress

from ..._clock import monotonic
from ...errors import LLMOrchError, StoreError
from .._lane import Job, Lane
from .faults import Locked, Trouble, error_of, trouble_of
from .hold import Hold
from .place import Place
from .schema import version_of

__all__ = ["Reader"]

_PAUSE_S = 0.02


class Reader:
    """Carries out jobs that only read, one after the other, on a thread of its own.

    Args:
        busy_s: For how long SQLite itself waits for a lock, in seconds.
    """

    def __init__(self, place: Place, *, busy_s: float) -> None:
        self._place = place
        self._busy_s = busy_s
        self._connection: sqlite3.Connection | None = None
        self._hold: Hold | None = None
        self._is_still = False  # it takes the file for one that never changes, so it is used once
        self._opened_times = 0
        self.lane = Lane(f"llmorch-read-{place.database.name}", self._attempt, at_end=self._close)

    def revision(self, connection: sqlite3.Connection) -> int:
        """A number that changes with every commit; the work of a job.

        SQLite's own number tells of what other connections committed, and only as long as one connection asks.

        Source: https://www.sqlite.org/pragma.html#pragma_data_version (2025-07).
        """
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        return (self._opened_times << 32) + int(version)

    def _attempt(self, jobs: list[Job[object]]) -> list[Job[object]]:
        waiting = [job for job in jobs if not self._is_settled(job)]
        if waiting:
            self.lane.pause(_PAUSE_S * random.uniform(0.5, 1.5))
        return waiting

    def _is_settled(self, job: Job[object]) -> bool:
        """Whether the job has its answer; else it is to be tried again."""
        if job.is_withdrawn:
            job.fail(StoreError("the caller was cancelled"))
            return True
        try:
            job.finish(self._read(job))
        except LLMOrchError as error:
            job.fail(error)
        except Exception as error:  # whatever went wrong, somebody waits to be told
            trouble = trouble_of(error)
            is_over = job.due is not None and monotonic() >= job.due
            if trouble is Trouble.BUSY and not is_over and not self.lane.is_stopping.is_set():
                return False
            if trouble is not Trouble.GONE:  # else what it sees is all there is of what was committed
                self._close()
            job.fail(error_of(trouble, error, path=self._place.database, waited_s=job.patience_s or 0.0))
        return True

    def _read(self, job: Job[object]) -> object:
        connection = self._opened()
        connection.execute("BEGIN")
        try:
            return job.work(connection)
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            if self._is_still:
                self._close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._hold is not None:
            self._hold.check()
            if self._hold.log() == "same":
                return self._connection
            self._close()
        self._place.check()
        self._hold = Hold(self._place)  # first: the file may be replaced while it is opened
        try:
            self._connection = self._open_somehow()
            self._opened_times += 1
            if not self._hold.is_good:
                raise Locked("the file was replaced while it was opened")
            self._hold.log()
        except BaseException:
            self._close()
            raise
        return self._connection

    def _open_somehow(self) -> sqlite3.Connection:
        try:
            return self._open(self._place.reader_uri())
        except sqlite3.Error as error:
            uri = self._place.still_uri()
            if trouble_of(error) is not Trouble.REFUSED or uri is None or not self._place.database.exists():
                raise
            connection = self._open(uri)  # a folder that this user may not write to
            self._is_still = True
            return connection

    def _open(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA mmap_size = 0")
            connection.execute("PRAGMA trusted_schema = OFF")
            version_of(connection, self._place.database)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        hold, self._hold = self._hold, None
        self._is_still = False
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if hold is not None:
            hold.close()
