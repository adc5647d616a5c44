"""What a failed step means: `fail`, `skip`, `Default`, at every depth; and the status of the run."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from llmorch import (
    BudgetExceeded,
    Default,
    LLMOrchError,
    Node,
    Payload,
    RunFailed,
    RunFinished,
    StepError,
    StepNotRun,
    StepStarted,
    Workflow,
    optional,
)
from tests.flow.stage import fails, named, one, slow, stage

pytestmark = pytest.mark.anyio


async def test_a_failed_step_fails_its_workflow_with_its_error() -> None:
    async with stage() as s:
        run = await s.orch.run(Workflow.of(fails, name="w"))
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert run.error.step == "fails"
        assert "'fails'" in str(run.error)
        assert "on purpose" in str(run.error)
        assert isinstance(run.error.__cause__, ValueError)
        with pytest.raises(RunFailed) as caught:
            _ = run.output
        assert caught.value.__cause__ is not None
        assert "on purpose" in str(caught.value.__cause__)
        with pytest.raises(RunFailed):
            run.raise_for_status()


async def test_after_a_failure_nothing_new_starts_and_what_is_in_flight_is_recorded() -> None:
    wf = Workflow("w")
    wf.add(slow, seconds=5)
    wf.add(lambda slow: slow, name="after_slow")
    wf.add(fails)
    wf.add(lambda fails: fails, name="after_fails")
    wf.returns({"a": Node("after_slow"), "b": Node("after_fails")})
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert anyio.current_time() - began == pytest.approx(5)
        assert run[Node("slow")] == 5
        for never in ("after_slow", "after_fails"):
            assert run.steps[never].status == "pending"
            assert "'fails'" in run.steps[never].reason
            assert never not in [getattr(event, "step", None) for event in await s.log(run)]
            with pytest.raises(StepNotRun, match=never):
                run[never]
        with pytest.raises(KeyError, match="did you mean 'after_slow'"):
            run["after_slo"]


async def test_the_first_failure_is_the_runs_error() -> None:
    async def late() -> None:
        await anyio.sleep(3)
        raise ValueError("the second")

    wf = Workflow("w")
    wf.add(late)
    wf.add(fails)
    wf.returns([Node("late"), Node("fails")])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert "on purpose" in str(run.error)
        assert set(run.failures) == {"late", "fails"}


@pytest.mark.parametrize("where", ["step", "workflow"])
async def test_skip_lets_siblings_go_on(where: str) -> None:
    wf = Workflow("w", on_error="skip" if where == "workflow" else "fail")
    wf.add(fails, on_error="skip" if where == "step" else None)
    wf.add(lambda fails: fails, name="cone")
    wf.add(slow, seconds=2)
    wf.returns({"slow": Node("slow"), "cone": Node("cone")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "partial"
        assert run.error is None
        assert run.output == {"slow": 2, "cone": None}
        assert run.steps["cone"].status == "skipped"
        assert "failure" in run.steps["cone"].reason
        assert list(run.failures) == ["fails"]


async def test_the_steps_policy_wins_over_the_workflows() -> None:
    wf = Workflow("w", on_error="skip")
    wf.add(fails, on_error="fail")
    wf.returns({"x": wf.add(one), "y": Node("fails")})
    async with stage() as s:
        assert (await s.orch.run(wf)).status == "failed"


async def test_an_output_lost_through_a_failure_fails_the_run() -> None:
    wf = Workflow("w", on_error="skip")
    wf.add(fails)
    wf.add(lambda fails: fails, name="reader")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert run.error is not None
        assert run.error.step == "fails"


async def test_a_list_output_leaves_out_what_is_skipped_and_a_dict_has_none() -> None:
    wf = Workflow("w", on_error="skip")
    good, bad = wf.add(one), wf.add(fails)
    wf.returns({"list": [bad, good, optional(bad, 7)], "dict": {"bad": bad, "good": good}, "text": "fixed"})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"list": [1, 7], "dict": {"bad": None, "good": 1}, "text": "fixed"}
        assert run.status == "partial"


async def test_everything_of_a_list_output_may_be_gone() -> None:
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(fails)])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == []
        assert run.status == "partial"


async def test_a_nested_failure_is_a_failure_of_the_step_around_it() -> None:
    inner = named("inner", fails)
    wf = Workflow("w")
    wf.add(inner)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert set(run.failures) == {"inner", "inner/fails"}
        assert run.error is not None
        assert "'inner/fails'" in str(run.error)
        assert isinstance(run.error.__cause__, ValueError)


@pytest.mark.parametrize(("policy", "value"), [("skip", None), (Default("instead"), "instead")])
async def test_the_outer_policy_decides_on_a_nested_failure(policy: Any, value: object) -> None:
    inner = Workflow("inner")
    inner.add(fails)
    inner.add(lambda fails: fails, name="later")
    wf = Workflow("w")
    wf.add(inner, on_error=policy)
    wf.returns({"x": Node("inner"), "y": wf.add(one)})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "partial"
        assert run.output == {"x": value, "y": 1}
        assert run.steps["inner"].status == "failed"
        assert run.steps["inner/later"].status == "pending"
        assert "fails" in run.steps["inner/later"].reason
        with pytest.raises(StepNotRun):
            run["inner/later"]


async def test_a_default_of_another_type_is_given_as_it_is() -> None:
    def count() -> int:
        raise ValueError("on purpose")

    wf = Workflow("w")
    counted = wf.add(count, on_error=Default("unknown"))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "partial"
        assert run[counted] == "unknown"
        assert run.output == "unknown"


async def test_a_nested_partial_counts_as_succeeded_but_makes_the_run_partial() -> None:
    inner = Workflow("inner", on_error="skip")
    inner.returns([inner.add(fails), inner.add(one)])
    wf = Workflow("w")
    wf.add(inner)
    wf.add(lambda inner: len(inner), name="count")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["inner"].status == "succeeded"
        assert run.output == 1
        assert run.status == "partial"


async def test_a_nested_output_skipped_though_nothing_failed_skips_the_step() -> None:
    inner = Workflow("inner")
    inner.add(one, when="false")
    wf = Workflow("w")
    wf.returns({"x": wf.add(inner), "y": wf.add(lambda inner: inner, name="reader")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["inner"].status == "skipped"
        assert run.steps["reader"].status == "skipped"
        assert run.status == "succeeded"
        assert run.output == {"x": None, "y": None}


async def test_a_failure_outside_lets_a_nested_workflow_in_flight_finish() -> None:
    inner = Workflow("inner")
    inner.add(slow, seconds=2)
    wf = Workflow("w")
    wf.add(inner)
    wf.add(fails)
    wf.returns([Node("inner"), Node("fails")])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert run.steps["inner/slow"].value == 2


@pytest.mark.parametrize("policy", ["skip", Default(1)])
async def test_a_budget_that_ran_out_ends_the_run_whatever_the_policy(policy: Any) -> None:
    def spends() -> int:
        raise BudgetExceeded("nothing is left")

    wf = Workflow("w")
    wf.add(spends, on_error=policy)
    wf.add(slow, seconds=50)
    wf.returns([Node("spends"), Node("slow")])
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert isinstance(run.error, BudgetExceeded)
        assert run.steps["slow"].status == "cancelled"
        assert anyio.current_time() - began < 5


async def test_what_started_has_ended_before_the_run_has() -> None:
    wf = Workflow("w")
    wf.add(slow, seconds=5)
    wf.add(fails)
    wf.returns([Node("slow"), Node("fails")])
    async with stage() as s:
        log = await s.log(await s.orch.run(wf))
        assert isinstance(log[-1], RunFinished)
        assert sum(isinstance(event, RunFinished) for event in log) == 1
        started = {event.step for event in log if isinstance(event, StepStarted)}
        ended = {
            getattr(event, "step", "")
            for event in log
            if type(event).__name__ in ("StepSucceeded", "StepFailed", "StepCancelled")
        }
        assert started == ended


async def test_an_llmorch_error_of_a_function_keeps_its_class_and_names_the_step() -> None:
    class Mine(LLMOrchError):
        pass

    def raises() -> None:
        raise Mine("special")

    async with stage() as s:
        run = await s.orch.run(raises)
        assert isinstance(run.error, Mine)
        assert run.error.step == "raises"


async def test_a_value_that_is_no_data_fails_the_step_by_name() -> None:
    def nan() -> float:
        return float("nan")

    def thing() -> object:
        return object()

    def octets() -> bytes:
        return b"x"

    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(nan), wf.add(thing), wf.add(octets)])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert set(run.failures) == {"nan", "thing", "octets"}
        for path, error in run.failures.items():
            assert repr(path) in str(error)


async def test_an_argument_that_does_not_fit_its_annotation_fails_the_step() -> None:
    def needs(count: int) -> int:
        return count

    wf = Workflow("w")
    wf.add(needs, count="many")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert isinstance(run.error, StepError)
        assert "'count'" in str(run.error)
        assert "'needs'" in str(run.error)


async def test_a_template_that_fails_on_its_values_names_step_and_line() -> None:
    wf = Workflow("w")
    wf.input("n", int)
    wf.add(Payload("p", "first\n{{ n + 'x' }}", model="scripted:m"))
    async with stage({"p": "never"}) as s:
        run = await s.orch.run(wf, n=1)
        assert run.status == "failed"
        assert "'p'" in str(run.error)
        assert s.asked == []
