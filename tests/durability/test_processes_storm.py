"""Two and four processes on one store are killed, stopped and continued: each step is recorded once, and all end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from llmorch.ports import RunStore
from tests.architecture.tree import ROOT
from tests.durability.faults_wait import until
from tests.durability.processes_flow import noted, opened, sent
from tests.durability.processes_judge import faults_in, integrity_of, log_of, rows_of, stale_writes
from tests.durability.processes_places import KINDS, url_of

LONG = os.environ.get("LLMORCH_LONG") == "1"
RUNS = {"sqlite": 300, "postgres": 300} if LONG else {"sqlite": 30, "postgres": 12}
LIMIT_S = 1_200 if LONG else 90
LEASE_S = 2.0
FINAL = ("succeeded", "partial", "failed", "cancelled")


@dataclass
class Storm:
    """The processes, and what was done to them."""

    forker: subprocess.Popen[str]
    folder: Path
    dice: random.Random
    runs: int
    alive: list[int] = field(default_factory=list[int])
    kills: int = 0
    stops: int = 0

    def say(self, line: str) -> None:
        assert self.forker.stdin is not None
        self.forker.stdin.write(f"{line}\n")
        self.forker.stdin.flush()

    def fork(self) -> None:
        assert self.forker.stdout is not None
        self.say("one more")
        self.alive.append(int(self.forker.stdout.readline()))

    def signal(self, pid: int, number: signal.Signals) -> bool:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def kill(self) -> None:
        """One dies, and another takes its place."""
        pid = self.alive.pop(self.dice.randrange(len(self.alive)))
        self.kills += self.signal(pid, signal.SIGKILL)
        self.fork()

    async def stop_and_go_on(self) -> None:
        """One stands still for a while; the others are told to take its runs."""
        pid = self.dice.choice(self.alive)
        if not self.signal(pid, signal.SIGSTOP):
            return
        self.stops += 1
        mark = self.folder / "stopped" / f"child-{pid}"
        mark.touch()
        await anyio.sleep(self.dice.uniform(0.4, 1.0))
        mark.unlink()
        self.signal(pid, signal.SIGCONT)

    def end(self) -> None:
        """Nothing may be left, whatever went wrong."""
        for pid in self.alive:
            self.signal(pid, signal.SIGCONT)
            self.signal(pid, signal.SIGKILL)
        self.forker.kill()
        self.forker.communicate(timeout=10)

    def complaints(self) -> str:
        """The end of what the processes wrote to standard error."""
        return (self.folder / "stderr").read_text(encoding="utf-8")[-3_000:]


@contextmanager
def storm(url: str, folder: Path, runs: int, *, seed: int) -> Iterator[Storm]:
    (folder / "stopped").mkdir()
    task = {"url": url, "folder": str(folder), "runs": runs, "seed": seed, "lease_s": LEASE_S}
    with (folder / "stderr").open("w", encoding="utf-8") as stderr:
        forker = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.processes_child", json.dumps(task)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    made = Storm(forker, folder, random.Random(seed), runs)
    try:
        yield made
    finally:
        made.end()


async def blow(made: Storm, store: RunStore, count: int) -> None:
    """Kill and stop until all runs are there and half of them have ended, then let them end."""
    for _ in range(count):
        made.fork()
    ended = 0
    while ended < made.runs:
        await anyio.sleep(made.dice.uniform(0.02, 0.15))
        ended = sum(row.status in FINAL for row in await rows_of(store, made.runs))
        if ended < made.runs * 0.8:
            if made.dice.random() < 0.5:
                made.kill()
            else:
                await made.stop_and_go_on()


async def judge(store: RunStore, folder: Path, runs: int) -> list[str]:
    rows = await rows_of(store, runs)
    keys = sorted(row.idempotency_key or "" for row in rows)
    faults = [] if keys == sorted(f"run-{n}" for n in range(runs)) else [f"{len(rows)} runs: {keys}"]
    requests = sent(folder)
    for row in rows:
        n = int((row.idempotency_key or "run--1").removeprefix("run-"))
        faults += faults_in(n, row, await log_of(store, row.id), requests)
    return faults + stale_writes(folder)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_stopped_processes_lose_nothing_and_do_nothing_twice(
    kind: str, count: int, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    given = os.environ.get("STORM_SEED", "")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    url = url_of(kind, tmp_path, pytestconfig)

    async def work(made: Storm) -> list[str]:
        store = opened(url, lease_s=LEASE_S)
        try:
            with anyio.fail_after(LIMIT_S):
                await blow(made, store, count)
            made.say("end")
            with anyio.fail_after(30):
                await until(lambda: made.forker.poll() is not None)
            return await judge(store, tmp_path, made.runs)
        finally:
            await store.aclose()

    with storm(url, tmp_path, RUNS[kind], seed=seed) as made:
        try:
            faults = anyio.run(work, made)
        except TimeoutError:
            faults = ["it did not end in time"]
    lost = len(noted(tmp_path / "lost"))
    told = f"STORM_SEED={seed}: {made.kills} kills, {made.stops} stops, {lost} claims lost"
    print(told)
    assert not faults, f"{told}\n" + "\n".join(faults[:20]) + f"\n{made.complaints()}"
    assert integrity_of(url) == "ok", told
    assert made.kills + made.stops > 0, told
