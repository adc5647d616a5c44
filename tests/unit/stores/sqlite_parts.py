"""What the tests of the SQLite store share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel

from llmorch import RunStarted, Warned
from llmorch.ports import Claim, RunRow
from llmorch.stores.sqlite import SqliteStore


def note(run_id: str, seq: int, text: str = "x") -> Warned:
    return Warned(None, "note", text, run_id=run_id, seq=seq)


async def made(store: SqliteStore, run_id: str = "r1", **about: object) -> Claim:
    values: dict[str, object] = {"owner": store.owner, "status": "running", "created_at": 1} | about
    row = RunRow(run_id, "w", epoch=1, last_seq=1, **values)  # type: ignore[arg-type]
    await store.create(row, [RunStarted("w", run_id=run_id, seq=1)])
    return Claim(run_id, 1, 1)


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another writer holds the database."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    try:
        yield raw
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raw.close()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()
