"""The tables, as numbered steps that only go forward."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ...errors import StoreError
from .session import Session

__all__ = ["MIGRATIONS", "is_behind", "migrate", "version_of"]

_OLDEST = 130000

_FIRST = (
    "CREATE TABLE meta(key text PRIMARY KEY, value text NOT NULL)",
    """CREATE TABLE definitions(
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        sha text NOT NULL UNIQUE,
        body bytea
    )""",
    # Ids are compared byte by byte, so that their order is that of their times; room is left in each page because a
    # row changes with every unit.
    """CREATE TABLE runs(
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL UNIQUE,
        idempotency_key text UNIQUE,
        workflow text NOT NULL,
        definition bigint REFERENCES definitions(n),
        inputs_sha text NOT NULL,
        status text NOT NULL,
        epoch bigint NOT NULL,
        owner text,
        lease_until bigint,
        last_seq bigint NOT NULL,
        wake_at bigint,
        recoveries bigint NOT NULL DEFAULT 0,
        tags text[] NOT NULL,
        created_at bigint NOT NULL,
        finished_at bigint,
        totals text NOT NULL
    ) WITH (fillfactor = 70)""",
    "CREATE INDEX runs_definition ON runs(definition)",
    "CREATE INDEX runs_open ON runs(id) WHERE status IN ('running', 'waiting')",
    """CREATE TABLE events(
        run bigint NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
        seq bigint NOT NULL,
        kind text NOT NULL,
        step text NOT NULL,
        call bigint NOT NULL,
        at bigint NOT NULL,
        data bytea NOT NULL,
        sum bytea NOT NULL,
        PRIMARY KEY (run, seq)
    )""",
    """CREATE TABLE inbox(
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run bigint NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
        kind text NOT NULL,
        step text NOT NULL DEFAULT '',
        call bigint NOT NULL DEFAULT 0,
        data bytea,
        at bigint NOT NULL,
        by text,
        taken boolean NOT NULL DEFAULT false,
        UNIQUE (run, kind, step, call)
    )""",
    "CREATE INDEX inbox_open ON inbox(run) WHERE NOT taken",
    # \u0000 and halves of pairs are JSON that PostgreSQL does not read: their escapes are undone first.
    r"""CREATE VIEW calls AS
        SELECT r.id AS run, r.workflow, e.step, e.call,
            min(e.at) FILTER (WHERE e.kind = 'CallStarted') AS started_at,
            max(e.at) FILTER (WHERE e.kind = 'CallFinished') AS finished_at,
            max(j.body ->> 'provider') FILTER (WHERE e.kind = 'CallStarted') AS provider,
            max(j.body ->> 'model') FILTER (WHERE e.kind = 'CallStarted') AS model,
            max((j.body -> 'usage' ->> 'input_tokens')::numeric) FILTER (WHERE e.kind = 'CallFinished')
                AS input_tokens,
            max((j.body -> 'usage' ->> 'output_tokens')::numeric) FILTER (WHERE e.kind = 'CallFinished')
                AS output_tokens,
            max(j.body ->> 'cost') FILTER (WHERE e.kind = 'CallFinished') AS cost,
            max(j.body ->> 'estimate') FILTER (WHERE e.kind = 'CallStarted') AS estimate,
            max(j.body -> 'error' ->> 'type') FILTER (WHERE e.kind = 'CallFinished') AS error
        FROM events e JOIN runs r ON r.n = e.run
        CROSS JOIN LATERAL (SELECT regexp_replace(
            convert_from(e.data, 'UTF8'), '(?<!\\)((\\\\)*)\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1?', 'g'
        )::json AS body) j
        WHERE e.kind IN ('CallStarted', 'CallFinished')
        GROUP BY r.id, r.workflow, e.step, e.call""",
)

_SECOND = (
    # A B-tree has no room for the longest names that are allowed; line breaks are in none.
    """CREATE TABLE documents(
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text COLLATE "C" NOT NULL,
        folder text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        version bigint NOT NULL,
        created_at bigint NOT NULL,
        deleted_at bigint,
        CONSTRAINT documents_key EXCLUDE USING hash ((kind || E'\\n' || folder || E'\\n' || name) WITH =)
    )""",
    """CREATE TABLE document_versions(
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        document bigint NOT NULL REFERENCES documents(n) ON DELETE CASCADE,
        version bigint NOT NULL,
        at bigint NOT NULL,
        data bytea NOT NULL,
        sum bytea NOT NULL,
        UNIQUE (document, version)
    )""",
    """CREATE TABLE document_uses(
        version bigint NOT NULL REFERENCES document_versions(n) ON DELETE CASCADE,
        place bigint NOT NULL,
        used bigint NOT NULL REFERENCES document_versions(n),
        PRIMARY KEY (version, place)
    )""",
    "CREATE INDEX document_uses_used ON document_uses(used)",
    """CREATE TABLE cache(
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key text COLLATE "C" NOT NULL UNIQUE,
        entry bytea NOT NULL,
        until bigint,
        used_at bigint NOT NULL
    )""",
    "CREATE INDEX cache_used ON cache(used_at)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND)
"""The n-th leads from schema n - 1 to n; schema 0 has no tables. One that was released is never changed."""


def version_of(session: Session, schema: str, *, newest: int = len(MIGRATIONS)) -> int:
    """The version of the tables, 0 when there are none; changes nothing.

    Raises:
        StoreError: The database cannot be used, or its tables belong to another program or a newer llmorch.
    """
    known = _found(session, schema)
    if known is None:
        # What another process has just made shows in the catalog a moment before it can be found by name. Once its lock
        # is free, it can.
        session.rollback()
        _lock(session, schema)
        known = _found(session, schema)
    if known is None:
        raise StoreError(
            f"The schema {schema!r} of {session.where} holds tables of another program; give another schema="
        )
    if known > newest:
        raise StoreError(
            f"The store {session.where} has schema {known}, and this llmorch knows schemas up to {newest}; nothing was "
            "changed. Use the newer llmorch that wrote it"
        )
    return known


def _found(session: Session, schema: str) -> int | None:
    """The version that stands in the database; 0 without tables, None when there are some and none tells a version.

    Raises:
        StoreError: The database cannot be used.
    """
    about = session.row(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
        "pg_encoding_to_char(d.encoding), to_regclass(format('%%I.meta', %(schema)s::text)) IS NOT NULL, "
        "EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace "
        "WHERE s.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v')) "
        "FROM pg_database d WHERE d.datname = current_database()",
        {"schema": schema},
    )
    number, version, encoding, has_meta, has_tables = about or (0, "?", "?", False, False)
    if number < _OLDEST:
        raise StoreError(f"{session.where} is PostgreSQL {version}; a store needs 13 or newer")
    if encoding != "UTF8":
        raise StoreError(
            f"The database {session.where} keeps text as {encoding}, which has no room for every language; make one "
            "with createdb --encoding=UTF8 --template=template0"
        )
    if not has_tables:
        return 0
    found = session.row("SELECT value FROM meta WHERE key = 'llmorch.schema'") if has_meta else None
    return None if found is None else int(found[0])


def is_behind(session: Session, schema: str) -> bool:
    """Whether the tables are those of an older version, or missing."""
    return version_of(session, schema) < len(MIGRATIONS)


def migrate(session: Session, schema: str, *, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, one transaction for each step; of several processes one does it."""
    newest = len(migrations)
    while (version := version_of(session, schema, newest=newest)) < newest:
        session.rollback()
        _lock(session, schema)
        if version_of(session, schema, newest=newest) == version:  # else another process was quicker
            if session.row("SELECT 1 FROM pg_namespace WHERE nspname = %(schema)s", {"schema": schema}) is None:
                session.run("CREATE SCHEMA {}".format('"' + schema.replace('"', '""') + '"'))
            for statement in migrations[version]:
                session.run(statement)
            session.run(
                "INSERT INTO meta VALUES ('llmorch.schema', %(version)s) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                {"version": str(version + 1)},
            )
        session.commit()


def _lock(session: Session, schema: str) -> None:
    """Take the lock of those who migrate this schema, until the transaction ends."""
    session.run("SELECT pg_advisory_xact_lock(%(key)s)", {"key": _key(schema)})


def _key(schema: str) -> int:
    return int.from_bytes(hashlib.sha256(f"llmorch {schema}".encode()).digest()[:8], "big", signed=True)
