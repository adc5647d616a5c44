"""One SQLite store and several processes: who owns a run, and what is left when one is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmorch import ClaimLost, RunStarted, Warned
from llmorch._clock import now_us
from llmorch.ports import Claim, RunRow
from llmorch.stores.sqlite import SqliteStore

CHILD = Path(__file__).with_name("sqlite_child.py")
LIMIT_S = 60


@contextmanager
def child(*words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(CHILD), *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], text: str = "\n") -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


async def made(store: SqliteStore, run_id: str, owner: str | None) -> None:
    await store.create(RunRow(run_id, "w", "running", 1, owner, 1, 1), [RunStarted("w", run_id=run_id, seq=1)])


@pytest.mark.anyio
async def test_a_run_of_a_living_process_is_refused_and_of_a_killed_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with child("own", path, "r1") as owner:
        assert heard(owner) == "owned"
        store = SqliteStore(path)
        with pytest.raises(ClaimLost, match=f"-{owner.pid}-"):
            await store.claim("r1", store.owner)
        assert await store.recoverable(now=now_us()) == []

        owner.send_signal(signal.SIGKILL)
        owner.wait(LIMIT_S)
        assert [row.id for row in await store.recoverable(now=now_us())] == ["r1"]
        mine = await store.claim("r1", store.owner)
        assert (mine.epoch, mine.last_seq) == (2, 1)
        assert (await store.load("r1")).recoveries == 1
        assert (await store.append(mine, [Warned(None, "note", "on", run_id="r1", seq=2)])).last_seq == 2
        await store.aclose()


@pytest.mark.anyio
async def test_a_process_that_ends_in_good_order_leaves_its_runs_to_others(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with child("own", path, "r1") as owner:
        assert heard(owner) == "owned"
        assert owner.stdin is not None
        owner.stdin.close()
        assert owner.wait(LIMIT_S) == 0
    store = SqliteStore(path)
    assert (await store.claim("r1", store.owner)).epoch == 2
    await store.aclose()


@pytest.mark.anyio
async def test_a_stopped_process_is_taken_over_by_hand_and_then_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = SqliteStore(path)
    await made(store, "r1", store.owner)
    with child("claim", path, "r1") as other:
        assert heard(other) == "lost"
    second = SqliteStore(path)
    taken = await second.claim("r1", second.owner, takeover=True)
    with pytest.raises(ClaimLost, match=second.owner):
        await store.append(Claim("r1", 1, 1), [Warned(None, "note", "late", run_id="r1", seq=2)])
    assert len(await second.events("r1")) == taken.last_seq == 1
    await store.aclose()
    await second.aclose()


@pytest.mark.anyio
async def test_processes_that_claim_at_once_share_the_runs_without_one_twice(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    names = [f"r{number}" for number in range(40)]
    store = SqliteStore(path)
    for name in names:
        await made(store, name, None)
    with child("race", path, *names) as one, child("race", path, *names) as two:
        assert [heard(one), heard(two)] == ["ready", "ready"]
        tell(one)
        tell(two)
        won = json.loads(heard(one)) + json.loads(heard(two))
        assert sorted(won) == sorted(names)
        assert {(await store.load(name)).epoch for name in names} == {2}
    await store.aclose()


@pytest.mark.anyio
async def test_a_forked_child_keeps_no_lock_of_its_killed_parent_and_may_not_use_its_store(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with child("inherit", path, "r1") as parent:
        word, pid = heard(parent).split()
        assert word == "refused"
        parent.send_signal(signal.SIGKILL)
        parent.wait(LIMIT_S)
        os.kill(int(pid), 0)  # the forked child is there
        store = SqliteStore(path)
        assert (await store.claim("r1", store.owner)).epoch == 2
        await store.aclose()
        os.kill(int(pid), signal.SIGKILL)


def test_twenty_kills_in_the_middle_of_writing_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    with child("storm", tmp_path / "runs.db", seed, 20) as storm:
        output, _ = storm.communicate(timeout=120)
    verdict, _, count = output.strip().partition(" ")
    assert verdict == "ok", f"seed {seed}: {output}"
    assert int(count) > 20
