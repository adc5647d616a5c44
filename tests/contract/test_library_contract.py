"""Every library of this package keeps every rule of the suite."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from llmorch.stores.memory_library import MemoryLibrary
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.library import SqliteLibrary
from llmorch.testing import check_library


def test_the_memory_library_keeps_every_rule() -> None:
    report = check_library(MemoryLibrary)
    assert set(report.skipped.values()) == {"no reopen= was given"}
    assert {one.backend for one in report.checks} == {"asyncio", "trio"}
    assert len(report.passed) == 26


@pytest.mark.parametrize("of", ["a file", "a store"])
def test_the_sqlite_library_keeps_every_rule(tmp_path: Path, of: str) -> None:
    numbers = count()

    def made() -> SqliteLibrary:
        path = tmp_path / f"{next(numbers)}.db"
        return SqliteLibrary(path if of == "a file" else SqliteStore(path), durability="process")

    report = check_library(made, reopen=lambda library: SqliteLibrary(library.path))  # type: ignore[attr-defined]
    assert report.skipped == {}
    assert len(report.passed) == 28
