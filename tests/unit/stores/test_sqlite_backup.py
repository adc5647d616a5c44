"""Backups are whole, made while others write, and put back only where nobody is in the way."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from llmorch import Orchestrator, StoreBusy, StoreCorrupt, StoreError, StoreFull
from llmorch.stores.sqlite import Backups, SqliteStore, copies
from llmorch.stores.sqlite import backup as backups
from llmorch.stores.sqlite.place import Place
from tests.architecture.tree import ROOT
from tests.unit.stores.sqlite_golden import loaded, samples
from tests.unit.stores.sqlite_parts import made, note
from tests.unit.stores.sqlite_users import Model, chain, good_store, mark, sums
from tests.unit.stores.test_sqlite_trouble import fill, small_disk

pytestmark = pytest.mark.anyio


def whole(folder: Path) -> dict[str, str]:
    """Everything in the folder, but for locks and room set aside."""
    kept = (path for path in folder.iterdir() if path.is_file() and path.suffix not in (".ckpt", ".ballast"))
    return {path.name: mark(path) for path in kept}


async def ids_of(path: Path) -> list[str]:
    store = SqliteStore(path)
    rows = await store.list_runs(limit=1_000)
    assert (await store.verify()).is_sound
    await store.aclose()
    return [row.id for row in rows]


async def test_a_backup_is_of_one_moment_and_writers_do_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_STEP_PAGES", 1)
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    await store.append(claim, [note("r1", seq, "x" * 2_000) for seq in range(2, 50)])
    claim.last_seq = 49
    steps = 0

    async def append() -> None:
        reply = await store.append(claim, [note("r1", claim.last_seq + 1)])
        claim.last_seq = reply.last_seq

    def on_step() -> None:
        nonlocal steps
        steps += 1
        assert steps < 1_000, "a copy that is not of one moment begins anew with every commit"
        anyio.from_thread.run(append)

    target = tmp_path / "copy.db"
    await anyio.to_thread.run_sync(partial(backups.back_up, store.path, target, overwrite=False, on_step=on_step))
    assert steps > 10
    assert (await store.load("r1")).last_seq == 49 + steps
    await store.aclose()
    copy = SqliteStore(target)
    assert (await copy.load("r1")).last_seq == 49
    assert len(await copy.events("r1")) == 49
    await copy.aclose()


async def test_a_backup_while_runs_go_on_holds_runs_that_can_be_finished(tmp_path: Path) -> None:
    model = Model(hold_at="s3")
    store = SqliteStore(tmp_path / "runs.db")
    async with Orchestrator(store, providers=[model.provider], model="scripted:m") as orchestrator:
        handle = await orchestrator.start(chain(4))
        await model.reached.wait()
        target = await store.backup(tmp_path / "copy.db")
        model.go_on.set()
        assert (await handle.result()).status == "succeeded"
    again = Model()
    async with Orchestrator(f"sqlite:///{target}", providers=[again.provider], model="scripted:m") as orchestrator:
        run = await (await orchestrator.resume(handle.id)).result()
        assert (run.status, run.output) == ("succeeded", "fine")
    assert again.asked == ["s3", "s4"]


async def test_a_backup_is_one_file_for_its_user_only_and_replaces_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "runs.db")
        await made(store)
        folder = tmp_path / "kept"
        folder.mkdir()
        target = await store.backup(folder / "copy.db")
    finally:
        os.umask(before)
    assert target == folder / "copy.db"
    assert os.listdir(folder) == ["copy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    first = mark(target)
    await made(store, "r2")
    with pytest.raises(StoreError, match=r"copy\.db is there already; give another name, or say overwrite=True"):
        await store.backup(target)
    assert mark(target) == first
    await store.backup(str(target), overwrite=True)
    assert os.listdir(folder) == ["copy.db"]
    with closing(sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True)) as raw:
        assert raw.execute("SELECT id FROM runs").fetchall() == [("r1",), ("r2",)]
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    with pytest.raises(StoreError, match=r"runs\.db is the store itself"):
        await store.backup(store.path, overwrite=True)
    with pytest.raises(StoreError, match=r"There is no folder .*nonesuch for the backup"):
        await store.backup(tmp_path / "nonesuch" / "copy.db")
    await store.aclose()


def test_of_two_backups_of_one_name_the_first_one_stays(tmp_path: Path) -> None:
    part, other = tmp_path / "a.part", tmp_path / "b.part"
    part.write_text("one")
    other.write_text("two")
    copies.placed(part, tmp_path / "copy.db", overwrite=False)
    with pytest.raises(StoreError, match="is there already"):
        copies.placed(other, tmp_path / "copy.db", overwrite=False)
    assert (tmp_path / "copy.db").read_text() == "one"


async def test_a_backup_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    folder = tmp_path / "kept"
    folder.mkdir()

    def on_step() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backups.back_up(store.path, folder / "copy.db", overwrite=False, on_step=on_step)
    assert os.listdir(folder) == []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.backup(folder / "copy.db")
    assert os.listdir(folder) == []
    await store.aclose()


async def test_a_backup_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    await store.append(claim, [note("r1", 2, "x" * 3_000_000)])
    with small_disk(tmp_path / "small", "size=1m") as folder:
        with pytest.raises(StoreFull, match=r"no room left in .*small"):
            await store.backup(folder / "copy.db")
        assert os.listdir(folder) == []
    await store.aclose()


async def test_a_damaged_store_gives_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 40)
    whole_file = bytearray(path.read_bytes())
    page = len(whole_file) // 4_096 - 3
    whole_file[page * 4_096 : page * 4_096 + 64] = b"\xee" * 64
    path.write_bytes(whole_file)
    store = SqliteStore(path)
    with pytest.raises(StoreCorrupt, match=r"The store .*runs\.db is damaged .*; no backup was made"):
        await store.backup(tmp_path / "copy.db")
    await store.aclose()
    assert not (tmp_path / "copy.db").exists()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


async def test_a_restored_store_is_as_it_was_and_what_was_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    early = await good_store(path, 3)
    store = SqliteStore(path)
    backup = await store.backup(tmp_path / "copy.db")
    await store.aclose()
    late = await good_store(path, 2)
    restored = await SqliteStore.restore(path, backup)
    assert restored.path == path
    assert (restored.report.runs, restored.report.is_sound) == (3, True)
    assert await ids_of(path) == early[::-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert restored.safety is not None
    assert restored.safety.name.startswith("runs.db.before-restore-")
    assert await ids_of(restored.safety) == [*late[::-1], *early[::-1]]
    assert backup.exists()
    async with Orchestrator(f"sqlite:///{path}") as orchestrator:
        assert (await orchestrator.run(sums())).status == "succeeded"


async def test_the_safety_copy_has_what_only_the_log_held(tmp_path: Path) -> None:
    """As a killed process leaves it: the database is behind its log."""
    live, path = tmp_path / "live.db", tmp_path / "runs.db"
    store = SqliteStore(live)
    await made(store)
    backup = await store.backup(tmp_path / "copy.db")
    await made(store, "r2")
    for suffix in ("", "-wal", "-shm"):
        shutil.copyfile(f"{live}{suffix}", f"{path}{suffix}")
    await store.aclose()
    restored = await SqliteStore.restore(path, backup)
    assert not path.with_name("runs.db-wal").exists()
    assert await ids_of(path) == ["r1"]
    assert restored.safety is not None
    assert await ids_of(restored.safety) == ["r2", "r1"]


async def test_a_damaged_store_is_kept_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    early = await good_store(path, 3)
    store = SqliteStore(path)
    backup = await store.backup(tmp_path / "copy.db")
    await store.aclose()
    path.write_bytes(b"no database any more")
    path.with_name("runs.db-wal").write_bytes(b"nor a log")
    restored = await SqliteStore.restore(path, backup)
    assert await ids_of(path) == early[::-1]
    assert restored.safety is not None
    assert restored.safety.read_bytes() == b"no database any more"
    assert restored.safety.with_name(f"{restored.safety.name}-wal").read_bytes() == b"nor a log"


async def test_a_store_is_restored_to_where_none_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    early = await good_store(path, 2)
    store = SqliteStore(path)
    backup = await store.backup(tmp_path / "copy.db")
    await store.aclose()
    (tmp_path / "new").mkdir()
    restored = await SqliteStore.restore(tmp_path / "new" / "runs.db", backup)
    assert restored.safety is None
    assert await ids_of(restored.path) == early[::-1]


async def test_a_backup_of_an_older_schema_is_restored_and_brought_up_to_date(tmp_path: Path) -> None:
    loaded(tmp_path / "old.db", 1)
    path = tmp_path / "runs.db"
    restored = await SqliteStore.restore(path, tmp_path / "old.db")
    assert restored.report.schema == 1
    assert await ids_of(path) == [sample.row.id for sample in reversed(samples())]


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE meta SET value = '99'")
        raw.commit()


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE t(x)")


def spoiled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(3, len(content) // 4_096):
        content[page * 4_096 : page * 4_096 + 64] = b"\xee" * 64
    path.write_bytes(content)


UNFIT: dict[str, tuple[Callable[[Path], object], type[StoreError], str]] = {
    "missing": (lambda path: path.unlink(), StoreError, "There is no backup"),
    "a folder": (made_a_folder, StoreError, "There is no backup"),
    "empty": (lambda path: path.write_bytes(b""), StoreError, "is empty, so it is no backup of a store"),
    "a text": (lambda path: path.write_text("hello"), StoreCorrupt, "damaged"),
    "newer": (newer, StoreError, "schema 99"),
    "foreign": (foreign, StoreError, "of another program"),
    "damaged": (spoiled, StoreCorrupt, "damaged"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size // 2), StoreCorrupt, "damaged"),
}


@pytest.mark.parametrize("what", UNFIT)
async def test_what_is_no_good_backup_is_refused_and_nothing_changes(tmp_path: Path, what: str) -> None:
    (tmp_path / "store").mkdir()
    path, backup = tmp_path / "store" / "runs.db", tmp_path / "copy.db"
    await good_store(path, 20)
    store = SqliteStore(path)
    await store.backup(backup)
    await store.aclose()
    before = whole(path.parent)
    spoil, kind, text = UNFIT[what]
    spoil(backup)
    with pytest.raises(kind, match=text) as caught:
        await SqliteStore.restore(path, backup)
    assert type(caught.value) is kind
    assert whole(path.parent) == before


async def test_the_store_itself_is_no_backup_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 1)
    (tmp_path / "link.db").symlink_to(path)
    for name in ("runs.db", "link.db"):
        with pytest.raises(StoreError, match="is the store itself"):
            await SqliteStore.restore(path, tmp_path / name)


async def test_no_room_for_a_restore_changes_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "size=6m") as folder:
        path = folder / "runs.db"
        await good_store(path, 2)
        store = SqliteStore(path)
        backup = await store.backup(tmp_path / "copy.db")
        await store.aclose()
        (folder / "runs.db.ballast").unlink(missing_ok=True)
        before = whole(folder)
        fill(folder / "filler")
        with pytest.raises(StoreFull, match=r"no room left in .*; nothing was changed"):
            await SqliteStore.restore(path, backup)
        (folder / "filler").unlink()
        assert whole(folder) == before


OTHER = """
import sys
import anyio
from llmorch.stores.sqlite import SqliteStore
from tests.unit.stores.sqlite_parts import made

