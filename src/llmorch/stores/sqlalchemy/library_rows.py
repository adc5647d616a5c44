"""Documents from their rows, and the parts of the questions that readers and writers share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from ...documents import Document, Kind, Use, decode, label
from ...errors import StoreCorrupt
from .._rows import sum_of
from .session import Columns, Session

__all__ = ["COLUMNS", "IS_KEY", "PRESENT", "document_of", "key_of", "users_of"]

IS_KEY: Final = "(kind || E'\\n' || folder || E'\\n' || name) = %(key)s"

# What a version uses comes with it: each statement of a reader sees a state of its own.
_USES: Final = (
    "(SELECT coalesce(json_agg(json_build_array(o.kind, o.name, w.version, o.folder) ORDER BY u.place), '[]')::text "
    "FROM document_uses u JOIN document_versions w ON w.n = u.used JOIN documents o ON o.n = w.document "
    "WHERE u.version = v.n)"
)
COLUMNS: Final = (
    f"d.kind, d.name, d.folder, v.version, d.created_at, v.at, d.deleted_at, v.data, v.sum, {_USES}, d.version"
)
"""Of documents `d` and their versions `v`; the last one is the present version."""

PRESENT: Final = "documents d JOIN document_versions v ON v.document = d.n AND v.version = d.version"
_USERS: Final = (
    f"SELECT {COLUMNS} FROM (SELECT n FROM documents WHERE {IS_KEY}) t LEFT JOIN ({PRESENT}) "
    "ON d.deleted_at IS NULL AND d.n <> t.n AND EXISTS (SELECT 1 FROM document_uses u "
    "JOIN document_versions w ON w.n = u.used WHERE u.version = v.n AND w.document = t.n)"
)


def key_of(kind: Kind, name: str, *, folder: str) -> dict[str, object]:
    """The value for `IS_KEY`."""
    return {"key": f"{kind}\n{folder}\n{name}"}


def users_of(session: Session, key: Mapping[str, object]) -> list[Document] | None:
    """The documents whose present version uses any version of that one; None when there is no such document."""
    found = session.rows(_USERS, key)
    if not found:
        return None
    return [document_of(columns, session.where) for columns in found if columns[0] is not None]


def document_of(columns: Columns, where: str) -> Document:
    """A document from `COLUMNS`.

    Args:
        where: The database, for texts.

    Raises:
        StoreCorrupt: It is not what was written.
    """
    kind, name, folder, version, created_at, updated_at, deleted_at, data, kept_sum, uses, _ = columns
    what = f"{label(kind, name, folder=folder)}, version {version}, in the store {where}"
    remedy = "nothing was changed. Restore a backup of the database"
    if sum_of(data, kind=kind, version=version) != kept_sum:
        raise StoreCorrupt(f"{what} is not what was written: its checksum differs; {remedy}")
    try:
        about = Document(
            kind,
            name,
            {},
            folder=folder,
            uses=tuple(Use(of, used, version=at, folder=within) for of, used, at, within in json.loads(uses)),
            version=version,
            created_at=created_at,
            updated_at=updated_at,
            deleted_at=deleted_at,
        )
        return decode(data, like=about)
    except ValueError as error:
        raise StoreCorrupt(f"{what} cannot be read ({error}); {remedy}") from error
