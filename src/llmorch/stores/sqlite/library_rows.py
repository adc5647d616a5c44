"""Documents to and from their rows, and the questions that readers and writers share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ...documents import Document, Kind, Use, decode, label
from ...errors import StoreCorrupt
from .._rows import sum_of

__all__ = ["Row", "documents_of", "find", "users_of"]

Row = tuple[int, str, str, str, int, int, int, int | None, bytes, bytes]
"""n of the version, kind, name, folder, version, created_at, updated_at, deleted_at, data, sum."""

_COLUMNS: Final = "v.n, d.kind, d.name, d.folder, v.version, d.created_at, v.at, d.deleted_at, v.data, v.sum"
_JOINED: Final = f"SELECT {_COLUMNS} FROM documents d JOIN document_versions v ON v.document = d.n"
_USES: Final = (
    "SELECT u.user, d.kind, d.name, d.folder, v.version FROM document_uses u "
    "JOIN document_versions v ON v.n = u.used JOIN documents d ON d.n = v.document"
)
_IN_ONE_QUESTION: Final = 500
_USERS: Final = (
    f"{_JOINED} AND v.version = d.version WHERE d.deleted_at IS NULL AND d.n <> ? AND EXISTS ("
    "SELECT 1 FROM document_uses u JOIN document_versions w ON w.n = u.used WHERE u.user = v.n AND w.document = ?)"
)


def find(
    connection: sqlite3.Connection, where: str, *, values: Sequence[Any], every_version: bool = False
) -> list[Row]:  # Any: columns
    """The rows of the documents that fit.

    Args:
        where: A condition on documents `d` and their versions `v`; only present versions, unless said otherwise.
    """
    present = "" if every_version else " AND v.version = d.version"
    return connection.execute(f"{_JOINED}{present} WHERE {where} ORDER BY d.n, v.version", values).fetchall()


def users_of(connection: sqlite3.Connection, n: int) -> list[Row]:
    """Present versions of the documents that use any version of that document."""
    return connection.execute(_USERS, (n, n)).fetchall()


def documents_of(connection: sqlite3.Connection, rows: Sequence[Row], *, path: Path) -> list[Document]:
    """The documents with what they use, in the order of the rows.

    Raises:
        StoreCorrupt: One is not what was written.
    """
    uses: dict[int, list[Use]] = {}
    for user, kind, name, folder, version in _uses_of(connection, [row[0] for row in rows]):
        uses.setdefault(user, []).append(Use(kind, name, version=version, folder=folder))
    return [replace(_document_of(row, path), uses=tuple(uses.get(row[0], ()))) for row in rows]


def _uses_of(connection: sqlite3.Connection, users: Sequence[int]) -> Iterable[tuple[int, Kind, str, str, int]]:
    for at in range(0, len(users), _IN_ONE_QUESTION):
        some = users[at : at + _IN_ONE_QUESTION]
        marks = ",".join("?" * len(some))
        yield from connection.execute(f"{_USES} WHERE u.user IN ({marks}) ORDER BY u.user, u.place", some)


def _document_of(row: Row, path: Path) -> Document:
    _, kind, name, folder, version, created_at, updated_at, deleted_at, data, kept_sum = row
    what = f"{label(kind, name, folder=folder)}, version {version}, in {path}"
    remedy = "nothing was changed. Copy the file and its -wal beside it, and restore a backup"
    if sum_of(data, kind=kind, version=version) != kept_sum:
        raise StoreCorrupt(f"{what} is not what was written: its checksum differs; {remedy}")
    try:
        about = Document(
            kind,  # type: ignore[arg-type]  # a column; what is no kind is refused just here
            name,
            {},
            folder=folder,
            version=version,
            created_at=created_at,
            updated_at=updated_at,
            deleted_at=deleted_at,
        )
        return decode(data, like=about)
    except ValueError as error:
        raise StoreCorrupt(f"{what} cannot be read ({error}); {remedy}") from error
