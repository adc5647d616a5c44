"""Real processes on one SQLite file: what one does to the run of another."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    CallFinished,
    CallStarted,
    ClaimLost,
    Orchestrator,
    RunCancelRequested,
    RunFinished,
    RunResumed,
    RunStarted,
)
from llmorch.testing import Reply, ScriptedProvider
from tests.architecture.tree import ROOT
from tests.durability.across_child import MODEL, Orders, workflow

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0


@pytest.fixture
def anyio_backend() -> str:
    """The tests run on asyncio, and the processes that they watch on trio: each way round would only take longer."""
    return "asyncio"


class Child:
    """Another process, which says what it does line by line."""

    def __init__(self, folder: Path, orders: Orders) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.across_child", str(folder), orders.to_json()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, word: str) -> str:
        """The rest of its next line that begins with the word; lines before it are passed over.

        The pipe is read without a buffer in between, so nothing waits here that was said already.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        pytest.fail(f"the child never said {word!r}: {self.process.communicate()[1][-3_000:]}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(timeout=PATIENCE_S)


@contextmanager
def child(folder: Path, **orders: Any) -> Iterator[Child]:
    """A process that is gone at the end, stopped or not."""
    made = Child(folder, Orders(**orders))
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate(timeout=PATIENCE_S)


def orchestrator(folder: Path, script: dict[str, object] | None = None, **options: Any) -> Orchestrator:
    return Orchestrator(
        f"sqlite:///{folder}/runs.db",
        providers=[ScriptedProvider(script or {})],
        model=MODEL,
        workflows=[workflow()],
        **options,
    )


def asked(folder: Path) -> list[str]:
    """What reached the provider of any child, in order."""
    path = folder / "asked"
    return path.read_text(encoding="utf-8").split() if path.exists() else []


async def test_a_run_is_watched_and_waited_for_from_another_process(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=1.0) as other:
        run_id = other.says("run")
        async with orchestrator(tmp_path, recover=False) as orch:
            delays: list[float] = []
            seen: list[Any] = []
            async for event in orch.attach(run_id).events():
                delays.append(time.time() - event.at_us / 1e6)
                seen.append(event)
            run = await orch.attach(run_id).result()
        assert isinstance(seen[0], RunStarted)
        assert isinstance(seen[-1], RunFinished)
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert (run.status, run.output) == ("succeeded", "slow then quick")
        assert delays[-1] < 1.0, "the end is seen soon after it was committed"
        assert other.says("output") == "slow then quick"


async def test_a_run_is_cancelled_from_another_process(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=600.0) as other:
        run_id = other.says("run")
        other.says("asking")
        async with orchestrator(tmp_path, recover=False) as orch:
            begun = time.monotonic()
            await orch.attach(run_id).cancel()
            took_s = time.monotonic() - begun
            run = await orch.attach(run_id).result()
            log = [event async for event in orch.attach(run_id).events()]
        assert run.status == "cancelled"
        assert took_s < 3.0
        assert sum(isinstance(event, RunCancelRequested) for event in log) == 1
        assert other.says("ended") == "cancelled"


async def test_a_killed_run_is_gone_on_with_on_entering(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=600.0) as other:
        run_id = other.says("run")
        other.says("asking")
        other.send(signal.SIGKILL)
        other.ended()
    async with orchestrator(tmp_path, recover=False) as orch:
        assert [row.status for row in await orch.runs()] == ["interrupted"]
    async with orchestrator(tmp_path, {"slow": "mended", "quick": "then quick"}) as orch:
        run = await orch.attach(run_id).result()
        log = [event async for event in orch.attach(run_id).events()]
    assert (run.status, run.output) == ("succeeded", "mended then quick")
    assert [event.reset for event in log if isinstance(event, RunResumed)] == [("slow",)]
    assert asked(tmp_path) == ["slow"]


async def test_a_run_that_is_killed_later_is_gone_on_with_within_six_seconds(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=600.0) as other:
        run_id = other.says("run")
        other.says("asking")
        async with orchestrator(tmp_path, {"slow": "mended", "quick": "then quick"}) as orch:
            watched: list[Any] = []

            async def watch() -> None:
                watched.extend([event async for event in orch.attach(run_id).events() if event.seq])

            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                other.send(signal.SIGKILL)
                other.ended()
                begun = time.monotonic()
                with anyio.fail_after(20):
                    run = await orch.attach(run_id).result()
                assert time.monotonic() - begun < 6.5
            assert (run.status, run.output) == ("succeeded", "mended then quick")
            assert isinstance(watched[-1], RunFinished), "who watched it sees it to its end"
            assert [event.seq for event in watched] == list(range(1, len(watched) + 1))


async def test_a_stopped_process_loses_its_run_to_who_takes_it_over(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=2.0) as other:
        run_id = other.says("run")
        other.says("asking")
        other.send(signal.SIGSTOP)
        async with orchestrator(tmp_path, {"slow": "mended", "quick": "then quick"}) as orch:
            with pytest.raises(ClaimLost, match=str(other.process.pid)):
                await orch.resume(run_id)
            run = await (await orch.takeover(run_id)).result()
            assert (run.status, run.output) == ("succeeded", "mended then quick")
            before = [event async for event in orch.attach(run_id).events()]
            other.send(signal.SIGCONT)
            assert other.says("lost") == "ClaimLost"
            assert [event async for event in orch.attach(run_id).events()] == before, "it wrote nothing more"


async def test_a_late_answer_is_adopted_by_who_took_the_run_over(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=3.0) as other:
        run_id = other.says("run")
        other.says("asking")
        script: dict[str, object] = {"slow": Reply("never", 300), "quick": "then quick"}
        async with orchestrator(tmp_path, script) as orch:
            handle = await orch.takeover(run_id)
            with anyio.fail_after(PATIENCE_S):
                run = await handle.result()
            log = [event async for event in handle.events()]
            assert await orch._queries.store.inbox(run_id) == []
        assert other.says("lost") == "ClaimLost"
        assert (run.status, run.output) == ("succeeded", "slow then quick"), "the first process had paid for it"
        ends = [event.call for event in log if isinstance(event, CallFinished) and event.step == "slow"]
        starts = [event.call for event in log if isinstance(event, CallStarted) and event.step == "slow"]
        assert (starts, ends) == ([1, 2], [1])
        assert run.usage.requests == 3


@pytest.mark.parametrize("processes", [4])
async def test_of_processes_that_start_with_one_key_at_once_one_begins_the_run(tmp_path: Path, processes: int) -> None:
    at = time.time() + 3.0
    backends = ["asyncio", "trio"] * processes
    others = [Child(tmp_path, Orders(slow_s=0.5, key="k", at=at, backend=backend)) for backend in backends[:processes]]
    try:
        ids = {other.says("run") for other in others}
        outputs = [other.says("output") for other in others]
        assert [other.ended() for other in others] == [0] * processes
    finally:
        for other in others:
            other.process.kill()
            other.process.communicate(timeout=PATIENCE_S)
    assert len(ids) == 1
    assert outputs == ["slow then quick"] * processes
    assert asked(tmp_path) == ["slow", "quick"], "one bill"
    async with orchestrator(tmp_path, recover=False) as orch:
        assert len(await orch.runs()) == 1
        log = [event async for event in orch.attach(ids.pop()).events()]
        assert not any(isinstance(event, RunResumed) for event in log)


async def test_of_processes_that_find_a_killed_run_by_its_key_one_goes_on(tmp_path: Path) -> None:
    with child(tmp_path, verb="run", slow_s=600.0, key="k") as other:
        run_id = other.says("run")
        other.says("asking")
        other.send(signal.SIGKILL)
        other.ended()
    at = time.time() + 3.0
    others = [Child(tmp_path, Orders(verb="run", slow_s=1.0, key="k", at=at)) for _ in range(3)]
    try:
        assert {other.says("run") for other in others} == {run_id}
        assert [other.says("output") for other in others] == ["slow then quick"] * 3
    finally:
        for other in others:
            other.process.kill()
            other.process.communicate(timeout=PATIENCE_S)
    assert asked(tmp_path) == ["slow", "slow", "quick"], "what was in flight at the kill, and nothing else, twice"
    async with orchestrator(tmp_path, recover=False) as orch:
        log = [event async for event in orch.attach(run_id).events()]
    assert [event.epoch for event in log if isinstance(event, RunResumed)] == [2]


async def test_a_process_that_leaves_in_peace_hands_its_run_on(tmp_path: Path) -> None:
    with child(tmp_path, verb="leave", slow_s=2.0) as other:
        run_id = other.says("run")
        other.says("asking")
        async with orchestrator(tmp_path, {"quick": "then quick"}) as orch:
            other.send(signal.SIGUSR1)
            other.says("left")
            begun = time.monotonic()
            with anyio.fail_after(20):
                run = await orch.attach(run_id).result()
            assert time.monotonic() - begun < 6.5
            assert run.output == "slow then quick"
            assert [call.provider for call in run.steps["slow"].calls] == ["scripted"]
        assert other.ended() == 0
    assert asked(tmp_path) == ["slow"], "what was in flight was given its time, and nothing new was begun"
