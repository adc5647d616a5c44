"""What goes wrong with a PostgreSQL server, sorted by SQLSTATE, never by texts.

Source: https://www.postgresql.org/docs/15/errcodes-appendix.html (2025-08).
"""

from __future__ import annotations

from enum import Enum

import psycopg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ...errors import StoreBusy, StoreCorrupt, StoreError, StoreFull

__all__ = ["Locked", "Trouble", "error_of", "trouble_of"]


class Trouble(Enum):
    """What a failure asks for."""

    BUSY = "somebody else writes there: try again"
    LOST = "no connection: make another one"
    FULL = "no room: wait for it"
    CORRUPT = "damaged: change nothing"
    REFUSED = "this user may not, or what is asked for is not there"
    BROKEN = "the server failed"
    UNIT = "the unit itself cannot be written"


class Locked(Exception):
    """Another transaction holds the row of a run that this one needs."""


_BY_STATE = {
    "23503": Trouble.BUSY,  # a foreign key: the run or the definition was deleted meanwhile, which the next try sees
    "25006": Trouble.REFUSED,  # read-only: a standby, or set so by hand
    "25P03": Trouble.LOST,  # the process was stopped inside a transaction for too long
    "40001": Trouble.BUSY,
    "40P01": Trouble.BUSY,
    "42501": Trouble.REFUSED,
    "42P01": Trouble.REFUSED,
    "53100": Trouble.FULL,
    "55006": Trouble.BUSY,
    "55P03": Trouble.BUSY,
    "57014": Trouble.BUSY,  # cancelled, such as by a statement_timeout
    "57P01": Trouble.LOST,
    "57P02": Trouble.LOST,
    "57P03": Trouble.LOST,
    "57P05": Trouble.LOST,
    "XX001": Trouble.CORRUPT,
    "XX002": Trouble.CORRUPT,
}
_BY_CLASS = {
    "08": Trouble.LOST,
    "28": Trouble.REFUSED,
    "3D": Trouble.REFUSED,
    "3F": Trouble.REFUSED,
    "53": Trouble.BROKEN,
    "57": Trouble.LOST,
    "58": Trouble.BROKEN,
    "F0": Trouble.BROKEN,
    "XX": Trouble.BROKEN,
}


def trouble_of(error: Exception) -> Trouble:
    """What kind of failure an exception is.

    A failed attempt to connect has no SQLSTATE, whatever the reason: libpq only gives a text.
    """
    if isinstance(error, Locked):
        return Trouble.BUSY
    state = _state(error)
    if state is not None:
        return _BY_STATE.get(state) or _BY_CLASS.get(state[:2], Trouble.UNIT)
    lost = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError, OSError)
    return Trouble.LOST if isinstance(error, lost) else Trouble.UNIT


def _state(error: Exception) -> str | None:
    origin = error.orig if isinstance(error, DBAPIError) else error
    return origin.sqlstate if isinstance(origin, psycopg.Error) else None


def error_of(
    trouble: Trouble, cause: Exception, *, where: str, waited_s: float = 0.0, was_connected: bool = True
) -> Exception:
    """What the caller is told, with the driver's error chained; what is no failure of a database is told as it is.

    Args:
        where: The database, without a password.
        waited_s: For how long it was tried, in seconds.
        was_connected: Whether this store was ever connected to it.
    """
    origin = cause.orig if isinstance(cause, DBAPIError) else cause
    if trouble is Trouble.UNIT and not isinstance(origin, psycopg.Error):
        return cause
    state = _state(cause)
    first = str(origin).strip().partition("\n")[0]
    error = _error(trouble, where, f"{state}: {first}" if state else first, waited_s, was_connected)
    error.__cause__ = origin if isinstance(origin, BaseException) else cause
    return error


def _error(trouble: Trouble, where: str, why: str, waited_s: float, was_connected: bool) -> Exception:
    match trouble:
        case Trouble.BUSY:
            return StoreBusy(
                f"The store {where} stayed locked for {waited_s:g} s ({why}); another session holds a lock there "
                "without a pause: look into pg_stat_activity and end it, or try again"
            )
        case Trouble.LOST if was_connected:
            return StoreBusy(
                f"The store {where} could not be reached for {waited_s:g} s ({why}); see that the server runs and "
                "try again"
            )
        case Trouble.LOST:
            return StoreError(
                f"The store {where} cannot be reached ({why}); see that a server runs at this host and port and lets "
                "this user in with this password, and that the database exists (createdb makes one)"
            )
        case Trouble.FULL:
            return StoreFull(
                f"There is no room left for the store {where} ({why}); free some on the server's disk. Runs that are "
                "under way wait for it and go on by themselves"
            )
        case Trouble.CORRUPT:
            return StoreCorrupt(
                f"The store {where} is damaged ({why}); nothing was changed. Stop the server and copy its data "
                "folder first, then restore a backup"
            )
        case Trouble.REFUSED:
            return StoreError(
                f"The store {where} refused this ({why}); its user must be allowed to make the schema and to read and "
                "write its tables (GRANT CREATE ON DATABASE), and the server may be no standby"
            )
        case Trouble.BROKEN:
            return StoreError(f"The server of the store {where} failed ({why}); look at its log")
        case Trouble.UNIT:
            return StoreError(f"The store {where} cannot keep this ({why}); nothing of it was written")
