"""What a process left in its store: read without llmorch, from a copy, so that nothing is mended by looking."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Left", "Place", "Row", "SqlitePlace", "marked"]

_PAUSE_S = 0.01

Row = tuple[int, str, str, int, int, bytes, bytes]
"""seq, kind, step, call, at, data, sum."""


@dataclass(frozen=True, slots=True)
class Left:
    """A store as somebody finds it.

    Attributes:
        logs: Run id -> its events, in order.
        last_seqs: Run id -> the last seq its row tells.
        faults: What the database itself finds wrong.
    """

    logs: Mapping[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    last_seqs: Mapping[str, int] = field(default_factory=dict[str, int])
    faults: tuple[str, ...] = ()


class Place(Protocol):
    """Where the store of one case is; what is particular to a kind of store."""

    @property
    def url(self) -> str:
        """As an orchestrator takes it."""
        ...

    def settle(self) -> None:
        """Return when nothing of a process that was killed goes on, and another may take its run."""
        ...

    def left(self) -> Left:
        """What is in it now."""
        ...

    def litter(self) -> list[str]:
        """What is there of processes that have ended."""
        ...


class SqlitePlace:
    """A SQLite file in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = folder / "runs.db"

    @property
    def url(self) -> str:
        """As an orchestrator takes it."""
        return f"sqlite:///{self._database}"

    def settle(self) -> None:
        """Nothing: the system lets go of a process's locks when it ends."""

    def left(self) -> Left:
        """What a copy of the file and its write-ahead log holds."""
        if not self._database.exists():
            return Left()
        copy = self._folder / "copy"
        copy.mkdir()
        try:
            for name in ("runs.db", "runs.db-wal"):
                if (self._folder / name).exists():
                    shutil.copyfile(self._folder / name, copy / name)
            with closing(sqlite3.connect(copy / "runs.db")) as connection:
                return _read(connection)
        finally:
            shutil.rmtree(copy)

    def litter(self) -> list[str]:
        """Lock files of owners that are gone, and a write-ahead log that nobody moved into the database."""
        owners = self._folder / "runs.db.owners"
        found = [entry.name for entry in owners.iterdir()] if owners.exists() else []
        return found + (["runs.db-wal"] if (self._folder / "runs.db-wal").exists() else [])


def _read(connection: sqlite3.Connection) -> Left:
    faults = [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
    faults += [f"foreign key: {found}" for found in connection.execute("PRAGMA foreign_key_check")]
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'events'").fetchone() is None:
        return Left(faults=tuple(faults))
    logs: dict[str, list[Row]] = {}
    last_seqs: dict[str, int] = {}
    runs: list[tuple[Any, ...]] = connection.execute("SELECT n, id, last_seq FROM runs ORDER BY n").fetchall()
    for n, run_id, last_seq in runs:
        last_seqs[run_id] = last_seq
        logs[run_id] = connection.execute(
            "SELECT seq, kind, step, call, at, data, sum FROM events WHERE run = ? ORDER BY seq", (n,)
        ).fetchall()
    return Left(logs, last_seqs, tuple(faults))


def marked(mark: str, *, within_s: float) -> list[str]:
    """Commands of processes that still have this in their environment after so many seconds; they are killed."""
    due = time.monotonic() + within_s
    while (found := _marked(mark.encode())) and time.monotonic() < due:
        time.sleep(_PAUSE_S)  # those that end by themselves, because a pipe was closed, take a moment
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(found.values())


def _marked(mark: bytes) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with suppress(OSError, ValueError):
            if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry)] = command.decode(errors="replace").strip()
    return found
