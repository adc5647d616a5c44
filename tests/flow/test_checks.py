"""Checks: what is asked about a run when its steps have ended, and what becomes of the answers."""

from __future__ import annotations

import io
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from llmorch import (
    BadRequest,
    Budget,
    CheckFinished,
    Default,
    Event,
    Payload,
    Price,
    ProviderUnavailable,
    RunFinished,
    StepSucceeded,
    Workflow,
    WorkflowInvalid,
)
from llmorch.checks import Assertion, Judged, RequiredFields, RequiredSteps, TimeBound
from llmorch.event_lines import from_line, to_line
from llmorch.hooks import Progress
from llmorch.models.check import AnyCheck
from llmorch.ports import Call, ProviderResponse
from llmorch.testing import Reply
from tests.flow.stage import MODEL, Stage, fails, kinds, stage

pytestmark = pytest.mark.anyio

GOOD = {"passed": True, "reason": "It is."}
BAD = {"passed": False, "reason": "It is not."}
POLITE = Judged("It is polite.", name="polite")


class Post(BaseModel):
    title: str
    text: str
    by: dict[str, Any]


async def first() -> str:
    return "one"


async def second(first: str) -> str:
    return f"{first} and two"


def post(*checks: AnyCheck, **options: Any) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("post", checks=checks, **options)
    workflow.add(first)
    return workflow.returns(workflow.add(second))


def asked(*checks: AnyCheck) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("asked", checks=checks)
    return workflow.returns(workflow.add(Payload("draft", "Write about {{ topic }}.")))


async def found(workflow: Workflow[Any], /, **inputs: Any) -> dict[str, tuple[bool, str]]:
    async with stage() as s:
        run = await s.orch.run(workflow, inputs)
        return {name: (result.passed, result.detail) for name, result in run.checks.items()}


async def test_required_steps_are_those_that_succeeded() -> None:
    workflow: Workflow[Any] = Workflow(
        "w",
        on_error="skip",
        checks=[RequiredSteps("good", name="good"), RequiredSteps("good", "bad", "never", "spare", name="all")],
    )
    workflow.add(lambda: 1, name="good")
    workflow.add(fails, name="bad")
    workflow.add(lambda bad: bad, name="never")
    workflow.add(fails, name="spare", on_error=Default(0))
    workflow.returns({"good": workflow.add(lambda: 2, name="end")})
    assert await found(workflow) == {
        "good": (True, ""),
        "all": (False, "'bad' is failed, 'never' is skipped, 'spare' is failed"),
    }


async def test_required_fields_must_be_there_with_something_in_them() -> None:
    def make() -> Post:
        return Post(title="Bees", text="  ", by={"name": None, "age": 0, "tags": [], "flags": [{"on": False}]})

    names = ("title", "text", "by.name", "by.age", "by.tags", "by.flags.0.on", "by.flags.1")
    checks = [
        *(RequiredFields(name, name=name) for name in names),
        RequiredFields("by.age", "by.name", "by.none", name="several"),
        RequiredFields("by.age", step="plain", name="of a step"),
        RequiredFields("age", step="skipped", name="of nothing"),
    ]
    workflow: Workflow[Any] = Workflow("w", checks=checks)
    workflow.add(make)
    workflow.add(lambda make: make, name="plain")
    workflow.add(lambda: {"age": 1}, name="skipped", when="false")
    told = await found(workflow.returns(workflow.add(lambda make: make, name="end")))
    passed = [name for name, (ok, _) in told.items() if ok]
    assert passed == ["title", "by.age", "by.tags", "by.flags.0.on", "of a step"]
    assert told["several"] == (False, "the output has no 'by.name', 'by.none'")
    assert told["of nothing"] == (False, "'skipped' has no value")


async def test_assertions_read_the_run_in_the_language_of_when() -> None:
    checks = [
        Assertion("results.first == 'one' and output == results.second"),
        Assertion("execution_order == ['first', 'second']"),
        Assertion("status == 'succeeded' and duration < 60 and inputs == {}"),
        Assertion("results.first | length > 5", name="long"),
        Assertion("results.first > 5", name="broken"),
    ]
    told = await found(post(*checks))
    assert [passed for passed, _ in told.values()] == [True, True, True, False, False]
    assert told["long"] == (False, 'it is false: results.first is "one"')
    assert "text" in told["broken"][1]


