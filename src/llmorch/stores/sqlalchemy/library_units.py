"""What the writer does for a library inside a transaction: each function makes the work of one job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from ..._clock import now_us
from ...documents import Document, Kind, Use, encode
from .._rows import sum_of
from ..library_rules import conflict_in, in_use, not_found, taken, unknown_use
from .faults import Locked
from .library_rows import COLUMNS, IS_KEY, PRESENT, document_of, key_of, users_of
from .session import Session

__all__ = ["LibraryUnits"]

T = TypeVar("T")

_LOCK: Final = "SELECT pg_try_advisory_xact_lock(%(space)s, 'documents'::regclass::oid::int)"
_SPACE: Final = int.from_bytes(hashlib.sha256(b"llmorch library").digest()[:4], "big", signed=True)
_STATUS: Final = (
    "SELECT CASE WHEN %(xid)s::xid8 < pg_snapshot_xmax(pg_current_snapshot()) THEN pg_xact_status(%(xid)s::xid8) END"
)
_FIND: Final = f"SELECT n, version, deleted_at FROM documents WHERE {IS_KEY}"
_FIND_USED: Final = (
    f"SELECT v.n FROM (SELECT n FROM documents WHERE {IS_KEY}) d "
    "JOIN document_versions v ON v.document = d.n AND v.version = %(version)s"
)
_MADE_OF: Final = (
    "SELECT v.data, ARRAY(SELECT u.used FROM document_uses u WHERE u.version = v.n ORDER BY u.place) "
    "FROM document_versions v WHERE v.document = %(n)s AND v.version = %(version)s"
)
_BEGIN: Final = (
    "INSERT INTO documents(kind, folder, name, version, created_at) "
    "VALUES (%(kind)s, %(folder)s, %(name)s, 0, %(at)s) RETURNING n"
)
_ADD: Final = (
    "WITH v AS (INSERT INTO document_versions(document, version, at, data, sum) "
    "VALUES (%(n)s, %(version)s, %(at)s, %(data)s, %(sum)s) RETURNING n) "
    "INSERT INTO document_uses(version, place, used) SELECT v.n, u.place - 1, u.used "
    "FROM v, unnest(%(used)s::bigint[]) WITH ORDINALITY u(used, place)"
)
_GONE: Final = """
    WITH RECURSIVE staying(n) AS (
        SELECT n FROM documents WHERE deleted_at IS NULL OR deleted_at >= %(before)s::bigint
        UNION
        SELECT used.document FROM staying
            JOIN document_versions v ON v.document = staying.n
            JOIN document_uses u ON u.version = v.n
            JOIN document_versions used ON used.n = u.used
    )
    SELECT n FROM documents WHERE n NOT IN (SELECT n FROM staying)
"""


class LibraryUnits:
    """Makes the work of each writing method of the library.

    Whoever writes documents is the only one in the schema until the commit, and does not wait in line for that: a
    process that was stopped just then holds up documents, but no runs. Nothing is written before it is clear that
    nothing is refused, as what an error's unit wrote would be kept.
    """

    def put(self, document: Document, *, expected: int | None, at: int | None) -> Callable[[Session], Document]:
        """Add the next version; see `Library.put`."""
        content = encode(document)
        key = key_of(document.kind, document.name, folder=document.folder)

        def work(session: Session) -> Document:
            n, version, deleted_at = session.row(_FIND, key) or (None, 0, None)
            is_there = n is not None and deleted_at is None
            used = [_used(session, document, use) for use in document.uses]
            is_same = n is not None and _made_of(session, n, version) == (content, used)
            if not (is_same and is_there and expected != 0):
                conflict = conflict_in(document, expected=expected, present=version if is_there else None)
                if conflict is not None:
                    raise conflict
                moment = now_us() if at is None else at
                if n is None:
                    n = _begin(session, document, moment)
                if not is_same:
                    version += 1
                    _add(session, n, content, version=version, at=moment, used=used, kind=document.kind)
                values = {"n": n, "version": version}
                session.run("UPDATE documents SET version = %(version)s, deleted_at = NULL WHERE n = %(n)s", values)
            return _one(session, n)

        return _alone(work)

    def rename(
        self, kind: Kind, name: str, *, to: str, folder: str, to_folder: str | None
    ) -> Callable[[Session], Document]:
        """Give it another name; see `Library.rename`."""

        def work(session: Session) -> Document:
            n = _there(session, kind, name, folder)
            renamed = replace(_one(session, n), name=to, folder=folder if to_folder is None else to_folder)
            other = session.row(_FIND, key_of(kind, to, folder=renamed.folder))
            if other is not None and other[0] != n:
                raise taken(renamed, is_deleted=other[2] is not None, version=other[1])
            values = {"n": n, "name": to, "folder": renamed.folder}
            session.run("UPDATE documents SET name = %(name)s, folder = %(folder)s WHERE n = %(n)s", values)
            return renamed

        return _alone(work)

    def delete(
        self, kind: Kind, name: str, *, folder: str, force: bool, at: int | None
    ) -> Callable[[Session], None]:  # fmt: skip
        """Take it out of lists; see `Library.delete`."""

        def work(session: Session) -> None:
            n = _there(session, kind, name, folder)
            users = None if force else users_of(session, key_of(kind, name, folder=folder))
            if users:
                raise in_use(kind, name, folder=folder, users=users)
            values = {"n": n, "at": now_us() if at is None else at}
            session.run("UPDATE documents SET deleted_at = %(at)s WHERE n = %(n)s", values)

        return _alone(work)

    def purge(self, *, before: int | None) -> Callable[[Session], int]:
        """Forget deleted documents; see `Library.purge`."""

        def work(session: Session) -> int:
            gone = {"gone": [n for (n,) in session.rows(_GONE, {"before": before})]}
            session.run(  # first: they may have been made of each other
                "DELETE FROM document_uses WHERE version IN "
                "(SELECT n FROM document_versions WHERE document = ANY(%(gone)s::bigint[]))",
                gone,
            )
            session.run("DELETE FROM documents WHERE n = ANY(%(gone)s::bigint[])", gone)
            return len(gone["gone"])

        return _alone(work)


def _alone(work: Callable[[Session], T]) -> Callable[[Session], T]:
    """The work while nobody else writes documents, done once although it may be tried again.

    When the connection is lost before the server answers a commit, the transaction's number says what became of it:
    that is settled when its lock is free.
    """
    tried: tuple[str, T] | None = None

    def alone(session: Session) -> T:
        nonlocal tried
        if session.row(_LOCK, {"space": _SPACE}) != (True,):
            raise Locked("another session writes documents")
        if tried is not None and session.row(_STATUS, {"xid": tried[0]}) == ("committed",):
            return tried[1]
        result = work(session)
        ((xid,),) = session.rows("SELECT pg_current_xact_id_if_assigned()::text")
        tried = None if xid is None else (xid, result)
        return result

    return alone


def _there(session: Session, kind: Kind, name: str, folder: str) -> int:
    n, version, deleted_at = session.row(_FIND, key_of(kind, name, folder=folder)) or (None, 0, None)
    if n is None or deleted_at is not None:
        raise not_found(kind, name, folder=folder, known=version)
    return int(n)


def _one(session: Session, n: int | None) -> Document:
    (columns,) = session.rows(f"SELECT {COLUMNS} FROM {PRESENT} WHERE d.n = %(n)s", {"n": n})
    return document_of(columns, session.where)


def _used(session: Session, document: Document, use: Use) -> int:
    found = session.row(_FIND_USED, key_of(use.kind, use.name, folder=use.folder) | {"version": use.version})
    if found is None:
        raise unknown_use(document, use)
    return int(found[0])


def _made_of(session: Session, n: int, version: int) -> tuple[bytes, list[int]]:
    """Content and uses of a version."""
    ((content, used),) = session.rows(_MADE_OF, {"n": n, "version": version})
    return content, used


def _begin(session: Session, document: Document, at: int) -> int:
    values = {"kind": document.kind, "folder": document.folder, "name": document.name, "at": at}
    ((n,),) = session.rows(_BEGIN, values)
    return int(n)


def _add(
    session: Session, n: int, content: bytes, *, version: int, at: int, used: Sequence[int], kind: Kind
) -> None:  # fmt: skip
    checksum = sum_of(content, kind=kind, version=version)
    values = {"n": n, "version": version, "at": at, "data": content, "sum": checksum, "used": list(used)}
    session.run(_ADD, values)
