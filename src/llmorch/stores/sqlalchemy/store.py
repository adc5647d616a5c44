"""Runs kept in PostgreSQL, for any number of processes and machines."""

from __future__ import annotations

import os
import secrets
import socket
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import anyio.to_thread

from ..._lazy import require
from ...errors import MissingExtra, StoreError
from ...events import Event
from ...models.values import Data
from ...ports import AppendReply, Claim, InboxItem, RunRow
from .._lane import Home, Job, Lane
from .._rows import unit_of

if TYPE_CHECKING:
    from sqlalchemy import URL

    from .session import Session

__all__ = ["SqlAlchemyStore"]

T = TypeVar("T")


class SqlAlchemyStore:
    """A RunStore in a PostgreSQL database: durable, shared by processes of many machines.

    It makes a schema and its tables at first use, and migrates them. Who owns a run holds a lease by the clock of the
    server and renews it from a thread of the store; when the process ends or is stopped, others may claim the run after
    `lease_s`. A lock or a lost connection makes `append` wait for as long as it takes, as what it holds is paid for;
    every other method raises `StoreBusy` after `patience_s`. Where the server was never reached, that is a `StoreError`
    at once.

    A store may be used from several event loops and threads, and not by a process forked from the one that made it. A
    pooler before the server must keep a session for each client.

    Args:
        url: `postgresql://user:password@host:5432/database`; options of libpq, such as `sslmode=require`, stand in its
            query.
        owner: The name under which this process owns runs; unset, one that is never used twice.
        durability: `power` waits until the server has a unit on its disk; with `process`, which is quicker, a crash of
            the server itself may lose the last moments.
        schema: The schema with the store's tables.
        lease_s: For how many seconds a claim holds without being renewed.
        renew_s: How often claims are renewed, in seconds.
        patience_s: For how many seconds a lock or a lost connection is tried again.

    Raises:
        MissingExtra: SQLAlchemy or psycopg is not installed.
        ValueError: The URL names no PostgreSQL database.

    Example:
        >>> SqlAlchemyStore("postgresql://ada:secret@db.example/runs").where
        'postgresql://ada:***@db.example/runs'
    """

    def __init__(
        self,
        url: str | URL,
        *,
        owner: str | None = None,
        durability: Literal["power", "process"] = "power",
        schema: str = "llmorch",
        lease_s: float = 30.0,
        renew_s: float = 10.0,
        patience_s: float = 60.0,
    ) -> None:
        if durability not in ("power", "process"):
            raise ValueError(f"durability must be 'power' or 'process', not {durability!r}")
        _require_drivers()
        from .parts import Parts

        self.owner = owner or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._patience_s = patience_s
        self._parts = parts = Parts(
            url, schema=schema, durability=durability, lease_s=lease_s, renew_s=renew_s, patience_s=patience_s
        )
        self._home = Home(self.where)
        self._is_open = False
        for stop in (parts.reader.lane.stop, parts.writer.lane.stop, parts.pulse.stop, parts.watch.stop):
            weakref.finalize(self, stop).atexit = False  # at exit the lanes are waited for as well

    @classmethod
    def from_url(
        cls, url: str, *, durability: Literal["power", "process"] = "power", owner: str | None = None
    ) -> SqlAlchemyStore:
        """The store that a URL names: `postgresql://...` or `postgresql+psycopg://...`.

        Raises:
            MissingExtra: SQLAlchemy or psycopg is not installed.
            ValueError: It is no such URL.
        """
        return cls(url, durability=durability, owner=owner)

    @property
    def where(self) -> str:
        """The database as a URL, without password and options."""
        return self._parts.where

    @property
    def trouble(self) -> Literal["store-full", "store-busy", "store-failing"] | None:
        """Why units wait just now, as the code of a warning; None while all is well."""
        return self._parts.trouble

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by whichever of its users."""
        return self._parts.writer.lane.is_stopping.is_set()

    # Writing

    async def create(
        self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None = None
    ) -> RunRow:
        """Put a new run; see `RunStore.create`."""
        work = self._parts.units.create(row, first, definition=definition)
        return await self.write(work, undo=lambda made: self._leave(made.id, made.epoch))

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
        self._begin()
        work = self._parts.units.append(
            claim, tuple(events), unit=unit_of(events), status=status, consumed=tuple(consumed), wake_at=wake_at
        )
        return self._put(self._parts.writer.lane, work, patience_s=None)

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        """Become the owner; see `RunStore.claim`."""
        work = self._parts.claims.claim(run_id, owner, takeover=takeover)
        return await self.write(work, undo=lambda made: self._leave(made.run_id, made.epoch))

    async def renew(self, claim: Claim) -> None:
        """Say that the owner lives; see `RunStore.renew`."""
        await self.write(self._parts.claims.renew(claim))

    async def release(self, claim: Claim, *, status: str) -> bool:
        """Give the run up; see `RunStore.release`."""
        return await self.write(self._parts.claims.release(claim, status))

    async def post(self, run_id: str, item: InboxItem) -> None:
        """Leave something for the owner; see `RunStore.post`."""
        await self.write(self._parts.units.post(run_id, item))

    async def delete_run(self, run_id: str) -> None:
        """Forget a run; see `RunStore.delete_run`."""
        await self.write(self._parts.units.delete(run_id))

    # Reading

    async def load(self, run_id: str) -> RunRow:
        """The run's row; see `RunStore.load`."""
        return await self.read(self._parts.queries.row(run_id))

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """Committed events after a seq; see `RunStore.events`.

        Raises:
            StoreCorrupt: One is missing or not what was written.
        """
        return await self.read(self._parts.queries.page(run_id, after=after, limit=limit))

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
        return await self.read(self._parts.queries.rows(filters, limit=limit))

    async def inbox(self, run_id: str) -> Sequence[InboxItem]:
        """What waits for the owner; see `RunStore.inbox`."""
        return await self.read(self._parts.queries.inbox(run_id))

    async def definition(self, sha: str) -> Mapping[str, Data] | None:
        """The definition of that sha; see `RunStore.definition`."""
        return await self.read(self._parts.queries.definition(sha))

    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        """Runs that wait for an owner, by the clock of the server; see `RunStore.recoverable`."""
        return await self.read(self._parts.queries.recoverable(limit=limit))

    async def revision(self) -> int:
        """A number that differs from the last one when anything was committed since, by whatever process."""
        return await self.read(self._parts.revision.ask)

    async def changed(self, since: int, *, timeout_s: float) -> None:
        """Return as soon as it was heard that the revision is no longer that one, or after so many seconds.

        It is a hint: news may be late or lost, so ask for the revision afterwards, whatever this says.
        """
        self._begin()
        await self._parts.revision.changed(since, timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Commit what is queued, end all threads and give up all claims; what it owned is then without an owner."""
        self._home.check()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._parts.close)

    # The two lanes

    def _begin(self) -> None:
        self._home.check()
        self._parts.start()

    def _put(self, lane: Lane, work: Callable[[Session], T], *, patience_s: float | None) -> Job[T]:
        job = Job(cast("Callable[[Any], T]", work), patience_s=patience_s)  # Any: the lane is one for any connection
        lane.put(job)
        return job

    async def write(self, work: Callable[[Session], T], *, undo: Callable[[T], None] | None = None) -> T:
        """Have it committed; for adapters that keep other things in the same database.

        Args:
            work: May be tried again although it was committed, when the server's answer to that was lost.
            undo: Told of what was committed for a caller that was cancelled meanwhile.
        """
        self._begin()
        job = self._put(self._parts.writer.lane, work, patience_s=self._patience_s)
        return await job.outcome(undo=undo)

    def _leave(self, run_id: str, epoch: int) -> None:
        """Nobody carries it out: it counts as without an owner, so that this process may recover it."""
        self._parts.leases.drop(run_id, epoch)
        with suppress(StoreError, RuntimeError):  # closed, or no loop runs any more: then the lease runs out
            self._put(self._parts.writer.lane, self._parts.claims.leave(run_id, epoch), patience_s=self._patience_s)

    async def read(self, work: Callable[[Session], T]) -> T:
        """What the work finds, each statement a transaction of its own; for adapters as above."""
        self._begin()
        if not self._is_open:
            await self._open()
        return await self._put(self._parts.reader.lane, work, patience_s=self._patience_s).outcome()

    async def _open(self) -> None:
        """Let the writer make the tables or bring them up to date, unless that was done before."""
        lane = self._parts.reader.lane
        try:
            self._is_open = await self._put(lane, self._parts.is_current, patience_s=self._patience_s).outcome()
        except StoreError:  # the writer says it better
            self._is_open = False
        if not self._is_open:
            await self.write(_nothing)
            self._is_open = True


def _nothing(session: Session) -> None:
    """Work that only has the database opened."""


def _require_drivers() -> None:
    purpose = "SqlAlchemyStore"
    try:
        require("sqlalchemy", extra="postgres", purpose=purpose)
        require("psycopg", extra="postgres", purpose=purpose)
    except ImportError as error:  # psycopg without its C library
        raise MissingExtra(
            f"{purpose} needs psycopg with libpq, which is not found; run: pip install 'llmorch[postgres]'"
        ) from error
