"""A store that gets into trouble while runs go on: they wait, send nothing meanwhile, and lose nothing."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.lowlevel
import pytest

from llmorch import Orchestrator, StoreBusy, StoreError, StoreFull
from llmorch.events import CallFinished, CallStarted
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.hold import Hold
from llmorch.stores.sqlite.owners import Owners
from tests.architecture.tree import ROOT
from tests.unit.stores.sqlite_parts import locked, until
from tests.unit.stores.sqlite_users import Model, chain, good_store, mark, sums

pytestmark = pytest.mark.anyio

STEPS = 5
Spoil = Callable[[SqliteStore], object]


def fill(path: Path) -> None:
    """Leave no room on the disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            return


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory of a size of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small tmpfs cannot be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _hold(store: SqliteStore) -> Hold:
    """Of the files that the store writes to."""
    hold = store._writer._hold
    assert hold is not None, "nothing was written yet"
    return hold


async def through_trouble(
    path: Path,
    *,
    spoil: Spoil,
    mend: Spoil,
    trouble: str,
    refused: Callable[[Orchestrator], Awaitable[None]],
    answer: str = "fine",
) -> None:
    """A run is in its second call when the trouble begins, and is to be as if there had been none."""
    model = Model(answer=answer, hold_at="s2")
    store = SqliteStore(path, patience_s=0.4)
    async with Orchestrator(store, providers=[model.provider], model="scripted:m") as orchestrator:
        handle = await orchestrator.start(chain(STEPS))
        await model.reached.wait()
        spoil(store)
        _hold(store).looked_at = 0.0  # it looks at the names of its files with the next commit
        model.go_on.set()
        await until(lambda: store.trouble == trouble)
        asked = list(model.asked)
        await refused(orchestrator)
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        assert model.asked == asked
        assert len(asked) < STEPS
        mend(store)
        with anyio.fail_after(30):
            run = await handle.result()
        assert (run.status, run.output) == ("succeeded", answer)
        assert model.asked == [f"s{number}" for number in range(1, STEPS + 1)]
        log = [event async for event in orchestrator.attach(handle.id).events()]
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        calls = Counter(type(event) for event in log if isinstance(event, CallStarted | CallFinished))
        assert calls == {CallStarted: STEPS, CallFinished: STEPS}
        assert store.trouble is None
    checked = SqliteStore(path)
    report = await checked.verify()
    assert report.is_sound, str(report)
    await checked.aclose()


def refuses(
    kind: type[StoreError], text: str, *, tags: Sequence[str] = ()
) -> Callable[[Orchestrator], Awaitable[None]]:
    """A new run is refused with this error."""

    async def refused(orchestrator: Orchestrator) -> None:
        with anyio.fail_after(30), pytest.raises(kind, match=text) as caught:
            await orchestrator.start(sums(), tags=tags)
        assert type(caught.value) is kind

    return refused


async def test_a_run_waits_for_a_program_that_locks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        await through_trouble(
            path,
            spoil=lambda store: other.execute("BEGIN EXCLUSIVE"),
            mend=lambda store: other.execute("ROLLBACK"),
            trouble="store-busy",
            refused=refuses(StoreBusy, r"stayed locked for 0\.4 s"),
        )


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_a_run_that_is_cancelled_does_not_wait_for_a_file_that_stays_locked(
    tmp_path: Path, *, is_given_up: bool
) -> None:
    model = Model(hold_at="s2")
    store = SqliteStore(tmp_path / "runs.db")
    async with Orchestrator(store, providers=[model.provider], model="scripted:m") as orchestrator:
        handle = await orchestrator.start(chain(3))
        await model.reached.wait()
        with locked(store.path):
            model.go_on.set()
            await until(lambda: store.trouble == "store-busy")
            with anyio.fail_after(20):
                await handle.cancel()
                with pytest.raises(StoreBusy, match="was stopped, and its last 4 events could not be recorded"):
                    await handle.result()
            assert store.trouble == "store-busy"
        await until(lambda: store.trouble is None)
        if is_given_up:  # as it is when the orchestrator is closed
            await orchestrator._queries.live[handle.id].release()
            assert (await store.load(handle.id)).owner is None, "its end is not recorded, so others may have it"
        again = await orchestrator.resume(handle.id)
        run = await again.result()
        assert (run.status, run.output) == ("succeeded", "fine")
    assert model.asked == ["s1", "s2", "s3"]


