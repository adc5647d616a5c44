"""Bad storage: damaged, foreign, newer, read-only, full, on the network, forged."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from llmorch import RunNotFound, StoreCorrupt, StoreError, StoreFull
from llmorch.ports import Claim, InboxItem
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.place import path_of, refuse_network
from llmorch.stores.sqlite.schema import MIGRATIONS, migrate, version_of
from tests.unit.stores.sqlite_parts import made, note, until


def changed(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(statement, values)


async def written(path: Path, count: int = 3) -> None:
    """A closed store with one run of so many events."""
    store = SqliteStore(path)
    claim = await made(store)
    await store.append(claim, [note("r1", seq, f"needle {seq}") for seq in range(2, count + 1)])
    await store.aclose()


def flip(path: Path, text: bytes, other: bytes) -> None:
    whole = path.read_bytes()
    assert whole.count(text) == 1
    path.write_bytes(whole.replace(text, other))


@pytest.mark.anyio
async def test_a_flipped_byte_is_told_with_its_run_and_seq(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await written(path)
    flip(path, b"needle 2", b"noodle 2")
    store = SqliteStore(path)
    with pytest.raises(StoreCorrupt, match=r"Run r1: event 2 .*checksum") as caught:
        await store.events("r1")
    assert caught.value.run_id == "r1"
    assert [event.seq for event in await store.events("r1", after=2)] == [3]
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET at = at + 1 WHERE seq = 2",
        "UPDATE events SET kind = 'StepSucceeded' WHERE seq = 2",
        "UPDATE events SET step = 's' WHERE seq = 2",
        "UPDATE events SET run = (SELECT n FROM runs WHERE id = 'r2') WHERE seq = 2",
        "UPDATE events SET sum = zeroblob(16) WHERE seq = 2",
        "DELETE FROM events WHERE seq = 2",
        "DELETE FROM events WHERE seq = 3",
        "UPDATE events SET seq = 4 WHERE seq = 3",
    ],
)
async def test_what_was_changed_behind_the_stores_back_is_found(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "runs.db"
    await written(path)
    store = SqliteStore(path)
    await made(store, "r2")
    assert len(await store.events("r1")) == 3
    changed(path, statement)
    with pytest.raises(StoreCorrupt, match=r"Run r1: .*(event 2|event 3|3 events)"):
        await store.events("r1")
    await store.aclose()


@pytest.mark.anyio
async def test_a_page_of_rubbish_is_told_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await written(path, 60)
    whole = bytearray(path.read_bytes())
    for page in range(2, len(whole) // 4096):
        whole[page * 4096 : page * 4096 + 64] = bytes(range(1, 65))
    path.write_bytes(whole)
    store = SqliteStore(path)
    with pytest.raises(StoreCorrupt, match=r"damaged.*SQLITE_CORRUPT.*\.recover"):
        await store.events("r1")
    await store.aclose()
    assert path.read_bytes() == bytes(whole)


@pytest.mark.anyio
async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_text("a diary, and no database, for many many lines\n" * 100)
    before = path.read_bytes()
    store = SqliteStore(path)
    for work in (store.load("r1"), made(store)):
        with pytest.raises(StoreCorrupt, match="SQLITE_NOTADB"):
            await work
    await store.aclose()
    assert path.read_bytes() == before


@pytest.mark.anyio
async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    changed(path, "CREATE TABLE meta(key, value)")
    before = path.read_bytes()
    store = SqliteStore(path)
    for work in (store.load("r1"), made(store)):
        with pytest.raises(StoreError, match="of another program"):
            await work
    await store.aclose()
    assert path.read_bytes() == before


@pytest.mark.anyio
async def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await written(path)
    changed(path, "UPDATE meta SET value = '99' WHERE key = 'schema'")
    before = path.read_bytes()
    store = SqliteStore(path)
    for work in (store.load("r1"), made(store, "r2")):
        with pytest.raises(StoreError, match=f"schema 99, and this llmorch knows schemas up to {len(MIGRATIONS)}"):
            await work
    await store.aclose()
    assert path.read_bytes() == before


@pytest.mark.anyio
async def test_an_older_schema_is_brought_up_to_date_with_a_backup_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await written(path)
    steps = (*MIGRATIONS, ("CREATE TABLE extra(n INTEGER) STRICT", "INSERT INTO extra VALUES (7)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        backup = migrate(raw, path, migrations=steps)
        assert version_of(raw, path, newest=len(steps)) == len(steps)
        assert raw.execute("SELECT n FROM extra").fetchall() == [(7,)]
        assert migrate(raw, path, migrations=steps) is None
    assert backup is not None
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as old:
        assert version_of(old, backup) == len(MIGRATIONS)
        assert old.execute("SELECT count(*) FROM events").fetchone() == (3,)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        migrate(raw, path)
        steps = (*MIGRATIONS, ("CREATE TABLE extra(n INTEGER) STRICT", "INSERT INTO nonesuch VALUES (7)"))
        with pytest.raises(sqlite3.OperationalError):
            migrate(raw, path, migrations=steps)
        assert version_of(raw, path) == len(MIGRATIONS)
        assert not raw.in_transaction
        assert raw.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)


@pytest.mark.anyio
async def test_all_files_are_for_their_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "runs.db")
        await made(store)
        await store.load("r1")
    finally:
        os.umask(before)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    assert modes.pop("runs.db.owners") == 0o700
    assert set(modes) == {"runs.db", "runs.db-wal", "runs.db-shm", "runs.db.ckpt", "runs.db.ballast"}
    assert set(modes.values()) == {0o600}
    await store.aclose()


@pytest.mark.anyio
async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "nonesuch" / "runs.db")
    for work in (store.load("r1"), made(store)):
        with pytest.raises(StoreError, match=r"There is no folder .*nonesuch for the store runs\.db; make it first"):
            await work
    await store.aclose()


READ_ONLY = """
import anyio, os, sys
from llmorch import StoreError
from llmorch.ports import Claim, InboxItem
from llmorch.stores.sqlite import SqliteStore

