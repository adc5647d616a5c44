"""The run as people read it, handles and lists."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pydantic import BaseModel

from llmorch import (
    CodeMissing,
    Default,
    InputInvalid,
    LLMOrchError,
    Node,
    Orchestrator,
    Payload,
    ProviderUnavailable,
    Retry,
    RunFailed,
    RunNotFinished,
    RunNotFound,
    StepError,
    StepNotRun,
    Workflow,
    WorkflowInvalid,
    each,
)
from llmorch._clock import from_us, now_us
from llmorch.stores.memory import MemoryStore
from llmorch.testing import Reply
from tests.flow.stage import fails, named, one, stage

pytestmark = pytest.mark.anyio


class Claim(BaseModel):
    text: str


class Facts(BaseModel):
    title: str
    claims: list[Claim]


# Reading a run


async def test_values_have_their_declared_type_everywhere() -> None:
    def count(facts: Facts) -> int:
        assert isinstance(facts, Facts)
        return len(facts.claims)

    def again(facts: Facts) -> Facts:
        return facts

    wf = Workflow("w")
    facts = wf.add(Payload("facts", "x", output=Facts))
    n, same = wf.add(count), wf.add(again)
    mapped = wf.map(lambda c: c["text"], name="m", c=each(facts["claims"]))
    wf.returns(same)
    value = Facts(title="t", claims=[Claim(text="a")])
    async with stage({"facts": value}) as s:
        run = await s.orch.run(wf)
        for reading in (run, await s.orch.get(run.id), await s.orch.get(run.id, workflow=wf)):
            assert reading.output == value
            assert reading[facts] == value
            assert reading["facts"].title == "t"
            assert reading[n] == 1
            assert reading[mapped] == ["a"]
            assert reading.steps["facts"].value == value
            response = reading.steps["facts"].response
            assert response is not None
            assert response.value == value


async def test_without_a_declared_type_a_value_is_plain_data() -> None:
    def untyped():  # type: ignore[no-untyped-def]
        return Facts(title="t", claims=[])

    wf = Workflow("w")
    wf.returns({"x": wf.add(untyped), "y": 1})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"x": {"title": "t", "claims": []}, "y": 1}
        assert run["untyped"] == {"title": "t", "claims": []}


async def test_each_read_gives_a_copy_of_its_own() -> None:
    async with stage() as s:
        run = await s.orch.run(make_list)
        run.output.append(3)
        run["make_list"].append(4)
        assert run.output == [1, 2]
        assert run["make_list"] == [1, 2]


def make_list() -> list[int]:
    return [1, 2]


async def test_a_run_tells_what_it_was() -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    wf = Workflow.of(Payload("a", "{{ x }}"), Payload("b", "{{ a }}"), name="w")
    async with stage({"a": "AAAA", "b": "B"}) as s:
        run = await s.orch.run(wf, {"x": "12345678"}, tags=["t", "u"], metadata={"who": {"id": 1}})
        assert len(run.id) == 26
        assert run.workflow == "w"
        assert run.status == "succeeded"
        assert run.inputs == {"x": "12345678"}
        assert run.tags == ("t", "u")
        assert run.metadata == {"who": {"id": 1}}
        assert run.usage.requests == 2
        assert (run.usage.input_tokens, run.usage.output_tokens) == (3, 2)
        assert run.error is None
        assert run.failures == {}
        assert run.warnings == ()
        assert run.questions == ()
        assert dict(run.checks) == {}
        assert run.checks.passed
        assert run.finished_at is not None
        assert before < run.started_at <= run.finished_at
        assert run.duration == run.finished_at - run.started_at
        run.raise_for_status()
        result = run.steps["a"]
        assert result.usage.requests == 1
        assert result.started_at is not None
        assert result.finished_at is not None
        assert (result.choice, result.iterations, result.finished, result.cached) == (None, None, None, False)
        call = result.calls[0]
        assert (call.call, call.provider, call.model, call.error) == (1, "scripted", "scripted:m", None)
        assert call.duration is not None
        assert "w" in repr(run)


async def test_asking_for_what_is_not_there_says_what_is() -> None:
    wf = Workflow("w")
    wf.add(one, name="outline", when="false")
    wf.returns([wf.add(one, name="talk"), Node("outline")])
    async with stage() as s:
        run = await s.orch.run(wf)
        with pytest.raises(KeyError, match="did you mean 'outline'"):
            run["outlin"]
        with pytest.raises(KeyError):
            run.steps["nonesuch"]
        with pytest.raises(StepNotRun, match="'outline'") as caught:
            run["outline"]
        assert caught.value.step == "outline"
        assert "outlin" not in run.steps
        assert len(run.steps) == 2


async def test_steps_that_never_came_to_be_are_still_there() -> None:
    inner = named("inner", one)
    wf = Workflow("w")
    wf.add(inner, when="false")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert list(run.steps) == ["inner", "inner/one"]
        assert [result.cost for result in run.steps.values()] == [0, 0]
        with pytest.raises(StepNotRun):
            run["inner/one"]


async def test_a_running_run_can_be_looked_at() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        handle = await s.orch.start(Payload("p", "x"))
        await anyio.sleep(1)
        run = await s.orch.get(handle.id)
        assert run.status == "running"
        assert run.steps["p"].status == "running"
        with pytest.raises(RunNotFinished):
            _ = run.output
        with pytest.raises(RunNotFinished):
            run.raise_for_status()
        with pytest.raises(StepNotRun):
            run["p"]
        assert (await handle.result()).output == "P"


async def test_failures_are_rebuilt_as_their_classes() -> None:
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(Payload("p", "x", retry=Retry(attempts=1))), wf.add(fails)])
    async with stage({"p": ProviderUnavailable("down", status=503, provider="scripted", model="m")}) as s:
        run = await s.orch.run(wf)
        for reading in (run, await s.orch.get(run.id)):
            failures = reading.failures
            assert isinstance(failures["p"], ProviderUnavailable)
            assert failures["p"].status == 503
            assert failures["p"].step == "p"
            assert isinstance(failures["fails"], StepError)
            assert reading.status == "partial"


async def test_to_dict_and_report_hold_the_run() -> None:
    wf = Workflow.of(Payload("a", "Say {{ x }}"), Payload("b", "{{ a }}"), name="talk")
    async with stage({"a": "the first answer", "b": ProviderUnavailable("it is down")}) as s:
        run = await s.orch.run(wf, x="tea")
        data = run.to_dict()
        assert json.loads(json.dumps(data)) == data
        assert data["id"] == run.id
        assert data["status"] == "failed"
        report = run.report()
        for words in ("talk", "the first answer", "it is down", "Say tea", run.id):
            assert words in report


# Handles and lists


async def test_a_handle_waits_and_dropping_it_cancels_nothing() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        first = await s.orch.start(Payload("p", "x"))
        run_id = first.id
        del first
        again = s.orch.attach(run_id)
        assert (await again.result()).output == "P"
        assert (await again.result()).output == "P"
        await again.cancel()
        assert (await s.orch.get(run_id)).status == "succeeded"


async def test_many_may_wait_for_one_run() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        handle = await s.orch.start(Payload("p", "x"))
        outputs: list[str] = []

        async def wait() -> None:
            outputs.append((await handle.result()).output)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wait)
        assert outputs == ["P"] * 5


async def test_a_failed_run_is_returned_and_a_refused_one_raises() -> None:
    async with stage() as s:
        assert (await s.orch.run(fails)).status == "failed"
        handle = await s.orch.start(fails)
        assert (await handle.result()).status == "failed"
        for refused in (s.orch.run, s.orch.start):
            with pytest.raises(InputInvalid):
                await refused(one, surprise=1)
            with pytest.raises(WorkflowInvalid):
                await refused(Workflow("empty"))
        with pytest.raises(InputInvalid):
            async with s.orch.stream(one, surprise=1):
                pass


async def test_runs_are_listed_newest_first_and_filtered() -> None:
    async with stage() as s:
        first = await s.orch.run(named("first", one), tags=["x"])
        await anyio.sleep(0.001)  # ids sort by the millisecond
        second = await s.orch.run(named("second", fails), tags=["x", "y"])
        await anyio.sleep(0.001)
        moment = from_us(now_us())
        third = await s.orch.run(named("first", one))

        async def ids(*args: Any, **filters: Any) -> list[str]:
            return [summary.id for summary in await s.orch.runs(*args, **filters)]

        assert await ids() == [third.id, second.id, first.id]
        assert await ids("first") == [third.id, first.id]
        assert await ids(status="failed") == [second.id]
        assert await ids(tag="x") == [second.id, first.id]
        assert await ids(tag="y") == [second.id]
        assert await ids(since=moment) == [third.id]
        assert await ids(limit=2) == [third.id, second.id]
        assert await ids(before=second.id) == [first.id]
        summary = (await s.orch.runs("second"))[0]
        assert (summary.workflow, summary.status, summary.tags) == ("second", "failed", ("x", "y"))
        assert summary.finished_at is not None


@pytest.mark.parametrize(
    ("filters", "error", "told"),
    [
        ({"status": "suceeded"}, ValueError, "did you mean 'succeeded'?"),
        ({"limit": -1}, ValueError, "0 or more"),
        ({"workflow": named("first", one)}, TypeError, "takes a text"),
        ({"workflow": "a\0b"}, ValueError, "no run has"),
        ({"before": "\ud800"}, ValueError, "no run has"),
        ({"before": 3}, TypeError, "takes a text"),
        ({"tag": 3}, TypeError, "takes a text"),
    ],
)
async def test_a_filter_that_selects_nothing_is_refused(
    filters: dict[str, Any], error: type[Exception], told: str
) -> None:
    async with stage() as s:
        await s.orch.run(one)
        with pytest.raises(error, match=re.escape(told)):
            await s.orch.runs(**filters)
        assert await s.orch.runs(limit=0) == []


async def test_a_deleted_run_is_gone_and_a_running_one_is_not_deleted() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        run = await s.orch.run(one)
        await s.orch.delete(run.id)
        with pytest.raises(RunNotFound):
            await s.orch.get(run.id)
        with pytest.raises(RunNotFound):
            await s.orch.delete(run.id)
        assert run.output == 1  # what was read stays
        handle = await s.orch.start(Payload("p", "x"))
        with pytest.raises(LLMOrchError, match="cancel"):
            await s.orch.delete(handle.id)
        await handle.result()
        await s.orch.delete(handle.id)


async def test_a_run_of_unknown_code_says_so() -> None:
    store = MemoryStore()
    wf = named("mine", one)
    async with Orchestrator(store) as orch:
        run = await orch.run(wf)
    async with Orchestrator(store) as other:
        with pytest.raises(CodeMissing, match="'mine'"):
            await other.get(run.id)
        assert (await other.get(run.id, workflow=wf)).output == 1
    async with Orchestrator(store, workflows=[wf]) as knowing:
        assert (await knowing.get(run.id)).output == 1


async def test_changing_a_workflow_does_not_change_the_run_that_was() -> None:
    wf = named("w", one)
    async with stage() as s:
        run = await s.orch.run(wf)
        wf.add(fails, after=["one"])
        wf.returns(Node("fails"))
        assert (await s.orch.get(run.id)).output == 1
        assert run.output == 1


async def test_outputs_of_failed_runs_raise_with_the_cause() -> None:
    wf = Workflow("w")
    wf.add(fails)
    async with stage() as s:
        run = await s.orch.run(wf)
        with pytest.raises(RunFailed) as caught:
            _ = run.output
        assert isinstance(caught.value.__cause__, StepError)
        assert caught.value.run_id == run.id
        with pytest.raises(StepNotRun) as missing:
            run["fails"]
        assert isinstance(missing.value.__cause__, StepError)


async def test_defaults_of_inputs_are_recorded_with_the_run() -> None:
    wf = Workflow("w")
    x = wf.input("x", list[int], default=[1])
    wf.returns([x, wf.add(one, on_error=Default(0))])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.inputs == {"x": [1]}
        run.inputs["x"].append(2)
        assert (await s.orch.run(wf)).inputs == {"x": [1]}


async def test_a_part_of_a_typed_value_has_its_type_too() -> None:
    wf = Workflow("w")
    facts = wf.add(Payload("facts", "x", output=Facts))
    wf.returns(facts.pick(lambda f: f.claims))
    async with stage({"facts": Facts(title="t", claims=[Claim(text="a")])}) as s:
        run = await s.orch.run(wf)
        assert run.output == [Claim(text="a")]
        assert run[facts["claims"]][0] == Claim(text="a")


async def test_containers_have_the_type_of_what_they_hold() -> None:
    def make(n: int) -> Claim:
        return Claim(text=str(n))

    def use(inner: list[Claim]) -> str:
        return inner[1].text

    inner = Workflow("inner")
    inner.input("n", int)
    inner.returns(inner.add(make))
    wf = Workflow("w")
    claims = wf.map(inner, n=each([1, 2]))
    wf.add(use)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run[claims] == [Claim(text="1"), Claim(text="2")]
        assert run["inner[0]"] == Claim(text="1")
        assert run["inner[0]/make"] == Claim(text="1")
        assert run.output == "2"


async def test_none_is_a_value_and_no_skip() -> None:
    def nothing() -> None:
        return None

    wf = Workflow("w")
    wf.add(nothing)
    wf.add(lambda nothing: [nothing], name="reader")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [None]
        assert run["nothing"] is None
        assert run.steps["nothing"].status == "succeeded"


async def test_workflows_nest_sixteen_deep_and_more_is_a_fault() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(one)
    for depth in range(2, 17):
        outer: Workflow[Any] = Workflow(f"w{depth}")
        outer.add(wf)
        wf = outer
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == 1
        assert list(run.steps)[-1].endswith("/w/one")
        outer = Workflow("too-deep")
        outer.add(wf)
        with pytest.raises(WorkflowInvalid, match="16"):
            s.orch.plan(outer)
