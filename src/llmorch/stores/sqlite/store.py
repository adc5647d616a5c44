"""Runs kept in one SQLite file, for any number of processes of one machine."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import anyio.to_thread

from ...errors import StoreError
from ...events import Event
from ...models.values import Data
from ...ports import AppendReply, Claim, InboxItem, RunRow
from .faults import Trouble
from .lane import Job, Work
from .owners import Owners
from .place import Place, path_of
from .queries import Queries
from .reader import Reader
from .rows import unit_of
from .schema import is_behind
from .units import FINAL, Units
from .writer import Writer

__all__ = ["SqliteStore"]

T = TypeVar("T")

_PATIENCE_S = 60.0
_EVENT_OVERHEAD = 400  # index, columns and the share of a page, in bytes


class SqliteStore:
    """A RunStore in one file: durable, shared by the processes of one machine, without a server.

    The file is made at first use, readable by its user only; beside it stand SQLite's `-wal` and `-shm`, and
    `.ckpt`, `.owners/` and `.ballast` of the store. A unit is answered when it is committed; many are committed
    together. A locked or full disk makes `append` wait for as long as it takes, as what it holds is paid for; every
    other method raises `StoreBusy` after `patience_s`, or `StoreFull` at once.

    A store may be used from several event loops and threads, and not by a process forked from the one that made it.

    Args:
        path: The file; its folder must exist. It may not be on a network file system.
        durability: `power` survives the loss of power, `process` only the death of the process, and is quicker.
        owner: The name under which this process owns runs; unset, one that is never used twice.
        patience_s: For how many seconds a locked file is tried again.

    Example:
        >>> SqliteStore("runs.db", durability="process").path.name
        'runs.db'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["power", "process"] = "power",
        owner: str | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        if durability not in ("power", "process"):
            raise ValueError(f"durability must be 'power' or 'process', not {durability!r}")
        self._place = Place(Path(path).expanduser())
        self.owner = owner or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._pid = os.getpid()
        self._patience_s = patience_s
        self._owners = Owners(self._place.owners)
        self._units = Units(self._owners, self._place.database)
        self._queries = Queries(self._owners, self._place.database)
        busy_s = min(1.0, patience_s / 2)
        synchronous: Literal["FULL", "NORMAL"] = "FULL" if durability == "power" else "NORMAL"
        self._writer = Writer(self._place, synchronous=synchronous, busy_s=busy_s, owners=self._owners)
        self._reader = Reader(self._place, busy_s=busy_s)
        self._is_open = False
        for lane in (self._reader.lane, self._writer.lane):
            weakref.finalize(self, lane.stop).atexit = False  # at exit the lanes are waited for as well

    @classmethod
    def from_url(
        cls, url: str, *, durability: Literal["power", "process"] = "power", owner: str | None = None
    ) -> SqliteStore:
        """The store that a URL names: `sqlite:///rel.db`, `sqlite:////abs.db` or `sqlite:///~/x.db`.

        Raises:
            ValueError: It is no such URL.
        """
        return cls(path_of(url), durability=durability, owner=owner)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._place.database

    @property
    def trouble(self) -> Literal["store-full", "store-busy", "store-failing"] | None:
        """Why units wait just now, as the code of a warning; None while all is well."""
        trouble = self._writer.trouble
        if trouble is None:
            return None
        codes: dict[Trouble, Literal["store-full", "store-busy"]] = {
            Trouble.FULL: "store-full",
            Trouble.BUSY: "store-busy",
        }
        return codes.get(trouble, "store-failing")

    # Writing

    async def create(
        self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None = None
    ) -> RunRow:
        """Put a new run; see `RunStore.create`."""
        return await self._write(self._units.create(row, first, definition=definition), undo=self._forsake)

    async def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None = None,
        consumed: Sequence[InboxItem] = (),
        wake_at: int | None = None,
    ) -> AppendReply:
        """Commit one unit; see `RunStore.append`."""
        self._check_process()
        unit = unit_of(events)
        work = self._units.append(claim, events, unit=unit, status=status, consumed=consumed, wake_at=wake_at)
        size = sum(len(columns[5]) + _EVENT_OVERHEAD for columns in unit)
        job = Job(work, patience_s=None, size=size)
        self._writer.lane.put(job)
        reply = await job.outcome()
        if status in FINAL:
            self._owners.drop(claim.run_id, claim.epoch)
        return reply

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        """Become the owner; see `RunStore.claim`."""
        return await self._write(self._units.claim(run_id, owner, takeover=takeover), undo=self._leave)

    async def renew(self, claim: Claim) -> None:
        """Say that the owner lives; see `RunStore.renew`."""
        await self._read(self._units.renew(claim))

    async def release(self, claim: Claim, *, status: str) -> bool:
        """Give the run up; see `RunStore.release`."""
        is_released = await self._write(self._units.release(claim, status))
        if is_released:
            self._owners.drop(claim.run_id, claim.epoch)
        return is_released

    async def post(self, run_id: str, item: InboxItem) -> None:
        """Leave something for the owner; see `RunStore.post`."""
        await self._write(self._units.post(run_id, item))

    async def delete_run(self, run_id: str) -> None:
        """Forget a run; see `RunStore.delete_run`."""
        await self._write(self._units.delete(run_id))

    # Reading

    async def load(self, run_id: str) -> RunRow:
        """The run's row; see `RunStore.load`."""
        return await self._read(self._queries.row(run_id))

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """Committed events after a seq; see `RunStore.events`.

        Raises:
            StoreCorrupt: One is missing or not what was written.
        """
        return await self._read(self._queries.page(run_id, after=after, limit=limit))

    async def list_runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        since: int | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[RunRow]:
        """Rows, newest first; see `RunStore.list_runs`."""
        filters = {"workflow": workflow, "status": status, "tag": tag, "since": since, "before": before}
        return await self._read(self._queries.rows(filters, limit=limit))

    async def inbox(self, run_id: str) -> Sequence[InboxItem]:
        """What waits for the owner; see `RunStore.inbox`."""
        return await self._read(self._queries.inbox(run_id))

    async def definition(self, sha: str) -> Mapping[str, Data] | None:
        """The definition of that sha; see `RunStore.definition`."""
        return await self._read(self._queries.definition(sha))

    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        """Runs that wait for an owner; see `RunStore.recoverable`."""
        return await self._read(self._queries.recoverable(now=now, limit=limit))

    async def aclose(self) -> None:
        """Commit what is queued, end both threads and let go of all owners; what it owned is then without one."""
        self._check_process()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._join)

    def _join(self) -> None:
        self._reader.lane.stop()
        self._reader.lane.join()  # first: the last connection of all moves the log into the database, and must write
        self._writer.lane.stop()
        self._writer.lane.join()

    # The two lanes

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                f"This store of {self.path} was made in process {self._pid} and is used in process {os.getpid()}, "
                "forked from it; make a new store there"
            )

    async def _write(self, work: Work[T], *, undo: Callable[[T], None] | None = None) -> T:
        """Have it committed; `undo` is told of what was committed for a caller that was cancelled meanwhile."""
        self._check_process()
        job = Job(work, patience_s=self._patience_s)
        self._writer.lane.put(job)
        try:
            return await job.outcome()
        except BaseException:
            if undo is not None and job.result is not None:
                undo(job.result)
            raise

    def _forsake(self, row: RunRow) -> None:
        """Nobody carries it out: it counts as without an owner, so that this process may recover it."""
        self._owners.drop(row.id, row.epoch)

    def _leave(self, claim: Claim) -> None:
        self._owners.drop(claim.run_id, claim.epoch)

    async def _read(self, work: Work[T]) -> T:
        self._check_process()
        if not self._is_open:
            await self._open()
        job = Job(work, patience_s=self._patience_s)
        self._reader.lane.put(job)
        return await job.outcome()

    async def _open(self) -> None:
        """Let the writer make the file or bring it up to date, unless that was done before."""
        job = Job(lambda connection: not is_behind(connection, self.path), patience_s=self._patience_s)
        self._reader.lane.put(job)
        try:
            self._is_open = await job.outcome()
        except StoreError:  # it is missing, or the writer says it better
            self._is_open = False
        if not self._is_open:
            await self._write(_nothing)
            self._is_open = True


def _nothing(connection: sqlite3.Connection) -> None:
    """Work that only has the file opened."""
