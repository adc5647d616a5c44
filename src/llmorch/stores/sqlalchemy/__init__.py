"""Runs kept in PostgreSQL."""

from __future__ import annotations

from .store import SqlAlchemyStore

__all__ = ["SqlAlchemyStore"]
