"""The files of a store while it commits: looked at in time, and locked against checkpoints."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import anyio
import pytest

from llmorch.stores.sqlite import SqliteStore, hold
from llmorch.stores.sqlite.hold import Hold
from llmorch.stores.sqlite.locks import CheckpointLock, try_lock
from tests.unit.stores.sqlite_parts import made, note


class Clock:
    """Seconds that pass when they are told to."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hold, "monotonic", clock)
    return clock


def _held(folder: Path) -> Hold:
    path = folder / "runs.db"
    path.touch()
    (folder / "runs.db-wal").touch()
    held = Hold(SqliteStore(path)._place)
    held.log()
    return held


def test_a_look_is_due_at_first_and_again_after_a_while(tmp_path: Path, clock: Clock) -> None:
    held = _held(tmp_path)
    assert held.is_due
    held.looked_at = clock.now
    clock.now += 0.049
    assert not held.is_due
    clock.now += 0.002
    assert held.is_due
    held.looked_at = clock.now
    held.forget_log()
    assert held.is_due
    held.close()


def test_a_look_ahead_puts_the_next_one_off_but_is_not_made_each_time(tmp_path: Path, clock: Clock) -> None:
    held = _held(tmp_path)
    held.looked_at = before = clock.now
    clock.now += 0.02
    held.look_ahead()
    assert held.looked_at == before
    clock.now += 0.01
    held.look_ahead()
    assert held.looked_at == clock.now
    held.close()


@pytest.mark.parametrize("name", ["runs.db", "runs.db-wal"])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_look_ahead_leaves_it_to_the_next_commit_to_say_what_is_wrong(
    tmp_path: Path, clock: Clock, name: str, is_replaced: bool
) -> None:
    held = _held(tmp_path)
    held.looked_at = before = clock.now
    clock.now += 0.06
    (tmp_path / name).rename(tmp_path / "elsewhere")
    if is_replaced:
        (tmp_path / name).touch()
    held.look_ahead()
    assert held.looked_at == before
    assert held.is_due
    held.close()


@pytest.mark.anyio
async def test_commits_that_follow_each_other_look_at_the_files_all_the_same(tmp_path: Path) -> None:
    """Each commit finds the last look to be fresh, as the one before has looked ahead."""
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    claim = await made(store)
    held = store._writer._hold
    assert held is not None
    seen: set[float] = set()
    seq = 2
    with anyio.fail_after(20):
        while len(seen) < 4:
            claim.last_seq = (await store.append(claim, [note("r1", seq)])).last_seq
            seq += 1
            seen.add(held.looked_at)
    await store.aclose()
    assert 0.0 not in seen


def test_who_holds_it_alone_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.db.ckpt"
    gate = CheckpointLock(path)
    gate.share()
    with path.open("rb") as mine:
        assert not try_lock(mine.fileno(), fcntl.LOCK_EX)
        gate.release()
        assert try_lock(mine.fileno(), fcntl.LOCK_EX)
        assert not gate.take_alone()
    assert gate.take_alone()
    gate.close()


def test_a_lock_that_cannot_be_had_at_all_is_an_error() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    with pytest.raises(OSError) as caught:
        try_lock(reading, fcntl.LOCK_SH)
    assert caught.value.errno == errno.EBADF
    assert caught.value.strerror == os.strerror(errno.EBADF)
