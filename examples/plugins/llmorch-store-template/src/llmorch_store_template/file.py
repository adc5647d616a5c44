"""A file of lines: who may write, what was written, and which owners live."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote


class Sum(Protocol):
    """What the lines of a file add up to."""

    def apply(self, line: str) -> None:
        """Take one commit."""
        ...


S = TypeVar("S", bound=Sum)


class LinesFile(Generic[S]):
    """One open handle on the file of commits. Not for Windows, which has no `flock`.

    Args:
        state: As it is before the first line.
    """

    def __init__(self, path: Path, state: S) -> None:
        self.path = path
        self.state = state
        self._turn = threading.Lock()
        self._file: int | None = None
        self._read = 0
        self._owners: dict[str, int] = {}

    @contextmanager
    def turn(self) -> Iterator[S]:
        """The state with every commit of every process in it; nobody else writes meanwhile."""
        with self._turn:
            file = self._opened()
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                self._catch_up(file)
                yield self.state
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def commit(self, line: str) -> None:
        """Write one line within a turn; it is on the disk when this returns."""
        file = self._opened()
        data = line.encode("ascii") + b"\n"
        try:
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, self._read)  # half a commit is none
            raise
        self._catch_up(file)

    def _opened(self) -> int:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        return self._file

    def _catch_up(self, file: int) -> None:
        """Take in what was written since the last turn, by this process or another."""
        size = os.fstat(file).st_size
        if size == self._read:
            return
        data = os.pread(file, size - self._read, self._read)
        while len(data) < size - self._read:
            data += os.pread(file, size - self._read - len(data), self._read + len(data))
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            self.state.apply(line.decode("ascii"))
        self._read += whole
        if whole < len(data):
            os.ftruncate(file, self._read)  # a writer died in the middle of a line

    def live(self, owner: str) -> None:
        """This process carries out runs under that name from here on, which must be its own."""
        if owner not in self._owners:
            lock = self._open_lock(owner)
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._owners[owner] = lock

    def lives(self, owner: str) -> bool:
        """Whether the process of that name is there: the system frees its lock whatever way it ends."""
        if owner in self._owners:
            return True
        lock = self._open_lock(owner)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _open_lock(self, owner: str) -> int:
        folder = self.path.with_name(f"{self.path.name}.owners")
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / f"{quote(owner, safe='')}.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def close(self) -> None:
        """Let go of the file and of every owner's lock."""
        with self._turn:
            for file in (*self._owners.values(), *(() if self._file is None else (self._file,))):
                os.close(file)
            self._owners, self._file = {}, None