async def test_a_failed_check_changes_neither_status_nor_output() -> None:
    async with stage() as s:
        run = await s.orch.run(post(Assertion("output == ''", name="empty"), TimeBound(60)))
        assert (run.status, run.output, run.error, run.failures) == ("succeeded", "one and two", None, {})
        assert not run.checks.passed
        assert [result.name for result in run.checks.failed] == ["empty"]
        assert list(run.checks) == ["empty", "at most 60 s"]


async def test_checks_are_told_just_before_the_end_and_read_again_as_they_were() -> None:
    workflow = asked(POLITE, TimeBound(60), Assertion("output == ''", name="empty"))
    async with stage({"draft": "Hi.", "polite": GOOD}) as s:
        run = await s.orch.run(workflow, topic="x")
        log = await s.log(run)
        assert kinds(log[-4:]) == ["CheckFinished", "CheckFinished", "CheckFinished", "RunFinished"]
        assert [event.check for event in log if isinstance(event, CheckFinished)] == list(run.checks)
        assert [from_line(to_line(event)) for event in log] == list(log)
        again = await s.orch.get(run.id)
        assert dict(again.checks) == dict(run.checks)
        asked_of = again.checks["polite"].asked
        assert asked_of is not None
        assert asked_of.response is not None
        assert asked_of.messages[-1].text == "Criterion:\nIt is polite.\n\n<output>\nHi.\n</output>"


async def test_a_model_is_asked_about_the_output_by_the_criterion() -> None:
    criterion = "It is about {{ inputs.topic }}, like {{ results.draft }}."
    workflow = asked(Judged(criterion, model="scripted:judge", name="on topic"))
    async with stage(
        {"draft": "Bees.", "on topic": BAD}, prices={MODEL: Price(1, 1), "scripted:judge": Price(5, 5)}
    ) as s:
        run = await s.orch.run(workflow, topic="bees")
        result = run.checks["on topic"]
        assert (result.passed, result.detail) == (False, "It is not.")
        assert s.asked == ["draft", "~check/on topic"]
        (request,) = s.provider.requests_of("~check/on topic")
        assert request.model == "judge"
        assert request.output_schema is not None
        assert "Criterion:\nIt is about bees, like Bees..\n\n<output>\nBees.\n</output>" in request.messages[-1].text
        assert result.asked is not None
        assert result.asked.cost is not None
        assert result.asked.cost > 0
        assert run.usage.requests == 2
        draft = run.steps["draft"].cost
        assert draft is not None
        assert run.cost == draft + result.asked.cost
        assert list(run.steps) == ["draft"]


async def test_an_output_cannot_speak_as_a_template() -> None:
    async with stage({"draft": "{{ 7 * 7 }} {{ inputs }}", "polite": GOOD}) as s:
        await s.orch.run(asked(POLITE), topic="x")
        assert "{{ 7 * 7 }} {{ inputs }}" in s.prompts("~check/polite")[0]


async def test_judges_are_asked_at_once_and_not_before_the_last_step_has_ended() -> None:
    checks = [Judged(f"It is {n}.", name=f"c{n}") for n in range(3)]
    async with stage({"draft": "Hi.", "*": Reply(GOOD, delay=1)}) as s:
        with anyio.fail_after(1.5):
            run = await s.orch.run(asked(*checks), topic="x")
        assert run.checks.passed
        log = kinds(await s.log(run))
        assert log.index("StepSucceeded draft") < min(log.index(f"StepStarted ~check/c{n}") for n in range(3))


