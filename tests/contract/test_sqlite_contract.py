"""The SQLite store keeps every rule of run stores."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Literal

import pytest

from llmorch.stores.sqlite import SqliteStore
from llmorch.testing.store_conformance import check_run_store


@pytest.mark.parametrize("durability", ["power", "process"])
def test_the_sqlite_store_passes_the_conformance_suite(tmp_path: Path, durability: Literal["power", "process"]) -> None:
    numbers = count()
    report = check_run_store(
        lambda: SqliteStore(tmp_path / f"{next(numbers)}.db", durability=durability),
        reopen=lambda store: SqliteStore(store.path, durability=durability),  # type: ignore[attr-defined]
    )
    assert set(report.skipped) == {"instant"}
