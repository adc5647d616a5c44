"""One database file: a thread that writes, one that reads, and what is done to it as a whole."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from ...errors import StoreError
from .._lane import Home, Job
from .backup import Restored, back_up, restore
from .copies import snapshot
from .faults import Refused, Trouble, error_of, trouble_of
from .owners import Owners
from .place import Place
from .reader import Reader
from .rows import Work
from .schema import MIGRATIONS, backup_of, is_behind, version_of
from .vacuum import Vacuumed, vacuumed
from .verify import StoreReport, examined_file
from .writer import Writer

__all__ = ["Database", "Migration"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Migration:
    """Schemas of a store: `present` is what the file has, 0 for none, `newest` what this llmorch writes.

    Attributes:
        backup: The copy that is made before the first step; None where none is needed.
    """

    present: int
    newest: int
    backup: Path | None = None

    @property
    def is_due(self) -> bool:
        """Whether the file has an older schema, or none."""
        return self.present < self.newest


class Database:
    """A file with everything of a store in it, made at first use; what `SqliteStore` and `SqliteLibrary` stand on.

    Args:
        path: The file; its folder must exist.
        durability: `power` survives the loss of power, `process` only the death of the process.
        patience_s: For how many seconds a locked file is tried again.

    Example:
        >>> async def copy(store: Database) -> Path:
        ...     return await store.backup("runs-copy.db")
    """

    def __init__(
        self, path: str | os.PathLike[str], *, durability: Literal["power", "process"], patience_s: float
    ) -> None:
        if durability not in ("power", "process"):
            raise ValueError(f"durability must be 'power' or 'process', not {durability!r}")
        self._place = Place(Path(path).expanduser())
        self._home = Home(self._place.database)
        self._patience_s = patience_s
        self._owners = Owners(self._place.owners)
        busy_s = min(1.0, patience_s / 2)
        synchronous: Literal["FULL", "NORMAL"] = "FULL" if durability == "power" else "NORMAL"
        self._writer = Writer(self._place, synchronous=synchronous, busy_s=busy_s, owners=self._owners)
        self._reader = Reader(self._place, busy_s=busy_s)
        self._is_open = False
        for lane in (self._reader.lane, self._writer.lane):
            weakref.finalize(self, lane.stop).atexit = False  # at exit the lanes are waited for as well

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

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by whichever of its users."""
        return self._writer.lane.is_stopping.is_set()

    def refuse_full(self) -> None:
        """Be sure that there is room for more than what is under way.

        Raises:
            StoreFull: There is none, or only what is kept for answers that are paid for.
        """
        shortage = self._writer.shortage
        if shortage is not None and self._writer.trouble is Trouble.FULL:
            raise error_of(Trouble.FULL, shortage, path=self.path)

    async def revision(self) -> int:
        """A number that differs from the last one when anything was committed since, by whatever process."""
        return await self.read(self._reader.revision)

    # The two lanes

    async def write(self, work: Work[T], *, undo: Callable[[T], None] | None = None) -> T:
        """Have it committed; for adapters that keep other things in the same file.

        Args:
            undo: Told of what was committed for a caller that was cancelled meanwhile.
        """
        self._home.check()
        job = Job(work, patience_s=self._patience_s)
        self._writer.lane.put(job)
        return await job.outcome(undo=undo)

    async def read(self, work: Work[T]) -> T:
        """What the work finds in one snapshot; for adapters that keep other things in the same file."""
        self._home.check()
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
            await self.write(_nothing)
            self._is_open = True

    async def aclose(self) -> None:
        """Commit what is queued, end both threads and let go of all owners; what it owned is then without one."""
        self._home.check()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._join)

    def _join(self) -> None:
        self._reader.lane.stop()
        self._reader.lane.join()  # first: the last connection of all moves the log into the database, and must write
        self._writer.lane.stop()
        self._writer.lane.join()

    # The file as a whole: each on a thread and a connection of its own

    async def backup(self, to: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """A copy of the store as it is now, in one file for this user only; runs go on meanwhile.

        The copy is checked before it gets its name, so a file of that name is always whole.

        Args:
            to: The new file; its folder must exist, and may be on a network file system.
            overwrite: A file that is there is replaced.

        Raises:
            StoreError: The file is there, or one of the two cannot be opened.
            StoreCorrupt: The store is damaged.
            StoreFull: There is no room for the copy.
        """
        await self._open()
        watched = anyio.from_thread.check_cancelled
        return await self._apart(lambda: back_up(self.path, to, overwrite=overwrite, on_step=watched))

    @staticmethod
    async def restore(path: str | os.PathLike[str], backup: str | os.PathLike[str]) -> Restored:
        """Put a backup in a store's place; what was there is kept under another name.

        What was recorded after the backup was made is not in it: such runs are gone, and what others did goes on from
        where they were then.

        Args:
            path: The store's file. No process may have it open, this one included.
            backup: A file that `backup` made, or any copy of a store; it is checked and stays as it is.

        Raises:
            StoreBusy: Somebody has the store open; the text names it.
            StoreCorrupt: The backup is damaged. Nothing was changed.
            StoreError: It is no store, or one of a newer llmorch. Nothing was changed.
            StoreFull: There is no room for a second copy beside the store. Nothing was changed.
        """
        return await anyio.to_thread.run_sync(restore, path, backup)

    async def verify(self) -> StoreReport:
        """Read everything and say what is not as it was written; changes nothing, and runs go on meanwhile.

        Raises:
            StoreError: There is no store, it belongs to another program or a newer llmorch, or cannot be opened.
            StoreCorrupt: The file is no database.
        """
        return await self._apart(lambda: examined_file(self._place.database))

    async def migrate(self, *, dry_run: bool = False) -> Migration:
        """Bring the file to the newest schema, with a backup beside it; any first use of a store does the same.

        Args:
            dry_run: Only say what would be done.

        Raises:
            StoreError: The file belongs to another program, or has a newer schema.
        """
        found = await self._apart(self._schema)
        if not dry_run:
            await self._open()
        return found

    async def vacuum(self) -> Vacuumed:
        """Give what deleted runs took up back to the file system.

        A file made by this llmorch shrinks in small steps between which others write. An older one is written anew
        once, while whoever writes waits; that takes as much room again as the file.

        Raises:
            StoreBusy: Others wrote for `patience_s` without a pause.
            StoreFull: There is no room for it; the store is as it was.
        """
        await self._open()
        watched = anyio.from_thread.check_cancelled
        return await self._apart(lambda: vacuumed(self._place, patience_s=self._patience_s, on_step=watched))

    def _schema(self) -> Migration:
        path = self._place.database
        try:
            self._place.check()
            if not path.exists():
                return Migration(0, len(MIGRATIONS))
            with closing(snapshot(path)) as connection:
                present = version_of(connection, path)
        except (sqlite3.Error, OSError, Refused) as error:
            raise error_of(trouble_of(error), error, path=path) from error
        backup = backup_of(path, present) if 0 < present < len(MIGRATIONS) else None
        return Migration(present, len(MIGRATIONS), backup)

    async def _apart(self, work: Callable[[], T]) -> T:
        self._home.check()
        return await anyio.to_thread.run_sync(work)


def _nothing(connection: sqlite3.Connection) -> None:
    """Work that only has the file opened."""