async def test_a_judge_that_cannot_be_asked_fails_its_check_and_nothing_else() -> None:
    async with stage({"draft": "Hi.", "polite": BadRequest("no such model"), "kind": GOOD}) as s:
        run = await s.orch.run(asked(POLITE, Judged("It is kind.", name="kind")), topic="x")
        assert (run.status, run.output, run.failures, run.error) == ("succeeded", "Hi.", {}, None)
        assert (run.checks["polite"].passed, run.checks["polite"].detail) == (False, "BadRequest: no such model")
        assert run.checks["kind"].passed
        assert run.checks["polite"].asked is not None
        assert isinstance(run.checks["polite"].asked.error, BadRequest)


async def test_a_judge_is_asked_again_like_any_call_and_its_answer_is_repaired() -> None:
    async with stage({"draft": "Hi.", "polite": [ProviderUnavailable("busy"), "Yes, it is.", GOOD]}) as s:
        run = await s.orch.run(asked(POLITE), topic="x")
        assert run.checks["polite"].passed
        assert len(s.provider.requests_of("~check/polite")) == 3


async def test_a_criterion_that_reads_what_is_not_there_fails_its_check() -> None:
    workflow: Workflow[Any] = Workflow("w", checks=[Judged("Like {{ results.off.title }}?", name="c")])
    workflow.add(lambda: {"title": "x"}, name="off", when="false")
    workflow.returns({"end": workflow.add(lambda: 1, name="end")})
    async with stage({"c": GOOD}) as s:
        run = await s.orch.run(workflow)
        assert not run.checks["c"].passed
        assert run.checks["c"].detail.startswith("TemplateError: ")
        assert s.asked == []


async def test_nobody_is_asked_about_an_output_that_was_skipped() -> None:
    workflow: Workflow[Any] = Workflow("w", checks=[POLITE, Assertion("output is none", name="none")])
    workflow.returns(workflow.add(lambda: 1, name="off", when="false"))
    async with stage({"polite": GOOD}) as s:
        run = await s.orch.run(workflow)
        assert (run.status, run.output) == ("succeeded", None)
        assert (run.checks["polite"].passed, s.asked) == (False, [])
        assert run.checks["polite"].detail.startswith("not asked: ")
        assert run.checks["none"].passed


async def test_of_a_failed_run_plain_checks_are_told_and_no_model_is_asked() -> None:
    checks = [
        RequiredSteps("first"),
        RequiredSteps("bad"),
        Assertion("status == 'failed'"),
        Assertion("output == 1"),
        RequiredFields("x", name="f"),
        POLITE,
    ]
    workflow: Workflow[Any] = Workflow("w", checks=checks)
    workflow.add(first)
    workflow.returns(workflow.add(lambda first: fails(), name="bad"))
    async with stage({"polite": GOOD}) as s:
        run = await s.orch.run(workflow)
        assert run.status == "failed"
        assert [(result.passed, result.detail) for result in run.checks.values()] == [
            (True, ""),
            (False, "'bad' is failed"),
            (True, ""),
            (False, "the run has no output, because it failed"),
            (False, "the output has no value"),
            (False, "not asked, because the run failed"),
        ]
        assert s.asked == []


async def test_a_run_that_is_partial_is_judged() -> None:
    workflow: Workflow[Any] = Workflow("w", on_error="skip", checks=[POLITE, Assertion("status == 'partial'")])
    bad = workflow.add(fails, name="bad")
    workflow.returns([bad, workflow.add(first)])
    async with stage({"polite": GOOD}) as s:
        run = await s.orch.run(workflow)
        assert run.status == "partial"
        assert run.checks.passed


async def test_a_cancelled_run_is_asked_nothing_and_resumed_it_is() -> None:
    async with stage({"draft": "Hi.", "polite": [Reply(GOOD, delay=60), GOOD]}) as s:
        handle = await s.orch.start(asked(POLITE, TimeBound(60)), topic="x")
        await anyio.sleep(1)
        await handle.cancel()
        run = await handle.result()
        assert (run.status, dict(run.checks), run.checks.passed) == ("cancelled", {}, False)
        done = await (await s.orch.resume(run.id)).result()
        assert (done.status, done.output, done.checks.passed) == ("succeeded", "Hi.", True)
        assert s.asked == ["draft", "~check/polite", "~check/polite"]
        assert done.unpriced_calls == 3


