"""What goes wrong with a database file, sorted by SQLite's result codes, never by texts.

Source: https://www.sqlite.org/rescode.html (2025-07).
"""

from __future__ import annotations

import errno
import sqlite3
from enum import Enum
from pathlib import Path

from ...errors import StoreBusy, StoreCorrupt, StoreError, StoreFull

__all__ = ["AFTER_DAMAGE", "NO_ROOM", "Gone", "Locked", "Refused", "Trouble", "error_of", "trouble_of"]

_SHMSIZE = 4874  # SQLITE_IOERR_SHMSIZE: no room for the index of the write-ahead log
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_WAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG})

AFTER_DAMAGE = (
    "Copy the file and its -wal beside it first, then restore a backup, or save what can be read with "
    "`sqlite3 FILE .recover`"
)
"""What to do with a damaged file."""


class Trouble(Enum):
    """What a failure asks for."""

    BUSY = "somebody else writes: try again"
    FULL = "no room: wait for it"
    CORRUPT = "damaged: change nothing"
    GONE = "the file is not there any more: wait for it"
    REFUSED = "the file cannot be opened or written"
    BROKEN = "the disk or the system failed"
    UNIT = "the unit itself cannot be written"


class Locked(Exception):
    """Another process holds a lock that this write needs."""


class Refused(Exception):
    """What is at the path is nothing that a store can be; the text is for the caller."""


class Gone(Exception):
    """The file was deleted, moved or replaced while it was open."""


_BY_CODE = {
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_PROTOCOL: Trouble.BUSY,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_CORRUPT: Trouble.CORRUPT,
    sqlite3.SQLITE_NOTADB: Trouble.CORRUPT,
    sqlite3.SQLITE_READONLY: Trouble.REFUSED,
    sqlite3.SQLITE_PERM: Trouble.REFUSED,
    sqlite3.SQLITE_CANTOPEN: Trouble.REFUSED,
    sqlite3.SQLITE_IOERR: Trouble.BROKEN,
    sqlite3.SQLITE_NOMEM: Trouble.BROKEN,
    sqlite3.SQLITE_NOLFS: Trouble.BROKEN,
}


def trouble_of(error: Exception) -> Trouble:
    """What kind of failure an exception is."""
    if isinstance(error, Locked):
        return Trouble.BUSY
    if isinstance(error, Gone | Refused):
        return Trouble.GONE if isinstance(error, Gone) else Trouble.REFUSED
    if isinstance(error, OSError):
        if error.errno in NO_ROOM:
            return Trouble.FULL
        return Trouble.REFUSED if error.errno in _NO_RIGHT | _NO_WAY else Trouble.BROKEN
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or not isinstance(code, int):
        return Trouble.UNIT
    return Trouble.FULL if code == _SHMSIZE else _BY_CODE.get(code & 0xFF, Trouble.UNIT)


def error_of(trouble: Trouble, cause: Exception, *, path: Path, waited_s: float = 0.0) -> Exception:
    """What the caller is told, with the cause chained; the failure of a unit is told as it is.

    Args:
        waited_s: For how long it was tried, in seconds.
    """
    name = getattr(cause, "sqlite_errorname", None)
    why = f"{name}: {cause}" if name else str(cause)
    match trouble:
        case Trouble.BUSY:
            error: Exception = StoreBusy(
                f"The store {path} stayed locked for {waited_s:g} s; another process writes to it without a pause, "
                "checkpoints it or was stopped in the middle: end that process, or try again"
            )
        case Trouble.FULL:
            error = StoreFull(
                f"There is no room left for the store {path} ({why}); free some on its disk. Runs that are under way "
                "wait for it and go on by themselves"
            )
        case Trouble.CORRUPT:
            error = StoreCorrupt(
                f"The store {path} is damaged or no SQLite file ({why}); nothing was changed. {AFTER_DAMAGE}"
            )
        case Trouble.REFUSED if isinstance(cause, Refused):
            error = StoreError(why)
        case Trouble.REFUSED:
            error = StoreError(f"The store {path} cannot be opened or written ({why}); {_way_in(cause)}")
        case Trouble.GONE:
            error = StoreError(
                f"The store {path} changed under this process ({why}), so nothing more is written to it. Put the file "
                "back and the runs go on by themselves; or end this process and start it with the file that is to be "
                "used from now on"
            )
        case Trouble.BROKEN:
            error = StoreError(f"The disk failed under the store {path} ({why}); look at the system's log")
        case Trouble.UNIT if name is None:
            return cause
        case Trouble.UNIT:
            error = StoreError(
                f"SQLite would not do this in the store {path} ({why}), and nothing of it was written. Where the "
                "tables were changed by hand or by another program, restore a backup"
            )
    error.__cause__ = cause
    return error


def _way_in(cause: Exception) -> str:
    if isinstance(cause, OSError) and cause.errno in _NO_WAY:
        return "the path, or what stands at it, cannot be a store's: put back what was there, or give another path"
    return (
        "the file, its folder and the store's files beside it (-wal, -shm, .ckpt, .owners) must belong to this user "
        "and be writable"
    )
