"""Runs and libraries kept in PostgreSQL."""

from __future__ import annotations

from .library import SqlAlchemyLibrary
from .store import SqlAlchemyStore

__all__ = ["SqlAlchemyLibrary", "SqlAlchemyStore"]