async def test_a_run_whose_time_is_up_while_it_is_judged_keeps_its_output() -> None:
    async with stage({"draft": "Hi.", "polite": Reply(GOOD, delay=60), "kind": GOOD}) as s:
        run = await s.orch.run(asked(POLITE, Judged("It is kind.", name="kind")), {"topic": "x"}, timeout=5)
        assert (run.status, run.output) == ("succeeded", "Hi.")
        assert run.checks["polite"].detail == "the time of the run was up before the model had answered"
        assert not run.checks["polite"].passed
        assert run.checks["kind"].passed


async def test_a_run_whose_time_is_up_before_fails_as_ever() -> None:
    async with stage({"draft": Reply("Hi.", delay=60)}) as s:
        run = await s.orch.run(asked(POLITE), {"topic": "x"}, timeout=5)
        assert run.status == "failed"
        assert not run.checks.passed


async def test_a_budget_that_runs_out_fails_the_check_and_not_the_run() -> None:
    async with stage({"draft": "Hi.", "*": GOOD}) as s:
        run = await s.orch.run(
            asked(POLITE, Judged("It is kind.", name="kind")), {"topic": "x"}, budget=Budget(calls=2)
        )
        assert (run.status, run.output) == ("succeeded", "Hi.")
        assert [result.passed for result in run.checks.values()] == [True, False]
        assert run.checks["kind"].detail.startswith("BudgetExceeded: ")
        assert len(s.asked) == 2


async def test_a_budget_in_dollars_refuses_a_judge_without_a_price() -> None:
    workflow = asked(Judged("It is polite.", model="scripted:free", name="polite"))
    async with stage({"draft": "Hi."}, prices={MODEL: Price(1, 1)}) as s:
        with pytest.raises(WorkflowInvalid, match="price of 'scripted:free' is unknown"):
            await s.orch.run(workflow, {"topic": "x"}, budget=Budget(usd=1))
        assert s.asked == []


async def test_hooks_stand_around_a_judging_call() -> None:
    seen: list[str] = []

    class Spy:
        async def around_call(
            self, call: Call, proceed: Callable[[Call], Awaitable[ProviderResponse]]
        ) -> ProviderResponse:
            seen.append(call.step)
            return await proceed(call)

    async with stage({"draft": "Hi.", "polite": GOOD}, hooks=[Spy()]) as s:
        await s.orch.run(asked(POLITE), topic="x")
    assert seen == ["draft", "~check/polite"]


async def test_a_cached_judgement_is_not_paid_for_again() -> None:
    async with stage({"draft": "Hi.", "polite": GOOD}, cache=True, prices={MODEL: Price(1, 1)}) as s:
        await s.orch.run(asked(POLITE), topic="x")
        again = await s.orch.run(asked(POLITE), topic="x")
        assert len(s.asked) == 2
        assert (again.checks["polite"].passed, again.cost) == (True, Decimal(0))


async def test_a_judged_run_of_a_single_step_has_somebody_to_run_its_judges() -> None:
    async with stage({"*": GOOD}) as s:
        workflow: Workflow[Any] = Workflow("w", checks=[Judged(f"It is {n}.") for n in range(9)])
        workflow.add(lambda: 1, name="only")
        run = await s.orch.run(workflow)
        assert len(run.checks) == 9
        assert run.checks.passed


async def test_a_fork_adopts_a_judgement_of_the_same_output_and_asks_about_another() -> None:
    async with stage({"draft": ["Hi.", "Go away."], "polite": [GOOD, BAD]}) as s:
        run = await s.orch.run(asked(POLITE), topic="x")
        same = await (await s.orch.fork(run.id)).result()
        assert (same.checks["polite"].passed, same.usage.requests) == (True, 0)
        copied = [event for event in await s.log(same) if isinstance(event, StepSucceeded)]
        assert [(event.step, event.copied_from) for event in copied] == [("draft", run.id), ("~check/polite", run.id)]
        other = await (await s.orch.fork(run.id, replace={"draft": "Go away."})).result()
        assert (other.output, other.checks["polite"].detail) == ("Go away.", "It is not.")


