"""A process is killed while models judge its run: the recorded judgement stays, the other is asked for again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmorch import CallStarted, Orchestrator, RunResumed
from llmorch.testing import ScriptedProvider
from tests.architecture.tree import ROOT
from tests.durability.judged_child import GOOD, LEASE_S, workflow
from tests.durability.processes_flow import opened
from tests.durability.processes_places import KINDS, url_of

pytestmark = pytest.mark.anyio


def started(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.durability.judged_child", url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_killed_while_it_is_judged_goes_on_with_the_judgement_it_has(
    kind: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    url = url_of(kind, tmp_path, pytestconfig)
    child = started(url)
    assert child.stdout is not None
    try:
        run_id = child.stdout.readline().strip()
        assert child.stdout.readline().strip() == "hangs"
        child.kill()
        child.wait(timeout=10)
        provider = ScriptedProvider({"kind": GOOD})
        async with Orchestrator(
            opened(url, lease_s=LEASE_S), providers=[provider], workflows=[workflow()]
        ) as orchestrator:
            run = await orchestrator.attach(run_id).result()
            log = [event async for event in orchestrator.attach(run_id).events()]
        assert (run.status, run.output, run.checks.passed) == ("succeeded", "Hi.", True)
        assert [request.step for request in provider.requests] == ["~check/kind"]
        (resumed,) = (event for event in log if isinstance(event, RunResumed))
        assert resumed.reset == ("~check/kind",)
        calls = [event.step for event in log if isinstance(event, CallStarted)]
        assert sorted(calls) == ["draft", "~check/kind", "~check/kind", "~check/polite"]
        assert (run.usage.requests, run.unpriced_calls) == (4, 4)
    finally:
        child.kill()
        child.communicate(timeout=10)
