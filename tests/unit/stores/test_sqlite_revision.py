"""A number that tells cheaply whether anything was committed since, by whatever connection or process."""

from __future__ import annotations

import errno
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from llmorch import RunNotFound, StoreError
from llmorch.ports import InboxItem
from llmorch.stores.sqlite import SqliteStore
from tests.architecture.tree import ROOT
from tests.unit.stores.sqlite_parts import locked, made, note

pytestmark = pytest.mark.anyio

WRITE = """
import sys
import anyio
from llmorch.stores.sqlite import SqliteStore
from tests.unit.stores.sqlite_parts import made

async def main(path):
    store = SqliteStore(path)
    await made(store, "theirs")
    await store.aclose()

anyio.run(main, sys.argv[1])
"""


async def test_it_changes_with_every_commit_and_with_nothing_else(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    seen = [await store.revision()]

    async def changes() -> bool:
        seen.append(await store.revision())
        return seen[-1] != seen[-2]

    assert not await changes()
    claim = await made(store)
    assert await changes()
    assert not await changes()
    await store.append(claim, [note("r1", 2)])
    assert await changes()
    await store.post("r1", InboxItem("cancel"))
    assert await changes()
    await store.events("r1")
    await store.list_runs()
    with pytest.raises(RunNotFound):
        await store.post("nonesuch", InboxItem("cancel"))
    with locked(store.path):
        assert not await changes()
    assert not await changes()
    await store.delete_run("r1")
    assert await changes()
    assert len(set(seen)) == 5
    await store.aclose()


async def test_it_changes_with_what_others_commit(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    first = await store.revision()
    await made(other)
    second = await store.revision()
    assert second != first
    with closing(sqlite3.connect(store.path)) as raw:
        raw.execute("UPDATE runs SET workflow = 'v'")
        raw.commit()
    third = await store.revision()
    assert third not in (first, second)
    with anyio.fail_after(60):
        await anyio.run_process([sys.executable, "-c", WRITE, str(store.path)], cwd=ROOT)
    fourth = await store.revision()
    assert fourth not in (first, second, third)
    assert await store.revision() == fourth
    await store.aclose()
    await other.aclose()


async def test_it_changes_when_the_file_is_opened_anew(tmp_path: Path) -> None:
    """A connection counts from its own beginning, so a new one knows nothing of what came between."""
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    before = await store.revision()

    def fail(connection: sqlite3.Connection) -> None:
        raise OSError(errno.EIO, "as a failing disk does")

    with pytest.raises(StoreError, match="The disk failed"):
        await store.read(fail)
    assert await store.revision() != before
    await store.aclose()
