"""Migrating on demand, and making the file smaller when runs are gone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from llmorch import Orchestrator, StoreBusy, StoreError
from llmorch.ports import InboxItem
from llmorch.retention import prune
from llmorch.stores.sqlite import Migration, SqliteStore
from llmorch.stores.sqlite.schema import MIGRATIONS, version_of
from tests.unit.stores.sqlite_golden import loaded, samples
from tests.unit.stores.sqlite_parts import locked, made, note
from tests.unit.stores.sqlite_users import good_store, mark, sums

pytestmark = pytest.mark.anyio

NEWEST = len(MIGRATIONS)


def counts(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as raw:
        tables = ("runs", "events", "inbox", "definitions")
        return {table: raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


async def big(path: Path, runs: int = 40) -> SqliteStore:
    """An open store of about 4 MB, without the ballast."""
    store = SqliteStore(path, durability="process")
    for number in range(runs):
        claim = await made(store, f"r{number:03}")
        await store.append(claim, [note(claim.run_id, seq, "x" * 10_000) for seq in range(2, 12)])
    return store


async def test_migrating_says_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    before = mark(path)
    store = SqliteStore(path)
    backup = tmp_path / "runs.db.schema-1.backup"
    planned = await store.migrate(dry_run=True)
    assert planned == Migration(1, NEWEST, backup)
    assert planned.is_due
    assert os.listdir(tmp_path) == ["runs.db"]
    assert mark(path) == before
    assert await store.migrate() == planned
    assert backup.stat().st_mode & 0o777 == 0o600
    now = await store.migrate()
    assert now == Migration(NEWEST, NEWEST)
    assert not now.is_due
    await store.aclose()
    old = SqliteStore(backup)
    assert (await old.verify()).schema == 1
    assert (await old.verify()).runs == len(samples())
    await old.aclose()


async def test_a_second_backup_before_a_migration_does_not_replace_the_first(tmp_path: Path) -> None:
    path, backup = tmp_path / "runs.db", tmp_path / "runs.db.schema-1.backup"
    backup.write_text("the first")
    loaded(path, 1)
    store = SqliteStore(path)
    found = await store.migrate()
    assert found.backup == tmp_path / "runs.db.schema-1.backup-2"
    assert found.backup.stat().st_size > 4_096
    assert backup.read_text() == "the first"
    await store.aclose()


async def test_a_damaged_store_is_not_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    content = bytearray(path.read_bytes())
    content[-4_096:-4_000] = b"\xee" * 96
    path.write_bytes(content)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=r"has schema 1, and is damaged .*, so it was not brought up to date"):
        await store.migrate()
    await store.aclose()
    with closing(sqlite3.connect(path)) as raw:
        assert version_of(raw, path) == 1
    assert not [name for name in os.listdir(tmp_path) if "backup" in name or name.endswith(".part")]


async def test_a_new_store_is_made_without_a_backup(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    assert await store.migrate(dry_run=True) == Migration(0, NEWEST)
    assert os.listdir(tmp_path) == []
    await store.migrate()
    assert await store.migrate() == Migration(NEWEST, NEWEST)
    await store.aclose()
    assert not [name for name in os.listdir(tmp_path) if "backup" in name]


async def test_two_processes_that_migrate_at_once_make_one_backup(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    stores = [SqliteStore(path) for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.list_runs)
    assert [name for name in os.listdir(tmp_path) if "backup" in name] == ["runs.db.schema-1.backup"]
    for store in stores:
        await store.aclose()


async def test_a_store_is_smaller_when_runs_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = await big(path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA auto_vacuum").fetchone() == (2,)  # in small steps
    for number in range(30):
        await store.delete_run(f"r{number:03}")
    done = await store.vacuum()
    assert done.before > 4_000_000
    assert done.after < 1_500_000
    assert done.after == path.stat().st_size + (tmp_path / "runs.db-wal").stat().st_size
    assert [row.id for row in await store.list_runs()] == [f"r{number:03}" for number in range(39, 29, -1)]
    again = await store.vacuum()
    assert again.before == again.after == done.after
    report = await store.verify()
    assert report.is_sound, str(report)
    await store.aclose()


async def test_an_older_file_is_written_anew_once_and_shrinks_in_steps_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    store = await big(path)
    for number in range(30):
        await store.delete_run(f"r{number:03}")
    done = await store.vacuum()
    assert done.after < 1_500_000 < 4_000_000 < done.before
    assert (await store.verify()).is_sound
    await store.aclose()
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA auto_vacuum").fetchone() == (2,)


@pytest.mark.parametrize("version", [1, NEWEST])
async def test_runs_go_on_while_the_file_shrinks(tmp_path: Path, version: int) -> None:
    path = tmp_path / "runs.db"
    loaded(path, version)
    store = await big(path)
    async with Orchestrator(store) as orchestrator, anyio.create_task_group() as tasks:

        async def shrink() -> None:
            for number in range(40):
                await store.delete_run(f"r{number:03}")
                if number % 10 == 9:
                    await store.vacuum()

        tasks.start_soon(shrink)
        for _ in range(6):
            handles = [await orchestrator.start(sums(8)) for _ in range(4)]
            for handle in handles:
                assert (await handle.result()).status == "succeeded"
    checked = SqliteStore(path)
    report = await checked.verify()
    assert report.is_sound, str(report)
    assert report.runs == 24 + len(samples()) * (version < 9)
    await checked.aclose()


async def test_a_vacuum_gives_up_on_a_file_that_stays_locked(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    await made(store)
    with locked(store.path), pytest.raises(StoreBusy, match=r"stayed locked for 0\.2 s"):
        await store.vacuum()
    assert (await store.vacuum()).after > 0
    await store.aclose()


async def test_pruned_runs_leave_nothing_behind_and_the_file_is_smaller(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    kept = await good_store(path, 2)
    alone = counts(path)
    store = SqliteStore(path)
    async with Orchestrator(store) as orchestrator:
        other = sums(2)
        for number in range(60):
            run = await orchestrator.run(other if number % 2 else sums(3 + number), tags=["x" * 9_000])
            await store.post(run.id, InboxItem("note", data="left"))
        full = (await store.vacuum()).after
        assert counts(path)["inbox"] == 60
        assert counts(path)["definitions"] > alone["definitions"]
        pruned = await prune(store, keep_latest=0, workflow="nonesuch")
        assert pruned.count == 0
        rows = await store.list_runs(limit=100)
        for row in rows:
            if row.id not in kept:
                await store.delete_run(row.id)
        assert counts(path) == alone
        assert (await store.vacuum()).after < full / 2
        pruned = await prune(store, older_than=timedelta(0))
        assert set(pruned.run_ids) == set(kept)
        assert counts(path) == {"runs": 0, "events": 0, "inbox": 0, "definitions": 0}
