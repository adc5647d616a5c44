"""Who lives: each owner of runs holds a lock on a file of its name; a lock that can be taken has no living owner."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from ...errors import StoreError
from .locks import close_lock, open_lock, try_lock

__all__ = ["Owners"]

_TRIES = 10
_PAUSE_S = 0.005
_MAX_NAME = 150


@dataclass(slots=True)
class _Held:
    """An owner's lock as this process holds it, for all its stores of one file, and the runs claimed under it."""

    descriptor: int
    users: int = 0
    runs: dict[str, int] = field(default_factory=dict[str, int])  # run id -> epoch


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


def _in_child() -> None:
    """A forked child owns nothing; its descriptors are closed by `locks`."""
    global _guard
    _guard = threading.Lock()
    _held.clear()


os.register_at_fork(after_in_child=_in_child)


class Owners:
    """The owners of one database, seen from one store.

    A process that comes back under its old name holds that name's lock again. What it owned before is dead all the
    same: under its own names only the runs it claimed itself are alive.

    Args:
        folder: Where the lock files are, one for each owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: set[Path] = set()

    def hold(self, owner: str) -> None:
        """Make the owner one that lives until `close` or the end of this process.

        Raises:
            StoreError: Another living process has that name.
        """
        path = self._path(owner)
        with _guard:
            if path in self._mine:
                return
            held = _held.get(path)
            if held is None:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                held = _held[path] = _Held(_locked(path, owner))
            held.users += 1
            self._mine.add(path)

    def keep(self, owner: str, run_id: str, *, epoch: int) -> None:
        """The run was claimed by this process under that name."""
        with _guard:
            held = _held.get(self._path(owner))
            if held is not None:
                held.runs[run_id] = epoch

    def drop(self, run_id: str, epoch: int) -> None:
        """The run was given up, ended or lost."""
        with _guard:
            for path in self._mine:
                held = _held.get(path)
                if held is not None and held.runs.get(run_id) == epoch:
                    del held.runs[run_id]

    def is_alive(self, owner: str, run_id: str, *, epoch: int) -> bool:
        """Whether somebody carries out the run that this owner claimed with this epoch."""
        path = self._path(owner)
        with _guard:
            held = _held.get(path)
            if held is not None:
                return held.runs.get(run_id) == epoch
        return not _is_free(path)

    def living(self) -> list[str]:
        """The owners that live, in this process and in others, as far as their names can be told."""
        with suppress(FileNotFoundError), _guard:
            paths = [Path(entry.path) for entry in os.scandir(self._folder)]
            return sorted(unquote(path.stem) for path in paths if path in _held or not _is_free(path))
        return []

    def forget(self, run_id: str) -> None:
        """The run is no more."""
        with _guard:
            for held in _held.values():
                held.runs.pop(run_id, None)

    def mend(self) -> None:
        """Make lock files anew that somebody removed: without its file an owner is taken for dead."""
        with _guard, suppress(OSError, StoreError):
            for path in self._mine:
                held = _held.get(path)
                if held is not None and not _is_at(held.descriptor, path):
                    self._folder.mkdir(mode=0o700, exist_ok=True)
                    fresh = _locked(path, unquote(path.stem))
                    close_lock(held.descriptor)
                    held.descriptor = fresh

    def sweep(self) -> None:
        """Remove the lock files that killed processes left behind, as far as this user may."""
        with suppress(OSError):
            for entry in os.scandir(self._folder):
                path = Path(entry.path)
                if path not in _held:
                    _removed(path)

    def close(self) -> None:
        """Let go of all names that no other store of this process holds."""
        with _guard:
            for path in self._mine:
                held = _held.get(path)
                if held is None:
                    continue
                held.users -= 1
                if held.users == 0:
                    del _held[path]
                    with suppress(OSError):
                        path.unlink()  # while it is locked, so that nobody else's file of this name is removed
                    close_lock(held.descriptor)
            self._mine.clear()

    def _path(self, owner: str) -> Path:
        name = quote(owner, safe="", errors="surrogatepass").replace(".", "%2E")
        if len(name) > _MAX_NAME:
            name = hashlib.sha256(name.encode()).hexdigest()
        return self._folder / f"{name}.lock"


def _locked(path: Path, owner: str) -> int:
    """A locked descriptor of the file that has this path now.

    Others lock it for an instant, shared, to see whether its owner lives, or remove it when they find it dead.
    """
    pause = threading.Event()
    for _ in range(_TRIES):
        descriptor = open_lock(path)
        if try_lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
            return descriptor
        close_lock(descriptor)
        pause.wait(_PAUSE_S)
    raise StoreError(
        f"Another living process is the owner {owner!r} already; two may not share a name: leave `owner` out, or end "
        "the other process"
    )


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock; asking shared, so that those who ask do not take each other for the owner."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:  # another user's: nothing says that it is dead
        return False
    try:
        return try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _removed(path: Path) -> None:
    with suppress(OSError):
        descriptor = open_lock(path)
        try:
            if try_lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
                path.unlink()
        finally:
            close_lock(descriptor)
