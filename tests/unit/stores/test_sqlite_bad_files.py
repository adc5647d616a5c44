"""What a user is told whose store is damaged, foreign, in the wrong place or none at all; nothing of it is changed."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from llmorch import RunFinished, StoreBusy, StoreCorrupt, StoreError
from llmorch.stores.sqlite import SqliteStore
from tests.unit.stores.sqlite_parts import made
from tests.unit.stores.sqlite_users import good_store, mark, orchestrated, sums

pytestmark = pytest.mark.anyio

Break = Callable[[Path], object]


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def edited(*statements: str) -> Break:
    """Change the database with SQL behind the store's back."""

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as raw:
            for statement in statements:
                raw.execute(statement)
            raw.commit()

    return change


def patched(at: int, data: bytes) -> Break:
    """Overwrite some bytes of the database."""

    def change(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    return change


def pages_spoiled(path: Path) -> None:
    size = path.stat().st_size
    for page in range(2, size // 4096):
        patched(page * 4096, b"\xee" * 64)(path)


def cut_to_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def folder_instead_of(suffix: str) -> Break:
    def change(path: Path) -> None:
        other = beside(path, suffix)
        if other.is_dir():
            shutil.rmtree(other)
        other.unlink(missing_ok=True)
        other.mkdir()

    return change


def owners_a_file(path: Path) -> None:
    shutil.rmtree(beside(path, ".owners"))
    beside(path, ".owners").write_text("x")


def checkpoint_a_link(path: Path) -> None:
    beside(path, ".ckpt").unlink()
    beside(path, ".ckpt").symlink_to("/nonesuch")


async def told(path: Path, kind: type[StoreError]) -> str:
    """What a run and a list are told; both fail, or only the run where the file can be read."""
    with pytest.raises(kind) as caught:
        async with orchestrated(path) as orchestrator:
            await orchestrator.run(sums())
    assert type(caught.value) is kind
    return str(caught.value)


DAMAGED: dict[str, tuple[Break, str]] = {
    "the first bytes": (patched(0, b"x" * 16), "SQLITE_NOTADB"),
    "the page size": (patched(16, b"\x00\x03"), "SQLITE_NOTADB"),
    "the root of the tables": (patched(100, b"\xff" * 40), "SQLITE_CORRUPT"),
    "all other pages": (pages_spoiled, "SQLITE_CORRUPT"),
    "half of the file": (cut_to_half, "SQLITE_CORRUPT"),
    "all but ten bytes": (lambda path: os.truncate(path, 10), "SQLITE_NOTADB"),
}


@pytest.mark.parametrize("what", DAMAGED)
async def test_a_damaged_file_is_told_as_such_and_left_as_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    await good_store(path)
    damage, code = DAMAGED[what]
    damage(path)
    before = mark(path)
    text = await told(path, StoreCorrupt)
    assert str(path) in text
    assert code in text
    assert "nothing was changed" in text
    assert "restore a backup" in text
    assert mark(path) == before


NO_STORE: dict[str, tuple[bytes, str]] = {
    "a word": (b"hello\n", "is damaged or no SQLite file"),
    "a long text": (b"hello\n" * 1_000, "is damaged or no SQLite file"),
    "zeros": (bytes(8_192), "is damaged or no SQLite file"),
}


@pytest.mark.parametrize("what", NO_STORE)
async def test_another_kind_of_file_is_left_as_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    content, said = NO_STORE[what]
    path.write_bytes(content)
    assert said in await told(path, StoreCorrupt)
    assert path.read_bytes() == content


FOREIGN: dict[str, tuple[str, ...]] = {
    "a table": ("CREATE TABLE t(x)",),
    "a table called meta": ("CREATE TABLE meta(key, value)",),
    "only a view": ("CREATE VIEW v AS SELECT 1",),
    "nothing but its mark": ("PRAGMA application_id = 77", "VACUUM"),
}


@pytest.mark.parametrize("what", FOREIGN)
async def test_the_database_of_another_program_is_not_taken(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    edited(*FOREIGN[what])(path)
    before = mark(path)
    assert "of another program, not a store of llmorch; give another path" in await told(path, StoreError)
    assert mark(path) == before


@pytest.mark.parametrize("value", ["DELETE FROM meta", "UPDATE meta SET value = 'x'", "UPDATE meta SET value = '0'"])
async def test_a_store_that_does_not_say_its_schema_is_left_as_it_is(tmp_path: Path, value: str) -> None:
    path = tmp_path / "runs.db"
    await good_store(path)
    edited(value)(path)
    before = mark(path)
    assert "does not say which schema it has" in await told(path, StoreCorrupt)
    assert mark(path) == before


TABLES: dict[str, tuple[str, str]] = {
    "a table is gone": ("DROP TABLE events", "no such table: events"),
    "a column is gone": ("ALTER TABLE runs RENAME COLUMN totals TO t", "totals"),
    "a trigger says no": (
        "CREATE TRIGGER t BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'no'); END",
        "TRIGGER: no",
    ),
}


@pytest.mark.parametrize("what", TABLES)
async def test_tables_changed_by_hand_are_told_as_such(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    await good_store(path)
    statement, said = TABLES[what]
    edited(statement)(path)
    text = await told(path, StoreError)
    assert said in text
    assert "SQLite would not do this" in text
    assert "restore a backup" in text


PLACES: dict[str, tuple[Break, str]] = {
    "no folder": (
        lambda path: path.parent.rmdir(),
        r"There is no folder .*store for the store runs\.db; make it first",
    ),
    "a folder": (lambda path: path.mkdir(), r"runs\.db is a folder; a store is one file, such as .*runs\.db/runs\.db"),
    "a pipe": (os.mkfifo, r"runs\.db is no plain file"),
    "a link to nothing": (lambda path: path.symlink_to("nonesuch"), r"is a link to .*nonesuch, which is not there"),
    "a link to itself": (lambda path: path.symlink_to(path), r"cannot be opened or written .*symbolic link"),
}


@pytest.mark.parametrize("what", PLACES)
async def test_what_cannot_be_a_store_is_said_in_words(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store" / "runs.db"
    path.parent.mkdir()
    arrange, said = PLACES[what]
    arrange(path)
    with anyio.fail_after(20):
        assert re.search(said, await told(path, StoreError))


async def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("x")
    text = await told(tmp_path / "store" / "runs.db", StoreError)
    assert "Not a directory" in text
    assert "cannot be a store's: put back what was there, or give another path" in text
    assert "writable" not in text, "nothing is wrong with its rights"


async def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    assert "File name too long" in await told(tmp_path / ("n" * 253), StoreError)


BESIDE: dict[str, tuple[Break, str]] = {
    "the log is a folder": (folder_instead_of("-wal"), "SQLITE_CANTOPEN"),
    "the index of the log is a folder": (folder_instead_of("-shm"), "cannot be opened or written"),
    "the owners are a file": (owners_a_file, "runs.db.owners'); the path, or what stands at it, cannot"),
    "the checkpoint lock is a folder": (folder_instead_of(".ckpt"), "runs.db.ckpt"),
    "the checkpoint lock is a link": (checkpoint_a_link, "runs.db.ckpt"),
}


@pytest.mark.parametrize("what", BESIDE)
async def test_what_stands_in_the_way_beside_the_file_is_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 2)
    change, said = BESIDE[what]
    change(path)
    assert said in await told(path, StoreError)


HARMLESS: dict[str, Break] = {
    "an empty file": lambda path: path.write_bytes(b""),
    "a log of rubbish": lambda path: beside(path, "-wal").write_bytes(os.urandom(20_000)),
    "an index of rubbish": lambda path: beside(path, "-shm").write_bytes(os.urandom(32_768)),
    "a rollback journal of rubbish": lambda path: beside(path, "-journal").write_bytes(os.urandom(5_000)),
    "without a log": edited("PRAGMA journal_mode = DELETE"),
    "a folder in place of the ballast": folder_instead_of(".ballast"),
    "no folder of owners": lambda path: shutil.rmtree(beside(path, ".owners")),
}


@pytest.mark.parametrize("what", HARMLESS)
async def test_what_does_no_harm_is_used_as_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    before = await good_store(path, 3)
    if what == "an empty file":
        path.unlink()
        before = []
    HARMLESS[what](path)
    async with orchestrated(path) as orchestrator:
        assert [run.id for run in await orchestrator.runs()] == before[::-1]
        run = await orchestrator.run(sums(5))
        assert (run.status, run.output) == ("succeeded", 5)
    store = SqliteStore(path)
    assert (await store.verify()).is_sound
    await store.aclose()


async def test_a_name_with_odd_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20 d'\"é;.db"
    store = SqliteStore(path)
    await made(store)
    assert (await store.load("r1")).status == "running"
    backup = await store.backup(tmp_path / "b?x#%.db")
    assert (await store.verify()).runs == 1
    await store.vacuum()
    await store.aclose()
    await SqliteStore.restore(path, backup)
    assert {name for name in os.listdir(tmp_path) if not name.startswith("a?b")} == {"b?x#%.db"}


async def test_a_damaged_log_loses_its_end_and_nothing_before_it(tmp_path: Path) -> None:
    """SQLite reads a log up to the first frame whose checksum is wrong, as after a loss of power."""
    path = tmp_path / "runs.db"
    store = SqliteStore(path, durability="process")
    async with orchestrated(path) as orchestrator:
        ids = [(await orchestrator.run(sums())).id for _ in range(8)]
        copy = tmp_path / "copy" / "runs.db"
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(beside(path, suffix), beside(copy, suffix))
    await store.aclose()
    log = beside(copy, "-wal")
    patched(log.stat().st_size // 2, b"\x5a" * 100)(log)
    damaged = SqliteStore(copy)
    left = [row.id for row in await damaged.list_runs()][::-1]
    assert left == ids[: len(left)]
    assert 0 < len(left) < len(ids)
    for run_id in left:
        events = await damaged.events(run_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance((await damaged.events(left[0]))[-1], RunFinished)
    assert (await damaged.verify()).is_sound
    await damaged.aclose()


@pytest.mark.parametrize("mode", ["BEGIN EXCLUSIVE", "PRAGMA locking_mode = EXCLUSIVE"])
async def test_a_file_that_another_program_keeps_locked_is_told(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "runs.db"
    ids = await good_store(path, 2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(mode)
        other.execute("BEGIN IMMEDIATE" if mode.startswith("PRAGMA") else "SELECT 1")
        with pytest.raises(StoreBusy, match=r"runs\.db stayed locked for 0\.3 s; .*end that process, or try again"):
            async with orchestrated(path, patience_s=0.3) as orchestrator:
                await orchestrator.run(sums())
    async with orchestrated(path) as orchestrator:
        assert [run.id for run in await orchestrator.runs()] == ids[::-1]