async def test_a_run_waits_for_room_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "size=6m") as folder:
        path, filler = folder / "runs.db", folder / "filler"

        def spoil(store: SqliteStore) -> None:
            (folder / "runs.db.ballast").unlink(missing_ok=True)
            fill(filler)

        async def refused(orchestrator: Orchestrator) -> None:
            await refuses(StoreFull, "no room left for the store", tags=["x" * 500_000])(orchestrator)
            assert (await orchestrator.runs(limit=1))[0].status == "running"

        await through_trouble(
            path,
            spoil=spoil,
            mend=lambda store: filler.unlink(),
            trouble="store-full",
            refused=refused,
            answer="z" * 300_000,
        )


async def test_a_run_waits_for_the_quota_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    def limited(pages: int) -> Spoil:
        def limit(store: SqliteStore) -> None:
            connection = store._writer._connection
            assert connection is not None
            connection.execute(f"PRAGMA max_page_count = {pages}")

        return limit

    await through_trouble(
        path,
        spoil=limited(1),  # SQLite takes the size it has
        mend=limited(1_000_000),
        trouble="store-full",
        refused=refuses(StoreFull, "no room left for the store"),
        answer="z" * 100_000,
    )


LIMITED = """
import anyio, resource, sys
from pathlib import Path
from llmorch import StoreFull, Orchestrator
from llmorch.stores.sqlite import SqliteStore
from tests.unit.stores.test_sqlite_trouble import refuses, through_trouble

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def refused(orchestrator):
    await refuses(StoreFull, "no room left for the store .*File too large")(orchestrator)

async def main():
    path = Path(sys.argv[1])
    await through_trouble(
        path,
        spoil=lambda store: limit(200_000),
        mend=lambda store: limit(resource.RLIM_INFINITY),
        trouble="store-full",
        refused=refused,
        answer="z" * 300_000,
    )
    print("through")

anyio.run(main)
"""


def test_a_run_waits_for_a_limit_that_sqlite_takes_for_a_broken_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "runs.db")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert answer.stdout == "through\n", answer.stderr


async def test_a_disk_that_takes_no_more_files_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "size=6m,nr_inodes=20") as folder:
        path = folder / "runs.db"
        for number in range(30):
            try:
                (folder / f"filler{number}").touch()
            except OSError:
                break
        for _ in range(2):
            with pytest.raises(StoreFull, match=r"no room left for the store .*No space left on device"):
                async with Orchestrator(SqliteStore(path, patience_s=0.4)) as orchestrator:
                    await orchestrator.run(sums())
            (folder / "filler0").unlink(missing_ok=True)  # enough for the file, and not for its log
        for filler in folder.glob("filler*"):
            filler.unlink()
        assert len(await good_store(path, 1)) == 1


async def test_a_run_waits_for_a_file_that_was_moved_away(tmp_path: Path) -> None:
    path, away = tmp_path / "runs.db", tmp_path / "away.db"
    await through_trouble(
        path,
        spoil=lambda store: path.rename(away),
        mend=lambda store: away.rename(path),
        trouble="store-failing",
        refused=refuses(
            StoreError, r"runs\.db was deleted or moved\), so nothing more is written to it\. Put the file"
        ),
    )


async def test_a_run_never_writes_to_a_file_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    path, away, other = tmp_path / "runs.db", tmp_path / "away.db", tmp_path / "other.db"
    await good_store(other, 2)

    def spoil(store: SqliteStore) -> None:
        path.rename(away)
        shutil.copyfile(other, path)

    def mend(store: SqliteStore) -> None:
        assert mark(path) == mark(other)
        away.replace(path)

    async def refused(orchestrator: Orchestrator) -> None:
        await refuses(StoreError, r"runs\.db was replaced by another file")(orchestrator)
        with pytest.raises(StoreError, match=r"runs\.db was replaced by another file"):
            await orchestrator.runs()

    await through_trouble(path, spoil=spoil, mend=mend, trouble="store-failing", refused=refused)


