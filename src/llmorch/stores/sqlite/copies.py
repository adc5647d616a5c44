"""Whole copies of a database, taken while others write, and put where they belong in one go."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ...errors import StoreCorrupt, StoreError

__all__ = ["copied", "folder_synced", "placed", "snapshot", "unplaced"]

_STEP_PAGES = 512
_VERSIONS_AT = 18  # offset of the two bytes that say whether the file has a write-ahead log
_NO_LOG = b"\x01\x01"


def snapshot(path: Path) -> sqlite3.Connection:
    """A connection that only reads, and sees the database as it is now for as long as it is open.

    The write-ahead log keeps what others commit meanwhile, so nobody waits for it.
    """
    uri = f"{path.as_uri()}?mode=ro"
    try:
        return _snapshot(uri)
    except sqlite3.OperationalError as error:
        refused = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not refused or not path.is_file() or path.with_name(f"{path.name}-wal").exists():
            raise
        return _snapshot(f"{uri}&immutable=1")  # a folder that this user may not write to


def _snapshot(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def copied(source: sqlite3.Connection, folder: Path, *, on_step: Callable[[], object] | None = None) -> Path:
    """A checked copy under a name of its own, for this user only; one file, without a write-ahead log.

    Args:
        source: In a transaction, so that the copy is of one moment.
        on_step: Called between two steps; what it raises ends the copying.

    Raises:
        StoreCorrupt: What was copied is damaged, as the text says; the copy is gone again.
    """

    def stepped(status: int, remaining: int, total: int) -> None:
        if on_step is not None:
            on_step()

    part = folder / f".{secrets.token_hex(8)}.part"
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        # Nobody else knows the file, and a backup may be kept where locks do not work.
        with closing(sqlite3.connect(f"{part.as_uri()}?mode=rw&nolock=1", uri=True)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")
            source.backup(copy, pages=_STEP_PAGES, progress=stepped)
        _finish(part)
        with closing(sqlite3.connect(f"{part.as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
            (answer,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise StoreCorrupt("; ".join(line for line in answer.splitlines() if not line.startswith("***")))
    except BaseException:
        unplaced(part)
        raise
    return part


def _finish(part: Path) -> None:
    """Say in its header that there is no log beside it, and have it on the disk.

    Source: https://www.sqlite.org/fileformat.html#file_format_version_numbers (2025-07).
    """
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size:
            os.pwrite(descriptor, _NO_LOG, _VERSIONS_AT)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def placed(part: Path, to: Path, *, overwrite: bool) -> None:
    """Give the copy its name.

    Raises:
        StoreError: There is a file of that name, and it may not be replaced.
    """
    if overwrite:
        os.replace(part, to)
    else:
        try:
            os.link(part, to)  # fails where there is something, in one go
        except FileExistsError:
            raise StoreError(f"{to} is there already; give another name, or say overwrite=True") from None
        except OSError:  # a file system without hard links
            if to.exists():
                raise StoreError(f"{to} is there already; give another name, or say overwrite=True") from None
            os.rename(part, to)
        unplaced(part)
    folder_synced(to.parent)


def unplaced(part: Path) -> None:
    """Remove what was not put anywhere; harmless when it was."""
    with suppress(FileNotFoundError):
        part.unlink()


def folder_synced(folder: Path) -> None:
    """Have the names in the folder on the disk, as far as its file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
