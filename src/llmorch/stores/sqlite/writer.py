"""The one connection that writes: units of many runs are committed together, each whole or not at all."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from ..._clock import monotonic
from ...errors import LLMOrchError, StoreError
from .._lane import Job, Lane, Outcome
from .faults import Locked, Trouble, error_of, trouble_of
from .group import at_once, carried_out, plain_units
from .hold import Hold
from .locks import CheckpointLock
from .owners import Owners
from .pace import Pace
from .place import ENOUGH, Place
from .schema import is_behind, migrate, version_of
from .together import PREPARED

__all__ = ["Writer"]

_CHECKPOINT_BYTES = 4 << 20
_TOO_LONG_BYTES = 64 << 20
_PAGE_OVERHEAD = 4096  # a commit writes at least one page of the log
_LONGEST_PAUSE_S = {Trouble.BUSY: 0.25, Trouble.FULL: 2.0}
_DRAIN_S = 5.0
_HOUSE_EVERY_S = 10.0
_ROOM_EVERY_S = 0.5

_SETTINGS = [
    "wal_autocheckpoint = 0", "mmap_size = 0", "foreign_keys = ON", "trusted_schema = OFF", "temp_store = MEMORY",
]  # fmt: skip
if sys.platform == "darwin":  # its fsync leaves the data in the disk's cache
    _SETTINGS += ["fullfsync = ON", "checkpoint_fullfsync = ON"]


class Writer:
    """Commits jobs in groups, on a thread of its own.

    A job's work runs inside a transaction. An error of llmorch that it raises is its answer, and what it wrote is kept;
    anything else that it raises undoes it. A locked or full file is tried again: a job with patience until that is
    over (`StoreBusy`; `StoreFull` at once), one without for ever.

    Args:
        synchronous: `FULL` survives the loss of power, `NORMAL` the end of the process.
        busy_s: For how long SQLite itself waits for a lock, in seconds, before the job is tried anew.
        owners: Who lives; let go of when the thread ends.
    """

    def __init__(self, place: Place, *, synchronous: Literal["FULL", "NORMAL"], busy_s: float, owners: Owners) -> None:
        self._trouble: Trouble | None = None
        self.shortage: Exception | None = None  # why there is no room, or only what was set aside
        self._room_at = 0.0
        self._place = place
        self._synchronous = synchronous
        self._busy_s = busy_s
        self._owners = owners
        self._gate = CheckpointLock(place.checkpoint)
        self._connection: sqlite3.Connection | None = None
        self._hold: Hold | None = None
        self._owed = 0  # bytes written to the log since the last checkpoint
        self._is_alone = False  # the last commit kept the lock, for a checkpoint
        self._pace = Pace()
        self._tries = 0
        self._house_at = 0.0
        self._stopped_at: float | None = None
        name = f"llmorch-write-{place.database.name}"
        self.lane = Lane(name, self._attempt, at_end=self._close, share=self._pace.share)

    @property
    def trouble(self) -> Trouble | None:
        """Why units wait, or would; after a full disk, until room is set aside again."""
        if self.shortage is not None and self._has_room():
            self.shortage = None
            if self._trouble is Trouble.FULL:  # if it is not over, the next commit says so
                self._trouble = None
        return self._trouble if self.shortage is None else Trouble.FULL

    def _has_room(self) -> bool:
        """Whether room could be set aside; looked at twice a second, as whoever waits for it asks often."""
        now = monotonic()
        if now < self._room_at:
            return False
        self._room_at = now + _ROOM_EVERY_S
        with suppress(OSError):
            return self._place.load_ballast(least=ENOUGH)
        return False

    def _attempt(self, jobs: list[Job[object]]) -> list[Job[object]]:
        for job in [job for job in jobs if job.is_withdrawn]:
            job.fail(StoreError("the caller was cancelled"))
            jobs.remove(job)
        try:
            outcomes = self._commit(jobs) if jobs else []
        except Exception as error:  # whatever went wrong, somebody waits to be told
            return self._after(error, jobs)
        Job.answer(outcomes)
        self._tries, self._trouble = 0, None
        self._keep_house(sum([job.size for job in jobs]))
        return []

    def _commit(self, jobs: list[Job[object]]) -> list[Outcome]:
        self._check_files()
        connection = self._opened()
        began = monotonic()
        outcomes = self._at_a_stroke(jobs, connection) or self._in_steps(jobs, connection)
        self._pace.took(monotonic() - began)
        if self._hold is not None:
            self._hold.look_ahead()
        return outcomes

    def _at_a_stroke(self, jobs: list[Job[object]], connection: sqlite3.Connection) -> list[Outcome] | None:
        """Commit them beside the event loop; None, with nothing done, where that cannot be."""
        is_due = self._owed >= _CHECKPOINT_BYTES  # who waits for the file here keeps others from their checkpoints
        units = None if is_due else plain_units(jobs)
        if units is None:
            return None
        self._gate.share()
        try:
            return at_once(jobs, units, connection=connection)
        finally:
            self._gate.release()

    def _in_steps(self, jobs: list[Job[object]], connection: sqlite3.Connection) -> list[Outcome]:
        """Commit them in a transaction of several statements; the lock for a checkpoint is kept where one is due."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._gate.share()
            outcomes = carried_out(jobs, connection)
            self._is_alone = self._owed >= _CHECKPOINT_BYTES and self._gate.keep_alone()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            self._is_alone = False
            self._gate.release()
            raise
        if not self._is_alone:
            self._gate.release()
        return outcomes

    def _check_files(self) -> None:
        """Be sure that what is committed now can be found again.

        Raises:
            Gone: The database is not where it was.
            Locked: The log was deleted, and others read what it held.
        """
        hold = self._hold
        if hold is None or not hold.is_due:
            return
        now = monotonic()
        hold.check()
        if self._connection is None:
            return
        log = hold.log()
        if log == "missing":  # SQLite has it open still: move what it holds into the database
            self._gate.take_over(self._connection)
            try:
                (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._gate.release()
            if busy:
                raise Locked("somebody reads what the deleted write-ahead log held")
        if log != "same":
            self._drop()
        hold.looked_at = now

    # When it does not work

    def _after(self, error: Exception, jobs: list[Job[object]]) -> list[Job[object]]:
        """Answer those who need not wait any longer; gives those to try again, after a pause."""
        if isinstance(error, LLMOrchError):  # the file is none for this llmorch
            self._drop()
            return _refused(jobs, lambda: error)
        trouble = trouble_of(error)
        if trouble is Trouble.UNIT and len(jobs) > 1:
            return self._one_by_one(jobs)
        if trouble in (Trouble.UNIT, Trouble.CORRUPT):
            if trouble is Trouble.CORRUPT:
                self._drop()
            return _refused(jobs, lambda: error_of(trouble, error, path=self._place.database))
        if trouble in (Trouble.REFUSED, Trouble.BROKEN):
            self._drop()  # what it holds in memory is not to be trusted after a failed write
            lack = self._place.lack_of_room()
            if lack is not None:
                trouble, error = Trouble.FULL, lack
        self._trouble = trouble
        if trouble is Trouble.FULL:
            self.shortage = error
        waiting = self._still_waiting(trouble, error, jobs)
        if waiting and not (trouble is Trouble.FULL and self._place.drop_ballast()):
            longest = _LONGEST_PAUSE_S.get(trouble, 1.0)
            self.lane.pause(min(longest, 0.002 * 2 ** min(self._tries, 12)) * random.uniform(0.5, 1.0))
            self._tries += 1
        return waiting

    def _one_by_one(self, jobs: list[Job[object]]) -> list[Job[object]]:
        for at, job in enumerate(jobs):
            if rest := self._attempt([job]):
                return rest + jobs[at + 1 :]
        return []

    def _still_waiting(self, trouble: Trouble, cause: Exception, jobs: list[Job[object]]) -> list[Job[object]]:
        now = monotonic()
        if self.lane.is_stopping.is_set() and self._stopped_at is None:
            self._stopped_at = now
        is_over = self._stopped_at is not None and now >= self._stopped_at + _DRAIN_S
        waiting: list[Job[object]] = []
        for job in jobs:
            has_time = job.due is None or (trouble is Trouble.BUSY and now < job.due)
            if has_time and not is_over:
                waiting.append(job)
            else:
                job.fail(error_of(trouble, cause, path=self._place.database, waited_s=job.patience_s or _DRAIN_S))
        return waiting

    # The connection

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self._hold is None:
            self._place.prepare()
        self._owners.sweep()
        hold = self._hold or Hold(self._place)
        try:
            self._gate.share()
            connection = _open(self._place, synchronous=self._synchronous, busy_s=self._busy_s)
        except BaseException:
            if self._hold is None:
                hold.close()
            raise
        finally:
            self._gate.release()
        hold.log()
        self._connection, self._hold = connection, hold
        with suppress(OSError):
            self._place.load_ballast()
        self._owed = self._place.wal_bytes()
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if self._hold is not None:  # the file stays the one that was opened first
            self._hold.forget_log()

    def _close(self) -> None:
        self._drop()  # the last connection of all moves the log into the database
        if self._hold is not None:
            self._hold.close()
        self._gate.close()
        self._owners.close()

    # Between commits

    def _keep_house(self, written: int) -> None:
        """Move the log into the database when it has grown, and set room aside again."""
        self._owed += written + _PAGE_OVERHEAD
        if self._is_alone:
            self._is_alone = False
            try:
                self._checkpoint()
            except (sqlite3.Error, OSError):  # the log only grows, and a later commit tries again
                self._owed = 0
            finally:
                self._gate.release()
        now = monotonic()
        if now >= self._house_at:
            self._house_at = now + _HOUSE_EVERY_S
            with suppress(OSError):
                self._place.load_ballast()
            self._owners.mend()

    def _checkpoint(self) -> None:
        kind = "TRUNCATE" if self._place.wal_bytes() > _TOO_LONG_BYTES else "PASSIVE"
        self._opened().execute(f"PRAGMA wal_checkpoint({kind})").fetchall()
        self._owed = 0


def _refused(jobs: list[Job[object]], make: Callable[[], Exception]) -> list[Job[object]]:
    for job in jobs:
        job.fail(make())
    return []


def _open(place: Place, *, synchronous: str, busy_s: float) -> sqlite3.Connection:
    """A connection that may write, to a file with the newest schema."""
    connection = sqlite3.connect(
        place.writer_uri(), uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    try:
        if version_of(connection, place.database) == 0:  # else nothing is changed yet
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that it shrinks in small steps
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(
                f"SQLite cannot keep a write-ahead log for {place.database} (it says {mode!r}); put the store on a "
                "local disk"
            )
        for setting in (f"synchronous = {synchronous}", *_SETTINGS):
            connection.execute(f"PRAGMA {setting}")
        if is_behind(connection, place.database):
            migrate(connection, place.database)
        for statement in PREPARED:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection
