"""The tables, as numbered steps that only go forward."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ...errors import StoreCorrupt, StoreError
from .copies import copied, placed, snapshot
from .faults import AFTER_DAMAGE

__all__ = ["APPLICATION_ID", "MIGRATIONS", "backup_of", "is_behind", "migrate", "version_of"]

APPLICATION_ID = 0x6C6C6D6F  # "llmo", for `file` and against opening what belongs to another program

_FIRST = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """CREATE TABLE definitions(
        n INTEGER PRIMARY KEY,
        sha TEXT NOT NULL UNIQUE,
        body BLOB
    ) STRICT""",
    """CREATE TABLE runs(
        n INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        idempotency_key TEXT UNIQUE,
        workflow TEXT NOT NULL,
        definition INTEGER REFERENCES definitions(n),
        inputs_sha TEXT NOT NULL,
        status TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        owner TEXT,
        lease_until INTEGER,
        last_seq INTEGER NOT NULL,
        wake_at INTEGER,
        recoveries INTEGER NOT NULL DEFAULT 0,
        tags TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        finished_at INTEGER,
        totals TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX runs_definition ON runs(definition)",
    "CREATE INDEX runs_open ON runs(status) WHERE status IN ('running', 'waiting')",
    """CREATE TABLE events(
        run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        step TEXT NOT NULL,
        call INTEGER NOT NULL,
        at INTEGER NOT NULL,
        data BLOB NOT NULL,
        sum BLOB NOT NULL,
        UNIQUE(run, seq)
    ) STRICT""",
    """CREATE TABLE inbox(
        n INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        step TEXT NOT NULL DEFAULT '',
        call INTEGER NOT NULL DEFAULT 0,
        data BLOB,
        at INTEGER NOT NULL,
        by TEXT,
        taken INTEGER NOT NULL DEFAULT 0,
        UNIQUE(run, kind, step, call)
    ) STRICT""",
    "CREATE INDEX inbox_open ON inbox(run) WHERE taken = 0",
    """CREATE VIEW calls AS
        SELECT r.id AS run, r.workflow, e.step, e.call,
            min(CASE e.kind WHEN 'CallStarted' THEN e.at END) AS started_at,
            max(CASE e.kind WHEN 'CallFinished' THEN e.at END) AS finished_at,
            max(CASE e.kind WHEN 'CallStarted' THEN CAST(e.data AS TEXT) ->> '$.provider' END) AS provider,
            max(CASE e.kind WHEN 'CallStarted' THEN CAST(e.data AS TEXT) ->> '$.model' END) AS model,
            max(CASE e.kind WHEN 'CallFinished' THEN CAST(e.data AS TEXT) ->> '$.usage.input_tokens' END)
                AS input_tokens,
            max(CASE e.kind WHEN 'CallFinished' THEN CAST(e.data AS TEXT) ->> '$.usage.output_tokens' END)
                AS output_tokens,
            max(CASE e.kind WHEN 'CallFinished' THEN CAST(e.data AS TEXT) ->> '$.cost' END) AS cost,
            max(CASE e.kind WHEN 'CallStarted' THEN CAST(e.data AS TEXT) ->> '$.estimate' END) AS estimate,
            max(CASE e.kind WHEN 'CallFinished' THEN CAST(e.data AS TEXT) ->> '$.error.type' END) AS error
        FROM events e JOIN runs r ON r.n = e.run
        WHERE e.kind IN ('CallStarted', 'CallFinished')
        GROUP BY e.run, e.step, e.call""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

_SECOND = (
    """CREATE TABLE documents(
        n INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        deleted_at INTEGER,
        UNIQUE(kind, folder, name)
    ) STRICT""",
    """CREATE TABLE document_versions(
        n INTEGER PRIMARY KEY,
        document INTEGER NOT NULL REFERENCES documents(n) ON DELETE CASCADE,
        version INTEGER NOT NULL,
        at INTEGER NOT NULL,
        data BLOB NOT NULL,
        sum BLOB NOT NULL,
        UNIQUE(document, version)
    ) STRICT""",
    """CREATE TABLE document_uses(
        user INTEGER NOT NULL REFERENCES document_versions(n) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        used INTEGER NOT NULL REFERENCES document_versions(n),
        PRIMARY KEY(user, place)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX document_uses_used ON document_uses(used)",
    """CREATE TABLE cache(
        n INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        entry BLOB NOT NULL,
        until INTEGER,
        used_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX cache_used ON cache(used_at)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND)
"""The n-th leads from schema n - 1 to n; schema 0 is an empty file. One that was released is never changed."""


def version_of(connection: sqlite3.Connection, path: Path, *, newest: int = len(MIGRATIONS)) -> int:
    """The file's schema, 0 for an empty file; changes nothing.

    Raises:
        StoreError: The file belongs to another program, or to a newer llmorch.
        StoreCorrupt: It does not say which schema it has.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables and application in (0, APPLICATION_ID):
        return 0
    if application != APPLICATION_ID or "meta" not in tables:
        raise StoreError(f"{path} is a SQLite file of another program, not a store of llmorch; give another path")
    found = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    text = found[0] if found else ""
    if not text.isdecimal() or text == "0":
        raise StoreCorrupt(
            f"The store {path} does not say which schema it has ({text!r}); nothing was changed. Restore a backup"
        )
    version = int(text)
    if version > newest:
        raise StoreError(
            f"The store {path} has schema {version}, and this llmorch knows schemas up to {newest}; nothing was "
            "changed. Use the newer llmorch that wrote it"
        )
    return version


def is_behind(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has an older schema or none."""
    return version_of(connection, path, newest=len(MIGRATIONS)) < len(MIGRATIONS)


def migrate(
    connection: sqlite3.Connection, path: Path, *, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> Path | None:
    """Bring the file to the newest schema, one transaction for each step.

    Returns:
        The backup that was made of it first; None for a new file, or where another process was quicker.
    """
    backup: Path | None = None
    newest = len(migrations)
    is_new = version_of(connection, path, newest=newest) == 0
    while (version := version_of(connection, path, newest=newest)) < newest:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version_of(connection, path, newest=newest) == version:  # else another process was quicker
                if not is_new and backup is None:
                    backup = _backed_up(path, version)
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(version + 1),))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return backup


def backup_of(path: Path, version: int) -> Path:
    """Where the file is copied to before it leaves that schema: a name that is free."""
    backup = path.with_name(f"{path.name}.schema-{version}.backup")
    number = 1
    while backup.exists():
        number += 1
        backup = path.with_name(f"{path.name}.schema-{version}.backup-{number}")
    return backup


def _backed_up(path: Path, version: int) -> Path:
    """A copy beside the file, as it was before; made while the caller's transaction keeps all others from writing."""
    backup = backup_of(path, version)
    try:
        with closing(snapshot(path)) as source:
            placed(copied(source, path.parent), backup, overwrite=False)
    except StoreCorrupt as error:
        raise StoreCorrupt(
            f"The store {path} has schema {version}, and is damaged ({error}), so it was not brought up to date. "
            f"{AFTER_DAMAGE}"
        ) from error
    return backup