async def main(path, what):
    store = SqliteStore(path)
    await (made(store, "theirs") if what == "owns" else store.list_runs())
    print("open", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main, sys.argv[1], sys.argv[2])
"""


@contextmanager
def in_another_process(path: Path, what: str) -> Iterator[None]:
    """Another process has the store open, to read it or as the owner of a run."""
    command = [sys.executable, "-c", OTHER, str(path), what]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "open\n"
            yield
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("what", "text"),
    [("reads", "Another process has the store .* open"), ("owns", r"is used by \S+-\d+-[0-9a-f]{8}; end that first")],
)
async def test_a_store_that_another_process_has_open_is_not_replaced(tmp_path: Path, what: str, text: str) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 2)
    store = SqliteStore(path)
    backup = await store.backup(tmp_path / "copy.db")
    await store.aclose()
    with in_another_process(path, what):
        inode = path.stat().st_ino
        with pytest.raises(StoreBusy, match=text):
            await SqliteStore.restore(path, backup)
        assert path.stat().st_ino == inode
        assert not [name for name in os.listdir(tmp_path) if "restore" in name or name.endswith(".part")]
    await SqliteStore.restore(path, backup)


@pytest.mark.parametrize("what", ["reads", "writes"])
async def test_a_store_that_is_open_here_is_not_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 1)
    store = SqliteStore(path)
    backup = await store.backup(tmp_path / "copy.db")
    assert len(await store.list_runs()) == 1
    if what == "writes":
        await made(store)
    with pytest.raises(StoreBusy, match="is open in this process; close it"):
        await SqliteStore.restore(path, backup)
    (tmp_path / "link.db").symlink_to(path)
    with pytest.raises(StoreBusy, match="is open in this process; close it"):
        await SqliteStore.restore(tmp_path / "link.db", backup)
    await store.aclose()
    await SqliteStore.restore(path, backup)


async def test_a_store_that_is_restored_meanwhile_is_opened_when_that_is_done(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 1)
    store, impatient = SqliteStore(path), SqliteStore(path, patience_s=0.2)
    with backups._alone(Place(path)):
        with pytest.raises(StoreBusy):
            await made(impatient)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made, store)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    await impatient.aclose()
    await made(store, "r2")
    await store.aclose()


async def test_a_folder_of_backups_knows_them_by_name(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    early = await good_store(path, 2)
    folder = Backups(tmp_path / "deep" / "backups")
    assert folder.list() == []
    store = SqliteStore(path)
    named = await folder.make(store, name="before-the-move.db")
    dated = await folder.make(store)
    assert dated.name.startswith("runs-20")
    assert stat.S_IMODE((tmp_path / "deep" / "backups").stat().st_mode) == 0o700
    with pytest.raises(StoreError, match="is there already"):
        await folder.make(store, name=named.name)
    again = await folder.make(store, name=named.name, overwrite=True)
    assert {file.name for file in folder.list()} == {again.name, dated.name}
    assert all(file.size == (tmp_path / "deep" / "backups" / file.name).stat().st_size for file in folder.list())
    await store.aclose()
    await good_store(path, 1)
    await folder.restore(path, named.name)
    assert await ids_of(path) == early[::-1]
    with pytest.raises(StoreError, match=r"There is no backup 'other\.db' in"):
        await folder.restore(path, "other.db")


BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "a..b",
    ".hidden",
    "-x",
    "a\0b",
    "a\nb",
    "ä",
    "x" * 101,
]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = Backups(tmp_path / "backups")
    store = SqliteStore(tmp_path / "runs.db")
    with pytest.raises(ValueError, match="cannot be the name of a backup"):
        await folder.make(store, name=name)
    with pytest.raises(ValueError, match="cannot be the name of a backup"):
        await folder.restore(tmp_path / "runs.db", name)
    assert os.listdir(tmp_path) == []
    await store.aclose()


async def test_a_link_in_the_folder_is_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await good_store(path, 1)
    store = SqliteStore(path)
    await store.backup(tmp_path / "outside.db")
    await store.aclose()
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "inside.db").symlink_to(tmp_path / "outside.db")
    folder = Backups(tmp_path / "backups")
    assert folder.list() == []
    with pytest.raises(StoreError, match="There is no backup"):
        await folder.restore(path, "inside.db")
