"""Locks between processes: flock on files beside the database, let go of by forked children.

A forked child shares its parent's open files. It would keep the lock of a parent that was killed, so it closes them.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .faults import Locked

if sys.platform == "win32":
    raise ImportError("SqliteStore needs flock, which Windows does not have; use the postgres store there")

import fcntl

__all__ = ["CheckpointLock", "close_lock", "open_lock", "sqlite_locked", "try_lock"]

_SQLITE_LOCKS_AT = 0x40000000
_SQLITE_LOCKS = 512

_open: set[int] = set()  # descriptors that a forked child must close


def _in_child() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_in_child)


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, which is made where it is missing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _open.add(descriptor)
    return descriptor


def close_lock(descriptor: int) -> None:
    """Close it and let go of its lock; harmless in a forked child, which has closed it already."""
    if descriptor in _open:
        _open.discard(descriptor)
        os.close(descriptor)


def try_lock(descriptor: int, kind: int) -> bool:
    """Whether the lock (`fcntl.LOCK_SH` or `fcntl.LOCK_EX`) could be taken at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


@contextmanager
def sqlite_locked(path: Path) -> Generator[bool, None, None]:
    """Whether no other process has the database open: while the block runs, none can open it either.

    Every connection holds a shared lock on these bytes for as long as it is open. Such locks belong to the process, so
    this says nothing about connections of the process itself, and would end their locks.

    Source: https://www.sqlite.org/fileformat2.html#the_lock_byte_page (2025-07).
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SQLITE_LOCKS, _SQLITE_LOCKS_AT)
            is_alone = True
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            is_alone = False
        yield is_alone
    finally:
        os.close(descriptor)


class CheckpointLock:
    """Keeps checkpoints and writes of different connections apart.

    SQLite before 3.51.3 can damage the write-ahead log when one connection starts it anew while another checkpoints.
    Each write holds the lock shared, a checkpoint holds it alone. Who takes it is the one who writes just now, so
    nobody else holds it, and a checkpoint never has to wait for a moment without writers.

    Source: https://www.sqlite.org/wal.html#walresetbug (2026-03).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = open_lock(self._path)
        return self._descriptor

    def share(self) -> None:
        """Hold it shared, from the beginning of a write to its commit.

        Raises:
            Locked: Somebody checkpoints.
        """
        if not try_lock(self._opened(), fcntl.LOCK_SH):
            raise Locked("another process moves the write-ahead log into the database")

    def keep_alone(self) -> bool:
        """Hold it alone from now on; called while a write holds it shared, before its commit.

        Raises:
            Locked: It was lost in the attempt, because somebody opens the file just now.
        """
        if try_lock(self._opened(), fcntl.LOCK_EX):
            return True
        self.share()  # an attempt that fails gives up what was held
        return False

    def take_over(self, connection: sqlite3.Connection) -> None:
        """Hold it alone from now on; nobody else holds it while the connection could write.

        Raises:
            Locked: Somebody opens the file just now, or checkpoints.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            self.share()
            if not self.keep_alone():
                raise Locked("somebody opens the file just now")
        except BaseException:
            self.release()
            raise
        finally:
            connection.execute("ROLLBACK")

    def take_alone(self) -> bool:
        """Hold it alone from now on, if nobody writes just now."""
        return try_lock(self._opened(), fcntl.LOCK_EX)

    def release(self) -> None:
        """Hold it no longer; harmless when it is not held."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            close_lock(self._descriptor)
            self._descriptor = None