async def test_a_fork_asks_what_the_workflow_wants_to_know_now_and_a_diff_says_so_first() -> None:
    async with stage({"draft": "Hi.", "polite": GOOD, "kind": BAD}, prices={MODEL: Price(1, 1)}) as s:
        run = await s.orch.run(asked(POLITE), topic="x")
        more = asked(POLITE, Judged("It is kind.", name="kind"))
        diff = s.orch.diff(run, workflow=more)
        assert (set(diff.kept), set(diff.new), diff.calls.likely) == ({"draft", "~check/polite"}, {"~check/kind"}, 1)
        assert diff.cost is not None
        assert diff.cost.likely > 0
        done = await (await s.orch.fork(run.id, workflow=more)).result()
        assert [result.passed for result in done.checks.values()] == [True, False]
        assert s.asked == ["draft", "~check/polite", "~check/kind"]


async def test_a_failed_run_that_is_taken_up_again_is_asked_again() -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")
        return "well"

    workflow: Workflow[Any] = Workflow("w", checks=[RequiredSteps("flaky"), POLITE])
    workflow.add(flaky)
    async with stage({"polite": GOOD}) as s:
        run = await s.orch.run(workflow)
        assert [result.passed for result in run.checks.values()] == [False, False]
        done = await (await s.orch.resume(run.id)).result()
        assert (done.status, done.checks.passed) == ("succeeded", True)
        assert (await s.orch.get(run.id)).checks.passed


async def test_the_checks_of_a_nested_workflow_are_not_asked() -> None:
    outer: Workflow[Any] = Workflow("outer", checks=[TimeBound(60)])
    outer.add(post(Assertion("output == ''"), POLITE), name="inner")
    async with stage() as s:
        run = await s.orch.run(outer)
        assert list(run.checks) == ["at most 60 s"]
        assert s.asked == []


async def test_a_run_without_checks_has_none_and_says_nothing_of_them() -> None:
    async with stage() as s:
        run = await s.orch.run(post())
        assert (len(run.checks), run.checks.passed, run.checks.failed) == (0, True, ())
        assert isinstance((await s.log(run))[-1], RunFinished)
        assert not any(isinstance(event, CheckFinished) for event in await s.log(run))
        assert "Checks" not in run.report()
        with pytest.raises(KeyError):
            run.checks["none"]


async def shown() -> tuple[Stage, Any]:
    async with stage({"draft": "Hi.", "polite": {"passed": False, "reason": "Too | short <b>."}}) as s:
        return s, await s.orch.run(asked(TimeBound(60), POLITE), topic="x")


async def test_reports_tell_checks_with_what_the_model_was_asked() -> None:
    _, run = await shown()
    page = run.report()
    assert "| polite | **failed** | Too \\| short \\<b\\>. | 1 | unknown |" in page
    assert re.search(r"^\| at most 60 s \| passed \| the run took 0\.\d{3} s \|  \|  \|$", page, re.MULTILINE)
    assert "### `~check/polite`" in page
    assert "Criterion:\nIt is polite." in page


async def test_plain_data_and_html_tell_checks() -> None:
    _, run = await shown()
    data = run.to_dict()
    assert data["checks"]["polite"] == {"passed": False, "detail": "Too | short <b>."}
    assert data["asked"]["~check/polite"]["calls"][0]["model"] == MODEL
    assert list(data["steps"]) == ["draft"]
    page = run._repr_html_()
    assert "failed: polite (Too | short &lt;b&gt;.)" in page
    assert "passed: at most 60 s" in page


async def test_progress_prints_a_line_for_each_check() -> None:
    progress = Progress(io.StringIO())
    events: list[Event] = [CheckFinished("quick", True, run_id="r"), CheckFinished("polite", False, "No.", run_id="r")]
    for event in events:
        await progress.on_event(event)
    assert [line[10:] for line in progress.stream.getvalue().splitlines()] == [  # type: ignore[attr-defined]  # a StringIO
        "check    quick: passed",
        "check    polite: FAILED (No.)",
    ]
