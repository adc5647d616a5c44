"""Runs kept in one SQLite file, for any number of processes of one machine."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from ...events import Event
from ...models.values import Data
from ...ports import AppendReply, Claim, InboxItem, RunRow
from .._lane import Job
from .appends import FINAL, Append
from .database import Database
from .place import path_of
from .queries import Queries
from .units import Units

__all__ = ["SqliteStore"]

_PATIENCE_S = 60.0
_EVENT_OVERHEAD = 400  # index, columns and the share of a page, in bytes


class SqliteStore(Database):
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
        super().__init__(path, durability=durability, patience_s=patience_s)
        self.owner = owner or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._units = Units(self._owners, self.path)
        self._queries = Queries(self._owners, self.path)

    @classmethod
    def from_url(
        cls, url: str, *, durability: Literal["power", "process"] = "power", owner: str | None = None
    ) -> SqliteStore:
        """The store that a URL names: `sqlite:///rel.db`, `sqlite:////abs.db` or `sqlite:///~/x.db`.

        Raises:
            ValueError: It is no such URL.
        """
        return cls(path_of(url), durability=durability, owner=owner)

    # Writing

    async def create(
        self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None = None
    ) -> RunRow:
        """Put a new run; see `RunStore.create`.

        Raises:
            StoreFull: There is no room, or only what is kept for runs that are under way.
        """
        self.refuse_full()
        return await self.write(self._units.create(row, first, definition=definition), undo=self._forsake)

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
        job = self.append_soon(claim, events, status=status, consumed=consumed, wake_at=wake_at)
        return await job.outcome()

    def append_soon(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None,
        consumed: Sequence[InboxItem],
        wake_at: int | None,
    ) -> Job[AppendReply]:
        """The same as a job that is carried out whether or not anybody waits for it."""
        self._home.check()
        work = Append(claim, events, status=status, consumed=consumed, wake_at=wake_at, where=self.path)
        size = _EVENT_OVERHEAD * len(work.unit)
        for columns in work.unit:
            size += len(columns[5])
        then = self._ended(claim.run_id, claim.epoch) if status in FINAL else None
        job = Job(work, patience_s=None, size=size, then=then)
        self._writer.lane.put(job)
        return job

    def _ended(self, run_id: str, epoch: int) -> Callable[[AppendReply], None]:
        return lambda _: self._owners.drop(run_id, epoch)

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        """Become the owner; see `RunStore.claim`."""
        return await self.write(self._units.claim(run_id, owner, takeover=takeover), undo=self._leave)

    async def renew(self, claim: Claim) -> None:
        """Say that the owner lives; see `RunStore.renew`."""
        await self.read(self._units.renew(claim))

    async def release(self, claim: Claim, *, status: str) -> bool:
        """Give the run up; see `RunStore.release`."""
        is_released = await self.write(self._units.release(claim, status))
        if is_released:
            self._owners.drop(claim.run_id, claim.epoch)
        return is_released

    async def post(self, run_id: str, item: InboxItem) -> None:
        """Leave something for the owner; see `RunStore.post`."""
        await self.write(self._units.post(run_id, item))

    async def delete_run(self, run_id: str) -> None:
        """Forget a run; see `RunStore.delete_run`."""
        await self.write(self._units.delete(run_id))
        self._owners.forget(run_id)

    # Reading

    async def load(self, run_id: str) -> RunRow:
        """The run's row; see `RunStore.load`."""
        return await self.read(self._queries.row(run_id))

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """Committed events after a seq; see `RunStore.events`.

        Raises:
            StoreCorrupt: One is missing or not what was written.
        """
        return await self.read(self._queries.page(run_id, after=after, limit=limit))

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
        return await self.read(self._queries.rows(filters, limit=limit))

    async def inbox(self, run_id: str) -> Sequence[InboxItem]:
        """What waits for the owner; see `RunStore.inbox`."""
        return await self.read(self._queries.inbox(run_id))

    async def definition(self, sha: str) -> Mapping[str, Data] | None:
        """The definition of that sha; see `RunStore.definition`."""
        return await self.read(self._queries.definition(sha))

    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        """Runs that wait for an owner; see `RunStore.recoverable`."""
        return await self.read(self._queries.recoverable(now=now, limit=limit))

    def _forsake(self, row: RunRow) -> None:
        """Nobody carries it out: it counts as without an owner, so that this process may recover it."""
        self._owners.drop(row.id, row.epoch)

    def _leave(self, claim: Claim) -> None:
        self._owners.drop(claim.run_id, claim.epoch)
