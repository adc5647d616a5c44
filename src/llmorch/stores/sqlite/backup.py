"""Backups: made while runs go on, put back while nobody uses the store."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from ..._clock import from_us, now_us
from ...errors import StoreBusy, StoreCorrupt, StoreError, StoreFull
from .copies import copied, folder_synced, placed, snapshot, unplaced
from .faults import AFTER_DAMAGE, Trouble, error_of, trouble_of
from .hold import is_open_here
from .locks import CheckpointLock, sqlite_locked
from .owners import Owners
from .place import Place, refuse_network
from .schema import version_of
from .verify import StoreReport, examined

if TYPE_CHECKING:
    from .store import SqliteStore

__all__ = ["BackupFile", "Backups", "Restored", "back_up", "restore"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Restored:
    """What `SqliteStore.restore` did.

    Attributes:
        path: The store, which now holds what the backup holds.
        safety: The copy of what was there before; None when there was nothing. Its log, if it had one, is beside it.
        report: What was found in the backup.
    """

    path: Path
    safety: Path | None
    report: StoreReport


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A backup in a folder; `size` in bytes."""

    name: str
    size: int
    made_at: datetime


# Making one


def back_up(
    path: Path, to: str | os.PathLike[str], *, overwrite: bool, on_step: Callable[[], object] | None = None
) -> Path:
    """Copy the store as it is now to another file; see `SqliteStore.backup`."""
    target = _absolute(to)
    if _is_same(path, target):
        raise StoreError(f"{target} is the store itself; give the backup another name")
    if target.exists() and not overwrite:
        raise StoreError(f"{target} is there already; give another name, or say overwrite=True")
    if not target.parent.is_dir():
        raise StoreError(f"There is no folder {target.parent} for the backup; make it first")
    with _said_of(path, target), closing(snapshot(path)) as source:
        version_of(source, path)
        try:
            part = copied(source, target.parent, on_step=on_step)
        except StoreCorrupt as error:
            raise StoreCorrupt(f"The store {path} is damaged ({error}); no backup was made. {AFTER_DAMAGE}") from error
        try:
            placed(part, target, overwrite=overwrite)
        finally:
            unplaced(part)
    return target


# Putting one back


def restore(path: str | os.PathLike[str], backup: str | os.PathLike[str]) -> Restored:
    """Put a backup in a store's place; see `SqliteStore.restore`."""
    place, backup = Place(_absolute(path)), _absolute(backup)
    refuse_network(place.database)
    if not backup.is_file():
        raise StoreError(f"There is no backup {backup}")
    if _is_same(backup, place.database):
        raise StoreError(f"{backup} is the store itself; a backup is another file")
    fresh, report = _fetched(backup, place.database)
    try:
        with _said_of(place.database, place.database), _alone(place):
            safety = _set_aside(place)
            _like_before(fresh, place.database)
            for gone in (place.shm, place.wal):  # of the former database: with the new one they would be nonsense
                gone.unlink(missing_ok=True)
            placed(fresh, place.database, overwrite=True)
    finally:
        unplaced(fresh)
    return Restored(place.database, safety, report)


