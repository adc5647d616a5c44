"""How the SQLite store commits: in groups, in order, for any loop, whatever becomes of the caller."""

from __future__ import annotations

import fcntl
import gc
from collections.abc import Coroutine
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import pytest

from llmorch import CallStarted, ClaimLost, StepSucceeded, StoreBusy, StoreError
from llmorch._wake import backend
from llmorch.events import Event
from llmorch.ports import Claim, InboxItem
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.pace import Pace
from tests.unit.stores.sqlite_parts import locked, made, note, until

pytestmark = pytest.mark.anyio


async def test_units_that_wait_together_are_committed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    claims = [await made(store, f"r{number}") for number in range(20)]
    commits: list[float] = []
    monkeypatch.setattr(Pace, "took", lambda _, seconds: commits.append(seconds))
    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            for claim in claims:
                tasks.start_soon(store.append, claim, [note(claim.run_id, 2)])
            await until(lambda: store.trouble == "store-busy")
    assert 1 <= len(commits) <= 2
    assert [(await store.load(claim.run_id)).last_seq for claim in claims] == [2] * 20
    assert store.trouble is None
    await store.aclose()


async def test_of_units_that_are_committed_together_each_is_for_its_own_log(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    claims = [await made(store, f"r{number}", recoveries=3) for number in range(140)]
    # Sixteen share a statement, unless one of them is odd; these are so far apart that no two are among the same
    # sixteen, whichever is the first (on asyncio: trio begins tasks in any order).
    await store.claim("r3", "another", takeover=True)
    gap, twice, asked, sound = "r30", "r60", "r90", "r120"
    await store.post(asked, InboxItem("cancel"))
    ended: dict[str, list[str]] = {}

    async def append(claim: Claim) -> None:
        event: Event = note(claim.run_id, 2)
        if claim.run_id == sound:
            event = StepSucceeded("s", "x", run_id=sound, seq=2)
        if claim.run_id == gap:
            claim, event = Claim(gap, 1, 2), note(gap, 3)
        try:
            reply = await store.append(claim, [event])
            told = f"{reply.last_seq} {reply.inbox}"
        except ClaimLost as error:
            told = str(error).partition(" (")[0].partition(";")[0]
        ended.setdefault(claim.run_id, []).append(told)

    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            for claim in claims:
                tasks.start_soon(append, claim)
                if claim.run_id == twice:
                    tasks.start_soon(append, claim)
            await until(lambda: store.trouble == "store-busy")
    odd = {"r3": ["Run r3 is owned by another now"], gap: [f"Run {gap} is at event 1"], twice: ["2 False"] * 2}
    assert ended == {claim.run_id: ["2 False"] for claim in claims} | odd | {asked: ["2 True"]}
    rows = {claim.run_id: await store.load(claim.run_id) for claim in claims}
    assert {run_id for run_id, row in rows.items() if row.last_seq == 1} == {"r3", gap}
    assert {run_id for run_id, row in rows.items() if row.recoveries == 0} == {sound}
    for run_id in rows:
        assert [event.seq for event in await store.events(run_id)] == ([1] if run_id in {"r3", gap} else [1, 2]), run_id
    await store.aclose()


async def test_units_of_any_length_are_committed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    lengths = {f"r{length}": length for length in (1, 2, 3, 4, 5, 31, 32, 33)}
    claims = [await made(store, run_id) for run_id in lengths]
    commits: list[float] = []
    monkeypatch.setattr(Pace, "took", lambda _, seconds: commits.append(seconds))
    wanted = {
        run_id: [note(run_id, seq, f"{seq}") for seq in range(2, length + 2)] for run_id, length in lengths.items()
    }
    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            for claim in claims:
                tasks.start_soon(store.append, claim, wanted[claim.run_id])
            await until(lambda: store.trouble == "store-busy")
    assert 1 <= len(commits) <= 2
    for run_id, length in lengths.items():
        assert (await store.load(run_id)).last_seq == length + 1
        assert (await store.events(run_id, after=1)) == wanted[run_id]
    await store.aclose()


async def test_a_unit_that_cannot_be_written_stands_in_nobodys_way(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    claims = [await made(store, f"r{number}") for number in range(6)]
    ended: dict[str, str] = {}

    async def append(claim: Claim, event: Event) -> None:
        try:
            await store.append(claim, [event])
            ended[claim.run_id] = "committed"
        except (OverflowError, ClaimLost) as error:
            ended[claim.run_id] = type(error).__name__

    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            for claim in claims:
                event: Event = note(claim.run_id, 2)
                if claim.run_id == "r2":
                    event = CallStarted("s", 1 << 70, "p", "m", run_id="r2", seq=2)  # no column takes the number
                if claim.run_id == "r4":
                    claim = Claim("r4", 7, 1)
                tasks.start_soon(append, claim, event)
            await until(lambda: store.trouble == "store-busy")
    assert ended == {f"r{number}": "committed" for number in (0, 1, 3, 5)} | {"r2": "OverflowError", "r4": "ClaimLost"}
    assert [(await store.load(claim.run_id)).last_seq for claim in claims] == [2, 2, 1, 2, 1, 2]
    await store.aclose()


async def test_values_that_are_no_json_and_gaps_are_refused_to_the_caller(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    with pytest.raises(ValueError, match="seq 4 stands where 3 was due"):
        await store.append(claim, [note("r1", 2), note("r1", 4)])
    with pytest.raises((ValueError, TypeError)):
        await store.post("r1", InboxItem("answer", "ask", data=float("nan")))
    assert await store.inbox("r1") == []
    assert (await store.load("r1")).last_seq == 1
    await store.aclose()


async def test_a_cancelled_caller_does_not_lose_its_unit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    claim = await made(store)
    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            tasks.start_soon(store.append, claim, [note("r1", 2), note("r1", 3)])
            await until(lambda: store.trouble == "store-busy")
            tasks.cancel_scope.cancel()
    assert [event.seq for event in await store.events("r1")] == [1, 2, 3]
    await store.aclose()


async def test_what_can_be_given_up_is_given_up_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    with locked(store.path):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.post, "r1", InboxItem("answer", "ask"))
            await until(lambda: store.trouble == "store-busy")
            tasks.cancel_scope.cancel()
    assert await store.inbox("r1") == []
    await store.post("r1", InboxItem("answer", "ask"))
    await store.aclose()


async def test_a_run_whose_creator_was_cancelled_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    for number in range(30):
        with anyio.move_on_after(0.0005 * number / 3):
            await made(store, f"c{number}")
    for row in await store.list_runs():
        assert [event.seq for event in await store.events(row.id)] == [1], row.id
    await store.aclose()


async def test_a_locked_file_is_busy_for_everybody_but_units_and_readers(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.1)
    claim = await made(store)
    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            with pytest.raises(StoreBusy, match=r"runs\.db stayed locked for 0\.1 s"):
                await made(store, "r2")
            with pytest.raises(StoreBusy):
                await store.post("r1", InboxItem("cancel"))
            tasks.start_soon(store.append, claim, [note("r1", 2)])
            await until(lambda: store.trouble == "store-busy")
            assert (await store.load("r1")).last_seq == 1  # readers do not wait for writers
    assert (await store.load("r1")).last_seq == 2
    await store.aclose()


async def test_a_unit_goes_on_when_the_patience_of_others_is_long_over(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.02)
    claim = await made(store)
    refused = 0
    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            tasks.start_soon(store.append, claim, [note("r1", 2)])
            for _ in range(5):
                with pytest.raises(StoreBusy):
                    await made(store, "r2")
                refused += 1
    assert refused == 5
    assert (await store.load("r1")).last_seq == 2
    await store.aclose()


async def test_several_loops_of_one_process_use_one_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    kind = backend()

    def another_loop(number: int) -> None:
        async def work() -> None:
            claim = await made(store, f"t{number}")
            for seq in range(2, 30):
                claim.last_seq = (await store.append(claim, [note(claim.run_id, seq)])).last_seq

        anyio.run(work, backend="trio" if (number % 2 == 0) == (kind == "asyncio") else "asyncio")

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(anyio.to_thread.run_sync, another_loop, number)
        claim = await made(store, "here")
        for seq in range(2, 30):
            claim.last_seq = (await store.append(claim, [note("here", seq)])).last_seq
    assert {row.last_seq for row in await store.list_runs()} == {29}
    assert len(await store.list_runs()) == 5
    await store.aclose()


async def test_a_loop_that_ended_without_waiting_does_not_disturb_the_writer(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    await made(store)

    async def work() -> None:
        waiting = store.append(Claim("r1", 1, 1), [note("r1", 2)])
        waiting.send(None)  # it is queued, and its loop ends before it is committed
        queued.append(waiting)

    queued: list[Coroutine[object, object, object]] = []
    with locked(store.path):
        await anyio.to_thread.run_sync(anyio.run, work)
        await until(lambda: store.trouble == "store-busy")
    await made(store, "r2")
    assert (await store.load("r1")).last_seq == 2
    queued[0].close()
    await store.aclose()


async def test_closing_commits_what_is_queued_and_ends_the_threads(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.2)
    claims = [await made(store, f"r{number}") for number in range(10)]
    async with anyio.create_task_group() as tasks:
        with locked(store.path):
            for claim in claims:
                tasks.start_soon(store.append, claim, [note(claim.run_id, 2)])
            await until(lambda: store.trouble == "store-busy")
            tasks.start_soon(store.aclose)
            await until(lambda: store._writer.lane.is_stopping.is_set())
    assert not store._writer.lane._thread.is_alive()  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="closed"):
        await made(store, "r99")
    with pytest.raises(StoreError, match="closed"):
        await store.load("r1")
    again = SqliteStore(store.path)
    assert {row.last_seq for row in await again.list_runs()} == {2}
    await again.aclose()
    await again.aclose()
    assert store._place.wal_bytes() == 0


async def test_a_store_that_nobody_holds_any_more_ends_its_threads(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    await store.load("r1")
    path = store.path
    lanes = [store._writer.lane, store._reader.lane]
    del store
    gc.collect()
    for lane in lanes:
        await anyio.to_thread.run_sync(lane.join, 10.0)
        assert not lane._thread.is_alive()  # type: ignore[union-attr]
    again = SqliteStore(path)
    assert [row.id for row in await again.recoverable(now=0)] == ["r1"]  # nobody carries it out
    await again.aclose()


async def test_the_log_is_moved_into_the_database_as_it_grows(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    claim = await made(store)
    for seq in range(2, 62):
        claim.last_seq = (await store.append(claim, [note("r1", seq, "y" * 300_000)])).last_seq
    assert store._place.wal_bytes() < 10 << 20  # of 18 MB
    assert len(await store.events("r1")) == 61
    await store.aclose()


async def test_a_store_is_closed_by_a_caller_that_is_cancelled_too(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert not store._writer.lane._thread.is_alive()  # type: ignore[union-attr]


async def test_a_checkpoint_is_made_between_the_writes_of_others(tmp_path: Path) -> None:
    one = SqliteStore(tmp_path / "runs.db", durability="process")
    two = SqliteStore(tmp_path / "runs.db", durability="process")

    async def write(store: SqliteStore, run_id: str) -> None:
        claim = await made(store, run_id)
        for seq in range(2, 42):
            claim.last_seq = (await store.append(claim, [note(run_id, seq, "y" * 300_000)])).last_seq

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, one, "r1")
        tasks.start_soon(write, two, "r2")
    assert one._place.wal_bytes() < 16 << 20  # of 24 MB
    assert len(await one.events("r2")) == len(await two.events("r1")) == 41
    await one.aclose()
    await two.aclose()


async def test_a_write_waits_while_another_connection_checkpoints(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", patience_s=0.1)
    claim = await made(store)
    with (tmp_path / "runs.db.ckpt").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy):
            await made(store, "r2")
    async with anyio.create_task_group() as tasks:
        with (tmp_path / "runs.db.ckpt").open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            tries = store._writer._tries
            tasks.start_soon(store.append, claim, [note("r1", 2)])
            await until(lambda: store._writer._tries > tries + 1)
            assert store.trouble == "store-busy"
            assert (await store.load("r1")).last_seq == 1
    assert (await store.load("r1")).last_seq == 2
    await store.aclose()


async def test_a_unit_that_failed_leaves_no_lock_behind(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    with pytest.raises(OverflowError):
        await store.append(claim, [CallStarted("s", 1 << 70, "p", "m", run_id="r1", seq=2)])
    with (tmp_path / "runs.db.ckpt").open("rb") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with locked(store.path):
        pass
    await store.aclose()


@pytest.mark.parametrize(("durability", "synchronous"), [("power", 2), ("process", 1)])
async def test_the_writer_is_set_up_as_promised(
    tmp_path: Path, durability: Literal["power", "process"], synchronous: int
) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability=durability)
    await made(store)
    connection = store._writer._connection
    assert connection is not None
    settings = {"synchronous": synchronous, "wal_autocheckpoint": 0, "mmap_size": 0, "foreign_keys": 1}
    settings |= {"application_id": 0x6C6C6D6F}
    found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in settings}
    assert found == settings
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    assert {name for name, strict in tables if not strict} == {"sqlite_schema"}
    await store.aclose()
