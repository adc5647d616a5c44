"""What the reader does for a library: each function makes the work of one job, which is one statement."""

from __future__ import annotations

from collections.abc import Callable

from ...documents import Document, Kind
from ..library_rules import not_found
from .library_rows import COLUMNS, IS_KEY, PRESENT, document_of, key_of, users_of
from .session import Session

__all__ = ["LibraryQueries"]

_KEYED = f"(SELECT * FROM documents WHERE {IS_KEY}) d"
_ONE = (
    f"SELECT {COLUMNS} FROM {_KEYED} LEFT JOIN document_versions v ON v.document = d.n AND v.version = "
    "coalesce(%(version)s, CASE WHEN d.deleted_at IS NULL THEN d.version END)"
)
_VERSIONS = f"SELECT {COLUMNS} FROM {_KEYED} JOIN document_versions v ON v.document = d.n ORDER BY v.version"
_FILTERS = {
    "kind": "d.kind = %(kind)s",
    "name": "d.name = %(name)s",
    "deleted": "(d.deleted_at IS NOT NULL) = %(deleted)s",
}


class LibraryQueries:
    """Makes the work of each reading method of the library."""

    def one(self, kind: Kind, name: str, *, folder: str, version: int | None) -> Callable[[Session], Document]:
        """One version; see `Library.get`."""
        values = key_of(kind, name, folder=folder) | {"version": version}

        def work(session: Session) -> Document:
            found = session.row(_ONE, values)
            if found is None or found[3] is None:
                known = 0 if found is None else found[-1]
                raise not_found(kind, name, folder=folder, version=version, known=known)
            return document_of(found, session.where)

        return work

    def present(
        self, kind: Kind | None, name: str | None, *, deleted: bool | None
    ) -> Callable[[Session], list[Document]]:
        """Present versions in any order."""
        given = {"kind": kind, "name": name, "deleted": deleted}
        values: dict[str, object] = {key: value for key, value in given.items() if value is not None}
        where = " AND ".join(_FILTERS[key] for key in values) or "TRUE"
        query = f"SELECT {COLUMNS} FROM {PRESENT} WHERE {where}"
        return lambda session: [document_of(found, session.where) for found in session.rows(query, values)]

    def versions(self, kind: Kind, name: str, *, folder: str) -> Callable[[Session], list[Document]]:
        """Every version, oldest first; see `Library.versions`."""

        def work(session: Session) -> list[Document]:
            found = session.rows(_VERSIONS, key_of(kind, name, folder=folder))
            if not found:
                raise not_found(kind, name, folder=folder)
            return [document_of(columns, session.where) for columns in found]

        return work

    def users(self, kind: Kind, name: str, *, folder: str) -> Callable[[Session], list[Document]]:
        """Who uses it, in any order; see `Library.users`."""

        def work(session: Session) -> list[Document]:
            found = users_of(session, key_of(kind, name, folder=folder))
            if found is None:
                raise not_found(kind, name, folder=folder)
            return found

        return work
