"""Where the database is, as a URL says it, and how a connection to it is made; what is shown never has the password."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

__all__ = ["Address"]

_DRIVER = "postgresql+psycopg"
_SCHEMES = frozenset({"postgresql", "postgres", _DRIVER})
_EXAMPLE = "'postgresql://user:password@localhost:5432/database'"
_DEFAULTS: dict[str, Any] = {  # Any: texts and numbers, as libpq takes them
    "client_encoding": "utf8",
    "fallback_application_name": "llmorch",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_LONGEST_SCHEMA = 63  # bytes of a name in PostgreSQL


class Address:
    """A database and the schema in it that holds the store's tables.

    Options of libpq, such as `sslmode=require`, stand in the URL's query. Without a password in the URL libpq looks
    into `PGPASSWORD` and the password file.

    Args:
        connect_s: How long an attempt to connect may take, in seconds, unless the URL says.

    Attributes:
        shown: The URL without password and options, for texts.
        schema: The schema's name.

    Raises:
        ValueError: The URL names no PostgreSQL database; the text does not repeat it.

    Source: https://www.postgresql.org/docs/15/libpq-connect.html (2025-08).
    """

    def __init__(self, url: str | URL, *, schema: str, connect_s: int = 10) -> None:
        if not schema or "\0" in schema or len(schema.encode("utf-8", "surrogatepass")) > _LONGEST_SCHEMA:
            raise ValueError(f"schema={schema!r} names no schema; give 1 to {_LONGEST_SCHEMA} bytes")
        self.schema = schema
        self._url = _parsed(url)
        self._options = _DEFAULTS | {"connect_timeout": connect_s}
        self.shown = _shown(self._url, schema)

    def engine(self, *, is_reader: bool) -> Engine:
        """What makes connections; each is closed for good when it is let go of.

        Args:
            is_reader: Each statement is a transaction of its own.
        """
        arguments = {name: value for name, value in self._options.items() if name not in self._url.query}
        return create_engine(
            self._url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT" if is_reader else "READ COMMITTED",
            hide_parameters=True,
            use_native_hstore=False,
            connect_args=arguments,
        )


def _parsed(url: str | URL) -> URL:
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        found = None
    # A cause would show the URL, and with it the password. An @ is left over where the password has one.
    if found is None or "@" in (found.host or "") or "@" in (found.database or ""):
        raise ValueError(
            f"the URL of the store cannot be read; write {_EXAMPLE}, with what is special in a password escaped "
            "(urllib.parse.quote_plus): @ as %40, : as %3A, / as %2F"
        )
    if found.drivername not in _SCHEMES:
        raise ValueError(f"a store at {found.drivername!r} is none that SqlAlchemyStore knows; write {_EXAMPLE}")
    return found.set(drivername=_DRIVER)


def _shown(url: URL, schema: str) -> str:
    hosts = url.query.get("host", "") if url.host is None else ""
    bare = url.set(query={}).render_as_string(hide_password=True).replace(_DRIVER, "postgresql", 1)
    where = f" on {hosts if isinstance(hosts, str) else ', '.join(hosts)}" if hosts else ""
    return f"{bare}{where}" + ("" if schema == "llmorch" else f" (schema {schema!r})")
