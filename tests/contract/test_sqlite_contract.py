"""The SQLite store keeps every rule of run stores."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from llmorch import RunNotFound
from llmorch.ports import InboxItem
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


@pytest.mark.anyio
@pytest.mark.parametrize("run_id", ["", "a\0b", "\ud800", "é", "x" * 5000, 3, b"x", ["x"]])
async def test_an_id_that_no_run_can_have_is_not_found(tmp_path: Path, run_id: Any) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    try:
        for ask in (
            store.load(run_id), store.events(run_id), store.inbox(run_id), store.delete_run(run_id),
            store.claim(run_id, "me"), store.post(run_id, InboxItem("cancel")),
        ):  # fmt: skip
            with pytest.raises(RunNotFound):
                await ask
    finally:
        await store.aclose()