async def main(path):
    store = SqliteStore(path)
    read = (await store.load("r1")).last_seq
    try:
        await store.post("r1", InboxItem("cancel"))
    except StoreError as error:
        print("read", read)
        print(error)
    await store.aclose()

anyio.run(main, sys.argv[2])  # loads every module while they may be read: nobody's user may not enter every folder
os.setgid(65534)
os.setuid(65534)
anyio.run(main, sys.argv[1])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_only_be_read_is_read_and_says_why_nothing_is_written() -> None:
    with TemporaryDirectory() as name:  # not tmp_path, whose parents are root's own
        folder = Path(name)
        folder.chmod(0o755)
        anyio.run(written, folder / "runs.db")
        (folder / "runs.db").chmod(0o644)
        (folder / "other").mkdir(mode=0o700)
        anyio.run(written, folder / "other" / "runs.db")
        command = [sys.executable, "-c", READ_ONLY, str(folder / "runs.db"), str(folder / "other" / "runs.db")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        read, _, refused = answer.stdout.partition("\n")
        assert read == "read 3", answer.stderr
        assert "cannot be opened or written" in refused


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small tmpfs cannot be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Leave no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.anyio
async def test_a_full_disk_lets_units_wait_and_refuses_the_rest(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "runs.db")
    claim = await made(store)
    filler = small_disk / "filler"
    fill(filler)
    units = 20
    async with anyio.create_task_group() as tasks:

        async def go_on() -> None:
            for seq in range(2, 2 + units):
                claim.last_seq = (await store.append(claim, [note("r1", seq, "z" * 100_000)])).last_seq

        tasks.start_soon(go_on)
        await until(lambda: store.trouble == "store-full")
        with pytest.raises(StoreFull, match=r"no room left for the store.*SQLITE_FULL"):
            await made(store, "r2", tags=("long" * 50_000,))
        with pytest.raises(StoreFull):
            await store.post("r1", InboxItem("answer", "ask", data="long" * 50_000))
        reached = (await store.load("r1")).last_seq
        assert reached < units
        assert len(await store.events("r1")) == reached
        filler.unlink()
    assert (await store.load("r1")).last_seq == 1 + units
    await until(lambda: store.trouble is None)
    with pytest.raises(RunNotFound):
        await store.load("r2")
    await store.aclose()


@pytest.mark.anyio
async def test_the_ballast_makes_room_for_what_is_paid_for(small_disk: Path) -> None:
    ballast = small_disk / "runs.db.ballast"
    ballast.write_bytes(bytes(1 << 20))
    store = SqliteStore(small_disk / "runs.db")
    claim = await made(store)
    fill(small_disk / "filler")
    with anyio.fail_after(20):
        reply = await store.append(claim, [note("r1", 2, "z" * 300_000)])
    assert reply.last_seq == 2
    assert not ballast.exists()
    await store.aclose()


@pytest.mark.anyio
async def test_what_is_set_aside_is_not_for_new_runs(small_disk: Path) -> None:
    ballast, filler = small_disk / "runs.db.ballast", small_disk / "filler"
    ballast.write_bytes(bytes(1 << 20))
    store = SqliteStore(small_disk / "runs.db")
    claim = await made(store)
    fill(filler)
    await store.append(claim, [note("r1", 2, "z" * 300_000)])
    assert not ballast.exists()
    assert store.trouble == "store-full"
    for number in range(3):
        with pytest.raises(StoreFull, match="no room left for the store"):
            await made(store, f"new{number}")
    await store.append(Claim("r1", 1, 2), [note("r1", 3, "z" * 300_000)])
    filler.unlink()
    await until(lambda: store.trouble is None)
    assert ballast.stat().st_size == 1 << 20
    await made(store, "r2")
    await store.aclose()


@pytest.mark.anyio
async def test_a_full_disk_is_over_when_there_is_room_though_nobody_writes(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "runs.db")
    await made(store)
    fill(small_disk / "filler")
    with pytest.raises(StoreFull):
        await made(store, "r2", tags=("long" * 50_000,))
    assert store.trouble == "store-full"
    (small_disk / "filler").unlink()
    await until(lambda: store.trouble is None)
    await made(store, "r2")
    await store.aclose()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
//box/share /mnt/my\\040share cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/runs.db", None),
        ("/home/me/runs.db", "nfs4"),
        ("/home/me/scratch/runs.db", None),
        ("/homes/runs.db", None),
        ("/mnt/my share/deep/runs.db", "cifs"),
    ],
)
def test_a_network_file_system_is_refused_by_name(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    if kind is None:
        refuse_network(Path(path), mounts=mounts)
    else:
        with pytest.raises(StoreError, match=rf"network file system \({kind}\)"):
            refuse_network(Path(path), mounts=mounts)
    refuse_network(Path(path), mounts=tmp_path / "nonesuch")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///rel.db", Path("rel.db")),
        ("sqlite:////abs/x.db", Path("/abs/x.db")),
        ("sqlite:///~/x.db", Path.home() / "x.db"),
    ],
)
def test_a_url_names_a_file(url: str, path: Path) -> None:
    assert path_of(url) == path
    assert SqliteStore.from_url(url).path == path.absolute()


@pytest.mark.parametrize("url", ["sqlite://x.db", "sqlite:///", "postgres:///x", "x.db", "sqlite:///x.db?mode=ro", ""])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///"):
        SqliteStore.from_url(url)


def test_an_unknown_durability_is_refused() -> None:
    made_with: Callable[..., SqliteStore] = SqliteStore
    with pytest.raises(ValueError, match="'power' or 'process', not 'disk'"):
        made_with("x.db", durability="disk")
