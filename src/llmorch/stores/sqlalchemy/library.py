"""Blocks, payloads and workflows kept in PostgreSQL, in the store's own schema if it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ...documents import Document, Kind, in_order, is_match
from .store import SqlAlchemyStore

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["SqlAlchemyLibrary"]


class SqlAlchemyLibrary:
    """A Library in a PostgreSQL database, for any number of processes of many machines.

    Args:
        place: A URL such as `postgresql://user:password@host:5432/database`, or a SqlAlchemyStore: the documents then
            stand in its schema and are written over its connections. Closing the library leaves a store that was given
            open.
        durability: Of a URL: `power` waits until the server has a version on its disk, `process` does not.
        schema: Of a URL: the schema with the tables.

    Raises:
        MissingExtra: SQLAlchemy or psycopg is not installed.
        ValueError: The URL names no PostgreSQL database.

    Example:
        >>> SqlAlchemyLibrary("postgresql://ada:secret@db.example/prompts").where
        'postgresql://ada:***@db.example/prompts'
    """

    def __init__(
        self,
        place: str | URL | SqlAlchemyStore,
        *,
        durability: Literal["power", "process"] = "power",
        schema: str = "llmorch",
    ) -> None:
        self._is_mine = not isinstance(place, SqlAlchemyStore)
        self._store = (
            place
            if isinstance(place, SqlAlchemyStore)
            else SqlAlchemyStore(place, durability=durability, schema=schema)
        )
        from .library_queries import LibraryQueries
        from .library_units import LibraryUnits

        self._units = LibraryUnits()
        self._queries = LibraryQueries()

    @property
    def where(self) -> str:
        """The database as a URL, without password and options."""
        return self._store.where

    async def put(self, document: Document, *, expected: int | None = None, at: int | None = None) -> Document:
        """Add the next version; see `Library.put`."""
        return await self._store.write(self._units.put(document, expected=expected, at=at))

    async def rename(
        self, kind: Kind, name: str, *, to: str, folder: str = "", to_folder: str | None = None
    ) -> Document:
        """Give it another name; see `Library.rename`."""
        return await self._store.write(self._units.rename(kind, name, to=to, folder=folder, to_folder=to_folder))

    async def delete(
        self, kind: Kind, name: str, *, folder: str = "", force: bool = False, at: int | None = None
    ) -> None:
        """Take it out of lists; see `Library.delete`."""
        await self._store.write(self._units.delete(kind, name, folder=folder, force=force, at=at))

    async def purge(self, *, before: int | None = None) -> int:
        """Forget deleted documents; see `Library.purge`."""
        return await self._store.write(self._units.purge(before=before))

    async def get(self, kind: Kind, name: str, *, folder: str = "", version: int | None = None) -> Document:
        """One version; see `Library.get`.

        Raises:
            StoreCorrupt: It is not what was written.
        """
        return await self._store.read(self._queries.one(kind, name, folder=folder, version=version))

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
        documents = await self._store.read(self._queries.present(kind, name, deleted=deleted))
        return in_order(one for one in documents if is_match(one, folder=folder, tag=tag, text=text))

    async def versions(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Every version; see `Library.versions`."""
        return await self._store.read(self._queries.versions(kind, name, folder=folder))

    async def users(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Who uses it; see `Library.users`."""
        return in_order(await self._store.read(self._queries.users(kind, name, folder=folder)))

    async def aclose(self) -> None:
        """Commit what is queued and let go of the connections, unless a store was given."""
        if self._is_mine:
            await self._store.aclose()
