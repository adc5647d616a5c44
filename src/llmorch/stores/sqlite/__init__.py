"""Runs kept in one SQLite file."""

from __future__ import annotations

from .backup import BackupFile, Backups, Restored
from .database import Database, Migration
from .library import SqliteLibrary
from .store import SqliteStore
from .vacuum import Vacuumed
from .verify import StoreReport

__all__ = [
    "BackupFile",
    "Backups",
    "Database",
    "Migration",
    "Restored",
    "SqliteLibrary",
    "SqliteStore",
    "StoreReport",
    "Vacuumed",
]