def _fetched(backup: Path, database: Path) -> tuple[Path, StoreReport]:
    """The backup as a checked file beside the store."""
    try:
        with _said_of(backup, database), closing(snapshot(backup)) as source:
            if version_of(source, backup) == 0:
                raise StoreError(f"{backup} is empty, so it is no backup of a store; nothing was changed")
            fresh = copied(source, database.parent)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"The backup {backup} is damaged ({error}); nothing was changed. Take another") from error
    try:
        with closing(sqlite3.connect(f"{fresh.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            report = examined(connection, backup)
    except BaseException:
        unplaced(fresh)
        raise
    return fresh, report


@contextmanager
def _alone(place: Place) -> Generator[None, None, None]:
    """Nobody has the store open, and nobody opens it while the block runs.

    Raises:
        StoreBusy: Somebody has.
    """
    if is_open_here(place.database):
        raise StoreBusy(f"The store {place.database} is open in this process; close it (`aclose()`) before the restore")
    gate = CheckpointLock(place.checkpoint)
    try:
        if not gate.take_alone():
            raise StoreBusy(f"Another process writes to the store {place.database}; end it, then restore")
        living = Owners(place.owners).living()
        if living:
            raise StoreBusy(f"The store {place.database} is used by {', '.join(living)}; end that first, then restore")
        with sqlite_locked(place.database) as is_alone:
            if not is_alone:
                raise StoreBusy(f"Another process has the store {place.database} open; end it, then restore")
            yield
    finally:
        gate.close()


def _set_aside(place: Place) -> Path | None:
    """A copy of the database and its log under a name that says when, or None when there is no database."""
    if not place.database.exists():
        return None
    moment = from_us(now_us()).strftime("%Y%m%dT%H%M%S.%fZ")
    safety = place.database.with_name(f"{place.database.name}.before-restore-{moment}")
    _second(place.database, safety)
    if place.wal.exists():
        _second(place.wal, safety.with_name(f"{safety.name}-wal"))
    folder_synced(safety.parent)
    return safety


def _second(file: Path, name: Path) -> None:
    """A second name for what is in the file: it loses the first one, and nobody writes to it any more."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(file, name)
        name.chmod(0o600)
        with name.open("rb") as copy:
            os.fsync(copy.fileno())


def _like_before(fresh: Path, database: Path) -> None:
    """Give the new file to the user of the old one, where somebody else restores it."""
    with suppress(OSError):
        former = database.stat()
        os.chown(fresh, former.st_uid, former.st_gid)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return os.path.abspath(one) == os.path.abspath(other)


@contextmanager
def _said_of(source: Path, target: Path) -> Generator[None, None, None]:
    """Errors of SQLite and the system as those of llmorch."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        trouble = trouble_of(error)
        if trouble is Trouble.FULL:
            raise StoreFull(f"There is no room left in {target.parent} ({error}); nothing was changed") from error
        raise error_of(trouble, error, path=source) from error


class Backups:
    """Backups by name in one folder, which is made where it is missing; a name never leads out of it.

    Args:
        folder: Where they are, for this user only.

    Example:
        >>> from tempfile import mkdtemp
        >>> Backups(mkdtemp()).list()
        []
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).expanduser()

    async def make(self, store: SqliteStore, *, name: str | None = None, overwrite: bool = False) -> BackupFile:
        """Back a store up.

        Args:
            name: What it is called; unset, the store's name and the time.

        Raises:
            ValueError: The name is none.
            StoreError: There is one of that name, or it cannot be made.
        """
        if name is None:
            moment = from_us(now_us()).strftime("%Y%m%dT%H%M%SZ")
            name = f"{re.sub('[^A-Za-z0-9_]', '_', store.path.stem)[:60]}-{moment}-{secrets.token_hex(2)}.db"
        path = self._path(name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await store.backup(path, overwrite=overwrite)
        return _file(path)

    def list(self) -> list[BackupFile]:
        """What is there, newest first."""
        if not self._folder.is_dir():
            return []
        found = [_file(path) for path in self._folder.iterdir() if _NAME.fullmatch(path.name) and _is_plain(path)]
        return sorted(found, key=lambda file: (file.made_at, file.name), reverse=True)

    async def restore(self, path: str | os.PathLike[str], name: str) -> Restored:
        """Put the backup of that name in a store's place; see `SqliteStore.restore`.

        Raises:
            ValueError: The name is none.
            StoreError: There is no such backup, or the store is in use.
        """
        backup = self._path(name)
        if not _is_plain(backup):
            raise StoreError(f"There is no backup {name!r} in {self._folder}")
        return await anyio.to_thread.run_sync(restore, path, backup)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or ".." in name:
            raise ValueError(
                f"{name!r} cannot be the name of a backup: it takes letters, digits, '.', '_' and '-', at most 100, "
                "and does not begin with '.' or '-'"
            )
        return self._folder / name


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _file(path: Path) -> BackupFile:
    found = path.stat()
    return BackupFile(path.name, found.st_size, from_us(found.st_mtime_ns // 1000))