async def test_nothing_is_lost_with_a_log_that_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    model = Model(hold_at="s2")
    async with (
        Orchestrator(f"sqlite:///{path}", providers=[model.provider], model="scripted:m") as orchestrator,
        Orchestrator(f"sqlite:///{path}") as other,
    ):
        before = [(await other.run(sums())).id for _ in range(3)]
        handle = await orchestrator.start(chain(STEPS))
        await model.reached.wait()
        for store in (orchestrator._queries.store, other._queries.store):
            assert isinstance(store, SqliteStore)
            _hold(store).looked_at = 0.0  # as above
        (tmp_path / "runs.db-wal").unlink()
        (tmp_path / "runs.db-shm").unlink()
        model.go_on.set()
        assert (await handle.result()).status == "succeeded"
        after = [(await other.run(sums())).id for _ in range(3)]
        copy = tmp_path / "killed.db"  # what another process would find if this one were killed now
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    for file in (path, copy):
        store = SqliteStore(file)
        assert {row.id for row in await store.list_runs()} == {*before, handle.id, *after}
        report = await store.verify()
        assert report.is_sound, str(report)
        await store.aclose()


async def test_a_file_that_is_deleted_is_not_made_anew_behind_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = SqliteStore(path)
    async with Orchestrator(store) as orchestrator:
        await orchestrator.run(sums())
        path.unlink()
        _hold(store).looked_at = 0.0  # as above
        await refuses(StoreError, "was deleted or moved")(orchestrator)
        assert not path.exists()
    assert len(await good_store(path, 1)) == 1


def test_an_owner_whose_lock_file_is_deleted_makes_it_anew(tmp_path: Path) -> None:
    folder = tmp_path / "owners"
    mine = Owners(folder)
    mine.hold("me")
    shutil.rmtree(folder)
    assert Owners(folder).living() == []
    mine.mend()
    assert os.listdir(folder) == ["me.lock"]
    assert Owners(folder).living() == ["me"]
    mine.mend()
    mine.close()
    assert os.listdir(folder) == []


UNPRIVILEGED = """
import anyio, os, sys
from llmorch import Orchestrator, StoreError
from tests.unit.stores.sqlite_users import mark, sums

async def main(path):
    for name in ("runs", "run"):
        try:
            async with Orchestrator(f"sqlite:///{path}") as orchestrator:
                given = await (orchestrator.runs() if name == "runs" else orchestrator.run(sums()))
            print(name, len(given) if name == "runs" else given.status)
        except StoreError as error:
            print(name, type(error).__name__, error)

anyio.run(main, sys.argv[1])  # loads every module while they may be read
os.setgid(65534)
os.setuid(65534)
anyio.run(main, sys.argv[2])
"""


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


FORBIDDEN: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "all is the user's": (lambda path: None, ("runs 3", "run succeeded")),
    "the file may only be read": (lambda path: path.chmod(0o444), ("runs 3", "cannot be opened or written")),
    "the file may not be read": (lambda path: path.chmod(0), ("cannot be opened or written",) * 2),
    "the folder may only be read": (lambda path: path.parent.chmod(0o555), ("runs 3", "cannot be opened or written")),
    "the folder may not be entered": (lambda path: path.parent.chmod(0), ("cannot be opened or written",) * 2),
    "the owners may not be entered": (
        lambda path: beside(path, ".owners").chmod(0),
        ("runs 3", "Permission denied: .*owners"),
    ),
    "the owners are another user's": (
        lambda path: os.chown(beside(path, ".owners"), 0, 0),
        ("runs 3", "Permission denied: .*owners"),
    ),
    "the checkpoint lock is another user's": (
        lambda path: os.chown(beside(path, ".ckpt"), 0, 0),
        ("runs 3", "Permission denied: .*ckpt"),
    ),
}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_a_user_may_not_do_is_said(what: str) -> None:
    forbid, (read, ran) = FORBIDDEN[what]
    with TemporaryDirectory() as name:  # not tmp_path, whose parents are root's own
        Path(name).chmod(0o755)
        folder, own = Path(name) / "theirs", Path(name) / "roots"
        folder.mkdir(mode=0o700)
        own.mkdir(mode=0o700)
        path = folder / "runs.db"
        anyio.run(good_store, path, 3)
        for entry in (folder, *folder.iterdir()):
            os.chown(entry, 65534, 65534)
        before = mark(path)
        forbid(path)
        command = [sys.executable, "-c", UNPRIVILEGED, str(own / "runs.db"), str(path)]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        lines = answer.stdout.splitlines()
        assert len(lines) == 4, answer.stderr
        for line, said in zip(lines[2:], (read, ran), strict=True):
            assert re.search(said, line), lines
        folder.chmod(0o700)
        if "succeeded" not in ran:
            assert mark(path) == before
