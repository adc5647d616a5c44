"""Owners of runs in the SQLite store, as seen from inside one process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmorch import ClaimLost, StoreError
from llmorch.ports import Claim, RunRow
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.owners import Owners
from tests.unit.stores.sqlite_parts import made, note


def test_an_owner_lives_for_what_it_claimed_and_until_it_is_closed(tmp_path: Path) -> None:
    mine, theirs = Owners(tmp_path / "owners"), Owners(tmp_path / "owners")
    mine.hold("me")
    mine.keep("me", "r1", epoch=1)
    assert mine.is_alive("me", "r1", epoch=1)
    assert theirs.is_alive("me", "r1", epoch=1)
    assert not mine.is_alive("me", "r1", epoch=2)
    assert not mine.is_alive("me", "r2", epoch=1)  # from a former life under this name
    assert not mine.is_alive("you", "r1", epoch=1)
    theirs.hold("me")
    mine.close()
    assert theirs.is_alive("me", "r1", epoch=1)
    theirs.close()
    assert not theirs.is_alive("me", "r1", epoch=1)
    assert os.listdir(tmp_path / "owners") == []


@pytest.mark.parametrize("name", ["a/b", "..", "ü" * 400, "", "a b\n", ".lock", "x\ud800"])
def test_any_name_has_a_lock_file_of_its_own_inside_the_folder(tmp_path: Path, name: str) -> None:
    owners = Owners(tmp_path / "owners")
    owners.hold(name)
    (file,) = os.listdir(tmp_path / "owners")
    assert file.endswith(".lock")
    assert os.listdir(tmp_path) == ["owners"]
    owners.close()


def test_the_files_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    owners = Owners(tmp_path)
    owners.hold("me")
    (tmp_path / "dead.lock").touch()
    Owners(tmp_path).sweep()
    assert os.listdir(tmp_path) == ["me.lock"]
    owners.close()


@pytest.mark.anyio
async def test_ones_own_living_run_is_refused_and_a_given_up_one_is_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", owner="me")
    claim = await made(store)
    with pytest.raises(ClaimLost, match="owned by me"):
        await store.claim("r1", "me")
    assert await store.recoverable(now=0) == []
    await store.append(claim, [note("r1", 2)], status="failed")
    row = await store.load("r1")
    assert (row.owner, row.status) == (None, "failed")
    again = await store.claim("r1", "me")
    assert (again.epoch, (await store.load("r1")).recoveries) == (2, 0)
    await store.aclose()


@pytest.mark.anyio
async def test_a_process_that_comes_back_under_its_name_may_take_what_it_had(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "runs.db", owner="me")
    await made(first)
    await first.aclose()
    second = SqliteStore(tmp_path / "runs.db", owner="me")
    await made(second, "r2")
    assert [row.id for row in await second.recoverable(now=0)] == ["r1"]
    assert (await second.claim("r1", "me")).epoch == 2
    assert (await second.load("r1")).recoveries == 1
    await second.aclose()


@pytest.mark.anyio
async def test_a_name_that_another_process_has_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await made(store)
    path = tmp_path / "runs.db.owners" / "taken.lock"
    import fcntl

    with path.open("w") as held:  # a descriptor of its own is to flock what another process is
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="owner 'taken' already"):
            await store.create(RunRow("r2", "w", "running", 1, "taken", 0, 1), [])
    assert [row.id for row in await store.list_runs()] == ["r1"]
    await store.aclose()


@pytest.mark.anyio
async def test_a_released_claim_is_free_and_a_lost_one_is_released_without_harm(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    assert await store.release(claim, status="waiting")
    second = await store.claim("r1", "other")
    assert await store.release(claim, status="failed")
    assert (await store.load("r1")).owner == "other"
    await store.renew(second)
    with pytest.raises(ClaimLost, match="taken by other"):
        await store.renew(Claim("r1", 1, 1))
    await store.aclose()
