"""What checks find in a log whose times are written down."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import Event, RunStarted, StepFailed, StepSkipped, StepStarted, StepSucceeded, Workflow
from llmorch.checks import Assertion, Judged, TimeBound
from llmorch.engine.checks import findings
from llmorch.engine.services import Ending
from llmorch.engine.state.run import RunState
from llmorch.events import CheckFinished
from llmorch.models.check import AnyCheck
from llmorch.models.failure import Failure

SECOND = 1_000_000


def state_of(*checks: AnyCheck, events: list[Event]) -> RunState:
    """A run of `long`, `quick`, `off` and `end`."""
    workflow: Workflow[Any] = Workflow("w", checks=checks, on_error="skip")
    for name in ("long", "quick", "off"):
        workflow.add(lambda: 1, name=name)
    workflow.returns({"end": workflow.add(lambda long, quick: 1, name="end", after=["off"])})
    state = RunState(workflow.freeze())
    for seq, event in enumerate((RunStarted("w", at_us=10 * SECOND, run_id="r"), *events), 1):
        event.seq = seq
        state.apply(event)
    return state


def log(*, quick_s: float = 12, end_s: float = 15.5) -> list[Event]:
    return [
        StepSkipped("off", "its condition was not met", at_us=10 * SECOND),
        StepStarted("long", at_us=10 * SECOND),
        StepStarted("quick", at_us=11 * SECOND),
        StepSucceeded("quick", 2, at_us=int(quick_s * SECOND)),
        StepSucceeded("long", 1, at_us=15 * SECOND),
        StepStarted("end", at_us=15 * SECOND),
        StepSucceeded("end", 3, at_us=int(end_s * SECOND)),
    ]


def told(state: RunState, ending: Ending = "succeeded") -> list[tuple[bool, str]]:
    return [(event.passed, event.detail) for event in findings(state, ending)]


def test_time_bounds_hold_for_the_run_and_for_a_step() -> None:
    checks = (TimeBound(5.5, name="a"), TimeBound(5.4, name="b"), TimeBound(5, "long"), TimeBound(4.9, "long"))
    assert told(state_of(*checks, TimeBound(1, "off"), events=log())) == [
        (True, "the run took 5.500 s"),
        (False, "the run took 5.500 s"),
        (True, "'long' took 5.000 s"),
        (False, "'long' took 5.000 s"),
        (True, "'off' did not run"),
    ]


def test_the_time_that_judges_take_is_not_the_runs() -> None:
    state = state_of(TimeBound(5.5, name="a"), Judged("Good.", name="good"), events=log())
    state.apply(StepStarted("~check/good", at_us=16 * SECOND))
    state.apply(StepSucceeded("~check/good", {"passed": True, "reason": "Yes."}, at_us=99 * SECOND))
    assert told(state) == [(True, "the run took 5.500 s"), (True, "Yes.")]


def test_the_order_of_execution_is_that_in_which_steps_ended_and_ran() -> None:
    assertion = Assertion("execution_order == ['quick', 'long', 'end'] and 'off' not in results and duration == 5.5")
    assert told(state_of(assertion, events=log())) == [(True, "")]


def test_steps_that_ended_in_one_microsecond_stand_in_the_order_in_which_the_log_has_their_ends() -> None:
    assertion = Assertion("execution_order == ['quick', 'long', 'end']")
    assert told(state_of(assertion, events=log(quick_s=15, end_s=15))) == [(True, "")]


def test_a_step_that_failed_has_run() -> None:
    events = log()[:4]
    events += [StepFailed("long", Failure("ValueError", "no"), at_us=14 * SECOND)]
    state = state_of(Assertion("execution_order == ['quick', 'long']"), TimeBound(4, name="t"), events=events)
    assert told(state, "failed") == [(True, ""), (True, "the run took 4.000 s")]


def test_a_false_assertion_shows_what_it_read_but_not_all_of_it() -> None:
    text = "results.long == 'x' or results.end == 1 or status == 'no' or duration == 0 or output.end == execution_order"
    ((passed, detail),) = told(state_of(Assertion(text), events=log()))
    assert not passed
    assert detail.count(" is ") == 5  # "it is false", and four of them
    assert "duration is 5.5" in detail


@pytest.mark.parametrize("state", ["nothing", "started"])
def test_a_judge_that_has_not_answered_fails_its_check(state: str) -> None:
    run = state_of(Judged("Good.", name="good"), events=log())
    if state == "started":
        run.apply(StepStarted("~check/good", at_us=16 * SECOND))
    assert told(run) == [(False, "the time of the run was up before the model had answered")]
    assert told(run, "failed") == [(False, "not asked, because the run failed")]


def test_what_was_told_before_is_not_told_again_and_a_cancelled_run_is_told_nothing() -> None:
    run = state_of(TimeBound(1, name="a"), TimeBound(2, name="b"), events=log())
    assert findings(run, "cancelled") == []
    run.apply(CheckFinished("a", True, "as it was"))
    assert [event.check for event in findings(run, "succeeded")] == ["b"]


def test_a_check_that_the_workflow_does_not_have_is_no_step() -> None:
    with pytest.raises(KeyError):
        state_of(Judged("Good.", name="good"), events=log()).at("~check/bad")
    with pytest.raises(KeyError):
        state_of(events=log()).at("~check/good")
