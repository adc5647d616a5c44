"""Defects that workflow engines are known for, each as a test that is named after it.

Those about profiles, about checks that a file asks for after a run, and about success rates need files, profiles and
metrics, and stand beside these.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from llmorch import (
    AuthenticationFailed,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    RunFailed,
    Script,
    StepError,
    StepNotRun,
    Workflow,
    WorkflowInvalid,
    each,
    optional,
)
from tests.flow.stage import fails, kinds, stage

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)


async def test_partial_fan_out_results_are_not_dropped_downstream() -> None:
    wf = Workflow("w")
    parts = wf.input("parts", list[str])
    checks = wf.map(Payload("check", "Check {{ part }}", retry=ONCE), part=each(parts), on_error="skip")
    wf.returns(wf.add(Payload("sum", "All: {{ checks | json }}"), checks=checks))
    script = {"check[1]": ProviderUnavailable("down"), "check[0]": "first", "check[2]": "third", "sum": "done"}
    async with stage(script) as s:
        run = await s.orch.run(wf, parts=["a", "b", "c"])
        assert s.prompts("sum") == ['All: ["first","third"]']
        assert (run.status, run.output) == ("partial", "done")
        assert list(run.steps["check"].failures) == [1]


async def test_fan_out_instances_do_not_lose_the_original_task() -> None:
    inner = Workflow("one")
    inner.add(Payload("draft", "{{ task }}: {{ part }}"))
    inner.add(Payload("polish", "For {{ task }}, polish {{ draft }}"))
    wf = Workflow("w")
    task = wf.input("task", str)
    wf.map(Payload("ask", "{{ task }}: {{ part }}"), part=each(["a", "b"]), task=task)
    wf.map(inner, name="whole", part=each(["a", "b"]))
    wf.returns([])
    async with stage({"*": "x"}) as s:
        await s.orch.run(wf, task="Name the colour")
        asked = [request.messages[-1].text for request in s.provider.requests]
        assert len(asked) == 6
        assert all("Name the colour" in text for text in asked)


async def test_an_empty_array_does_not_run_once() -> None:
    wf = Workflow("w")
    wf.map(Payload("ask", "About {{ part }}"), part=each(wf.input("items", list)), on_error="skip")
    async with stage({}) as s:
        run = await s.orch.run(wf, items=[])
        assert s.asked == []
        assert (run.output, run.status) == ([], "succeeded")
        assert kinds(await s.log(run))[1:-1] == ["StepStarted ask", "MapExpanded ask", "StepSucceeded ask"]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_script_that_exits_with_3_is_not_recorded_as_success(anyio_backend: str, tmp_path: Path) -> None:
    (tmp_path / "half_done.py").write_text(
        'import sys\nprint(\'{"found": 1}\')\nprint("no disk", file=sys.stderr)\nsys.exit(3)\n'
    )
    wf = Workflow("w")
    ran = wf.add(Script("half-done", interpreter=sys.executable), name="ran", on_error="skip")
    wf.returns({"ran": ran})
    async with stage({}, scripts=[tmp_path]) as s:
        run = await s.orch.run(wf)
        assert run.steps["ran"].status == "failed"
        assert (run.status, run.output) == ("partial", {"ran": None})
        assert "3" in str(run.failures["ran"])
        assert "no disk" in str(run.failures["ran"])


class Topics(BaseModel):
    topics: list[str]


async def test_a_missing_selection_key_is_not_sent_to_the_model_as_text() -> None:
    typed = Workflow("typed")
    sorted_out = typed.add(Payload("sort", "Sort {{ text }}", output=Topics))
    typed.add(Payload("write", "On {{ subject }}"), subject=sorted_out["subject"])
    async with stage({"sort": {"topics": ["a"]}, "write": "x"}) as s:
        with pytest.raises(WorkflowInvalid, match="'subject'"):
            await s.orch.run(typed, text="t")
        assert s.asked == []
    loose = Workflow("loose")
    sorted_out = loose.add(Payload("sort", "Sort {{ text }}", output={"type": "object"}))
    loose.add(Payload("write", "On {{ subject }}"), subject=sorted_out["subject"])
    async with stage({"sort": {"topics": ["a"]}, "write": "x"}) as s:
        run = await s.orch.run(loose, text="t")
        assert s.asked == ["sort"]
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert run.error.step == "write"
        assert "'subject'" in str(run.error)


async def test_fallback_follows_the_configured_chain_and_does_not_lose_the_first_error() -> None:
    chain = ["scripted:second", "scripted:third"]
    wf = Workflow.of(Payload("ask", "Hi", model="scripted:first", fallback=chain, retry=ONCE), name="w")
    errors = [AuthenticationFailed("no key"), ProviderUnavailable("down")]
    async with stage({"ask": [*errors, "third answers"]}) as s:
        run = await s.orch.run(wf)
        assert run.output == "third answers"
        assert [call.model for call in run.steps["ask"].calls] == ["scripted:first", *chain]
        assert [str(call.error) for call in run.steps["ask"].calls[:2]] == ["Step 'ask': no key", "Step 'ask': down"]
    async with stage({"ask": [*errors, ProviderUnavailable("off")]}) as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        told: list[str] = []
        error: BaseException | None = run.error
        while error is not None:
            told.append(str(error))
            error = error.__cause__
        assert "off" in told[0]
        assert any("no key" in text for text in told)


async def test_a_failing_node_does_not_pass_its_input_through_and_report_success() -> None:
    wf = Workflow("w")
    wf.add(Payload("ask", "Say {{ text }}", retry=ONCE), on_error="skip")
    wf.returns({"asked": Node("ask"), "next": optional(wf.add(Payload("next", "Go on: {{ ask }}")), default="none")})
    async with stage({"ask": ProviderUnavailable("down"), "next": "x"}) as s:
        run = await s.orch.run(wf, text="my input")
        assert run.steps["ask"].status == "failed"
        assert run.steps["ask"].value is None
        assert run.output == {"asked": None, "next": "none"}
        assert run.status == "partial"
        assert s.asked == ["ask"]
        with pytest.raises(StepNotRun):
            run["ask"]


async def test_not_only_the_first_outgoing_edge_is_followed() -> None:
    wf = Workflow("w")
    wf.add(Payload("start", "Start"))
    for name in ("left", "middle", "right"):
        wf.add(Payload(name, f"{name} {{{{ start }}}}"))
    wf.returns([Node("left"), Node("middle"), Node("right")])
    async with stage({"start": "s", "left": "l", "middle": "m", "right": "r"}) as s:
        run = await s.orch.run(wf)
        assert run.output == ["l", "m", "r"]
        assert sorted(s.asked) == ["left", "middle", "right", "start"]


async def test_the_error_of_a_node_is_not_swallowed() -> None:
    wf = Workflow("w")
    wf.add(fails)
    wf.add(lambda fails: fails, name="reads")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert run.error.step == "fails"
        assert "ValueError: on purpose" in str(run.error)
        assert "on purpose" in str(run.failures["fails"])
        assert "'fails'" in run.steps["reads"].reason
        assert "on purpose" in run.report()
        with pytest.raises(RunFailed, match="on purpose"):
            run.raise_for_status()
