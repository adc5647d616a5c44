"""A run whose process is killed is finished by another, and what was recorded is not done again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmorch import ClaimLost, Orchestrator, RunResumed
from tests.architecture.tree import ROOT
from tests.durability.child import workflow

pytestmark = pytest.mark.anyio


def started(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """The child, hanging in its second item, and the id of its run."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.durability.child", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    assert child.stdout.readline().strip() == "hangs"
    return child, run_id


async def test_a_killed_run_goes_on_in_another_process(tmp_path: Path) -> None:
    child, run_id = started(tmp_path)
    flow = workflow(tmp_path, hang=False)
    try:
        async with Orchestrator(f"sqlite:///{tmp_path}/runs.db", workflows=[flow], recover=False) as orchestrator:
            with pytest.raises(ClaimLost):
                await orchestrator.resume(run_id)
            child.kill()
            child.wait(timeout=10)
            run = await (await orchestrator.resume(run_id)).result()
            assert (run.status, run.output) == ("succeeded", "sum 60")
            log = [event async for event in orchestrator.attach(run_id).events()]
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        (resumed,) = (event for event in log if isinstance(event, RunResumed))
        assert resumed.reset == ("items[1]",)
        ran = (tmp_path / "ran").read_text(encoding="utf-8").split("\n")
        assert ran == ["first", "item 1", "item 2", "item 2", "item 3", "last", ""]
    finally:
        child.kill()
        child.communicate(timeout=10)


async def test_a_finished_run_is_read_by_another_orchestrator(tmp_path: Path) -> None:
    flow = workflow(tmp_path, hang=False)
    async with Orchestrator(f"sqlite:///{tmp_path}/runs.db") as orchestrator:
        made = await orchestrator.run(flow)
    async with Orchestrator(f"sqlite:///{tmp_path}/runs.db", workflows=[flow]) as orchestrator:
        (listed,) = await orchestrator.runs()
        run = await orchestrator.get(listed.id)
        assert (run.id, run.status, run.output) == (made.id, "succeeded", "sum 60")
        assert run.usage == made.usage
