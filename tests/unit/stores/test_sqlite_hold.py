"""Whether the files that a store writes to are still those it opened: looked at in time, and ahead of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmorch.stores.sqlite import SqliteStore, hold
from llmorch.stores.sqlite.hold import Hold
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


def test_a_look_ahead_that_cannot_be_made_is_no_error_of_the_commit_before_it(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    held = _held(folder)
    held.looked_at = before = clock.now
    clock.now += 0.06
    folder.rename(tmp_path / "elsewhere")
    folder.touch()
    with pytest.raises(NotADirectoryError):
        held.check()
    held.look_ahead()
    assert held.looked_at == before
    held.close()


@pytest.mark.anyio
async def test_commits_that_follow_each_other_find_the_files_looked_at(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    claim = await made(store)
    held = store._writer._hold
    assert held is not None
    checks = 0
    check = Hold.check

    def counted(self: Hold) -> None:
        nonlocal checks
        checks += 1
        check(self)

    monkeypatch.setattr(Hold, "check", counted)
    for seq in range(2, 22):
        clock.now += 0.01
        claim.last_seq = (await store.append(claim, [note("r1", seq)])).last_seq
        assert clock.now - held.looked_at < 0.03
    assert not checks
    clock.now += 0.06
    await store.append(claim, [note("r1", 22)])
    assert checks == 1
    await store.aclose()
