"""Blocks, payloads and workflows kept in one SQLite file, the store's own if it is given."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ...documents import Document, Kind, in_order, is_match
from ..library_rules import not_found
from .database import Database
from .library_rows import documents_of, find, users_of
from .library_units import LibraryUnits

__all__ = ["SqliteLibrary"]

_PATIENCE_S = 60.0


class SqliteLibrary:
    """A Library in one file, for any number of processes of one machine.

    Args:
        place: The file, or a SqliteStore: the documents then stand in its file and are written by its one writer.
            Closing the library leaves a store that was given open.
        durability: Of a file: `power` survives the loss of power, `process` only the death of the process.

    Example:
        >>> SqliteLibrary("library.db").path.name
        'library.db'
    """

    def __init__(
        self, place: str | os.PathLike[str] | Database, *, durability: Literal["power", "process"] = "power"
    ) -> None:
        self._is_mine = not isinstance(place, Database)
        self._file = (
            place if isinstance(place, Database) else Database(place, durability=durability, patience_s=_PATIENCE_S)
        )
        self._units = LibraryUnits(self.path)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._file.path

    async def put(self, document: Document, *, expected: int | None = None, at: int | None = None) -> Document:
        """Add the next version; see `Library.put`."""
        return await self._file.write(self._units.put(document, expected=expected, at=at))

    async def rename(
        self, kind: Kind, name: str, *, to: str, folder: str = "", to_folder: str | None = None
    ) -> Document:
        """Give it another name; see `Library.rename`."""
        return await self._file.write(self._units.rename(kind, name, to=to, folder=folder, to_folder=to_folder))

    async def delete(
        self, kind: Kind, name: str, *, folder: str = "", force: bool = False, at: int | None = None
    ) -> None:
        """Take it out of lists; see `Library.delete`."""
        await self._file.write(self._units.delete(kind, name, folder=folder, force=force, at=at))

    async def purge(self, *, before: int | None = None) -> int:
        """Forget deleted documents; see `Library.purge`."""
        return await self._file.write(self._units.purge(before=before))

    async def get(self, kind: Kind, name: str, *, folder: str = "", version: int | None = None) -> Document:
        """One version; see `Library.get`.

        Raises:
            StoreCorrupt: It is not what was written.
        """
        which = "d.deleted_at IS NULL" if version is None else "v.version = ?"
        values: list[Any] = [kind, folder, name] if version is None else [kind, folder, name, version]  # Any: columns

        def work(connection: sqlite3.Connection) -> Document:
            where = f"d.kind = ? AND d.folder = ? AND d.name = ? AND {which}"
            rows = find(connection, where, values=values, every_version=version is not None)
            if not rows:
                known = self._present(connection, kind, name, folder=folder)
                raise not_found(kind, name, folder=folder, version=version, known=known[1])
            return documents_of(connection, rows, path=self.path)[0]

        return await self._file.read(work)

    def _present(self, connection: sqlite3.Connection, kind: Kind, name: str, *, folder: str) -> tuple[int, int]:
        """Number of the document and of its present version, deleted ones included; zeros when there is none."""
        where = "SELECT n, version FROM documents WHERE kind = ? AND folder = ? AND name = ?"
        found: tuple[int, int] | None = connection.execute(where, (kind, folder, name)).fetchone()
        return found or (0, 0)

    async def list(
        self,
        kind: Kind | None = None,
        *,
        name: str | None = None,
        folder: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        deleted: bool | None = False,
    ) -> Sequence[Document]:
        """Present versions in order; see `Library.list`."""
        wanted = {"d.kind = ?": kind, "d.name = ?": name}
        values = [value for value in wanted.values() if value is not None]
        conditions = [condition for condition, value in wanted.items() if value is not None]
        if deleted is not None:
            conditions.append(f"(d.deleted_at IS NOT NULL) = {deleted:d}")
        where = " AND ".join(conditions) or "TRUE"

        def work(connection: sqlite3.Connection) -> list[Document]:
            documents = documents_of(connection, find(connection, where, values=values), path=self.path)
            return in_order(one for one in documents if is_match(one, folder=folder, tag=tag, text=text))

        return await self._file.read(work)

    async def versions(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Every version; see `Library.versions`."""

        def work(connection: sqlite3.Connection) -> list[Document]:
            where = "d.kind = ? AND d.folder = ? AND d.name = ?"
            rows = find(connection, where, values=(kind, folder, name), every_version=True)
            if not rows:
                raise not_found(kind, name, folder=folder)
            return documents_of(connection, rows, path=self.path)

        return await self._file.read(work)

    async def users(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Who uses it; see `Library.users`."""

        def work(connection: sqlite3.Connection) -> list[Document]:
            n, _ = self._present(connection, kind, name, folder=folder)
            if not n:
                raise not_found(kind, name, folder=folder)
            return in_order(documents_of(connection, users_of(connection, n), path=self.path))

        return await self._file.read(work)

    async def aclose(self) -> None:
        """Commit what is queued and let go of the file, unless a store was given."""
        if self._is_mine:
            await self._file.aclose()
