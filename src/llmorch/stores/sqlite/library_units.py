"""What the writer does for a library inside a transaction: each function makes the work of one job."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..._clock import now_us
from ...documents import Document, Kind, Use, encode
from .._rows import sum_of
from ..library_rules import conflict_in, in_use, not_found, taken, unknown_use
from .library_rows import documents_of, find, users_of
from .rows import Work

__all__ = ["LibraryUnits"]

_FIND: Final = "SELECT n, version, deleted_at FROM documents WHERE kind = ? AND folder = ? AND name = ?"
_FIND_USED: Final = (
    "SELECT v.n FROM documents d JOIN document_versions v ON v.document = d.n "
    "WHERE d.kind = ? AND d.folder = ? AND d.name = ? AND v.version = ?"
)
_CONTENT: Final = "SELECT n, data FROM document_versions WHERE document = ? AND version = ?"
_USED: Final = "SELECT used FROM document_uses WHERE user = ? ORDER BY place"
_PURGE: Final = """
    WITH RECURSIVE staying(n) AS (
        SELECT n FROM documents WHERE deleted_at IS NULL OR deleted_at >= ?
        UNION
        SELECT used.document FROM staying
            JOIN document_versions v ON v.document = staying.n
            JOIN document_uses u ON u.user = v.n
            JOIN document_versions used ON used.n = u.used
    )
    SELECT n FROM documents WHERE n NOT IN (SELECT n FROM staying)
"""
_FOR_EVER: Final = 2**63 - 1


class LibraryUnits:
    """Makes the work of each writing method of the library.

    Nothing is written before it is clear that nothing is refused: what an error's unit wrote would be kept.

    Args:
        path: The store's file, for texts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, document: Document, *, expected: int | None, at: int | None) -> Work[Document]:
        """Add the next version; see `Library.put`."""
        content = encode(document)

        def work(connection: sqlite3.Connection) -> Document:
            found = connection.execute(_FIND, (document.kind, document.folder, document.name)).fetchone()
            n, version, deleted_at = found or (None, 0, None)
            is_there = n is not None and deleted_at is None
            used = [self._used(connection, document, use) for use in document.uses]
            is_same = n is not None and self._made_of(connection, n, version) == (content, used)
            if not (is_same and is_there and expected != 0):
                conflict = conflict_in(document, expected=expected, present=version if is_there else None)
                if conflict is not None:
                    raise conflict
                moment = now_us() if at is None else at
                if n is None:
                    n = self._begin(connection, document, moment)
                if not is_same:
                    version += 1
                    self._add(connection, n, content, version=version, at=moment, used=used, kind=document.kind)
                connection.execute("UPDATE documents SET version = ?, deleted_at = NULL WHERE n = ?", (version, n))
            return self._one(connection, n)

        return work

    def _used(self, connection: sqlite3.Connection, document: Document, use: Use) -> int:
        found = connection.execute(_FIND_USED, (use.kind, use.folder, use.name, use.version)).fetchone()
        if found is None:
            raise unknown_use(document, use)
        (n,) = found
        return int(n)

    def _made_of(self, connection: sqlite3.Connection, n: int, version: int) -> tuple[bytes, list[int]]:
        """Content and uses of a version."""
        row, content = connection.execute(_CONTENT, (n, version)).fetchone()
        return content, [used for (used,) in connection.execute(_USED, (row,))]

    def _begin(self, connection: sqlite3.Connection, document: Document, at: int) -> int:
        (n,) = connection.execute(
            "INSERT INTO documents(kind, folder, name, version, created_at) VALUES (?, ?, ?, 0, ?) RETURNING n",
            (document.kind, document.folder, document.name, at),
        ).fetchone()
        return int(n)

    def _add(
        self, connection: sqlite3.Connection, n: int, content: bytes, *, version: int, at: int, used: Sequence[int],
        kind: Kind,
    ) -> None:  # fmt: skip
        (row,) = connection.execute(
            "INSERT INTO document_versions(document, version, at, data, sum) VALUES (?, ?, ?, ?, ?) RETURNING n",
            (n, version, at, content, sum_of(content, kind=kind, version=version)),
        ).fetchone()
        connection.executemany(
            "INSERT INTO document_uses VALUES (?, ?, ?)", [(row, place, one) for place, one in enumerate(used)]
        )

    def _one(self, connection: sqlite3.Connection, n: int | None) -> Document:
        return documents_of(connection, find(connection, "d.n = ?", values=(n,)), path=self._path)[0]

    def rename(self, kind: Kind, name: str, *, to: str, folder: str, to_folder: str | None) -> Work[Document]:
        """Give it another name; see `Library.rename`."""

        def work(connection: sqlite3.Connection) -> Document:
            n = self._there(connection, kind, name, folder)
            renamed = replace(self._one(connection, n), name=to, folder=folder if to_folder is None else to_folder)
            other = connection.execute(_FIND, (kind, renamed.folder, to)).fetchone()
            if other is not None and other[0] != n:
                raise taken(renamed, is_deleted=other[2] is not None, version=other[1])
            connection.execute("UPDATE documents SET name = ?, folder = ? WHERE n = ?", (to, renamed.folder, n))
            return renamed

        return work

    def _there(self, connection: sqlite3.Connection, kind: Kind, name: str, folder: str) -> int:
        n, version, deleted_at = connection.execute(_FIND, (kind, folder, name)).fetchone() or (None, 0, None)
        if n is None or deleted_at is not None:
            raise not_found(kind, name, folder=folder, known=version)
        return int(n)

    def delete(self, kind: Kind, name: str, *, folder: str, force: bool, at: int | None) -> Work[None]:
        """Take it out of lists; see `Library.delete`."""

        def work(connection: sqlite3.Connection) -> None:
            n = self._there(connection, kind, name, folder)
            rows = [] if force else users_of(connection, n)
            if rows:
                users = documents_of(connection, rows, path=self._path)
                raise in_use(kind, name, folder=folder, users=users)
            connection.execute("UPDATE documents SET deleted_at = ? WHERE n = ?", (now_us() if at is None else at, n))

        return work

    def purge(self, *, before: int | None) -> Work[int]:
        """Forget deleted documents; see `Library.purge`."""

        def work(connection: sqlite3.Connection) -> int:
            gone = connection.execute(_PURGE, (_FOR_EVER if before is None else before,)).fetchall()
            connection.executemany(  # first: they may have been made of each other
                "DELETE FROM document_uses WHERE user IN (SELECT n FROM document_versions WHERE document = ?)", gone
            )
            connection.executemany("DELETE FROM documents WHERE n = ?", gone)
            return len(gone)

        return work
