"""A process that was stopped, and whose run another took over, can change nothing; what it paid for is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from llmorch import CallFinished, CallStarted, Orchestrator, RunResumed, StepSucceeded
from llmorch.event_late import late_events
from llmorch.ports import RunStore
from tests.architecture.tree import ROOT
from tests.durability.faults_wait import until, until_asked
from tests.durability.processes_flow import noted, opened
from tests.durability.processes_hang import Slow, workflow
from tests.durability.processes_places import KINDS, url_of
from tests.durability.test_processes_storm import LEASE_S

pytestmark = pytest.mark.anyio
LIMIT_S = 60


@contextmanager
def stopped(url: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that stands still in the middle of its first call, and the id of its run."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.durability.processes_hang", url, str(folder), str(LEASE_S)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        run_id = child.stdout.readline().strip()
        assert child.stdout.readline().strip() == "hangs"
        child.send_signal(signal.SIGSTOP)
        yield child, run_id
    finally:
        child.kill()
        child.communicate(timeout=10)


def rest_of(child: subprocess.Popen[str], folder: Path) -> str:
    """What the process says when it goes on and its answer comes."""
    (folder / "go").touch()
    child.send_signal(signal.SIGCONT)
    said, _ = child.communicate(timeout=LIMIT_S)
    return said.strip()


async def has_a_result(store: RunStore, run_id: str) -> bool:
    return any(isinstance(event, StepSucceeded) for event in await store.events(run_id, limit=10_000))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stale_owner_writes_nothing_and_its_late_answer_is_in_the_inbox(
    kind: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    url = url_of(kind, tmp_path, pytestconfig)
    with stopped(url, tmp_path) as (child, run_id):
        store = opened(url, owner="second", lease_s=LEASE_S)
        with anyio.fail_after(LIMIT_S):
            async with Orchestrator(
                store, providers=[Slow(tmp_path, "new", hangs=False)], model="shared:m", workflows=[workflow()]
            ) as orch:
                run = await (await orch.takeover(run_id)).result()
                assert (run.status, run.output) == ("succeeded", "new second")
                before = list(await store.events(run_id, limit=10_000))
                assert await anyio.to_thread.run_sync(rest_of, child, tmp_path) == "lost"
                assert list(await store.events(run_id, limit=10_000)) == before
                (late,) = await store.inbox(run_id)
        assert (late.kind, late.step, late.call) == ("late", "first", 1)
        end, success = late_events(late)
        assert isinstance(end, CallFinished)
        assert isinstance(success, StepSucceeded)
        assert success.value == "old first"
        assert [event.epoch for event in before if isinstance(event, RunResumed)] == [2]
        assert [step for _, step in noted(tmp_path / "sent")] == ["first", "first", "second"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_late_answer_is_the_result_of_a_step_that_still_waits(
    kind: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The new owner asks again and gets no answer; the old one's answer comes first, is taken, and is billed once."""
    url = url_of(kind, tmp_path, pytestconfig)
    (tmp_path / "new").mkdir()
    with stopped(url, tmp_path) as (child, run_id):
        store = opened(url, owner="second", lease_s=LEASE_S)
        with anyio.fail_after(LIMIT_S):
            provider = Slow(tmp_path / "new", "new", hangs=True)
            async with Orchestrator(store, providers=[provider], model="shared:m", workflows=[workflow()]) as orch:
                handle = await orch.takeover(run_id)
                await until(lambda: bool(noted(tmp_path / "new" / "sent")))
                assert await anyio.to_thread.run_sync(rest_of, child, tmp_path) == "lost"
                await until_asked(partial(has_a_result, store, run_id))
                (tmp_path / "new" / "go").touch()
                run = await handle.result()
                assert (run.status, run.output) == ("succeeded", "new second")
                log = list(await store.events(run_id, limit=10_000))
                assert not await store.inbox(run_id)
        values = {event.step: event.value for event in log if isinstance(event, StepSucceeded)}
        assert values["first"] == "old first"
        ends = [(event.step, event.call) for event in log if isinstance(event, CallFinished)]
        assert len(ends) == len(set(ends))
        assert ("first", 1) in ends
        assert len([event for event in log if isinstance(event, CallStarted) and event.step == "first"]) == 2
