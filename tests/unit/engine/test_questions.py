"""What a log with questions folds to."""

from __future__ import annotations

from typing import Any

from llmorch import (
    Event,
    Payload,
    RunStarted,
    RunWaiting,
    StepAnswered,
    StepCancelled,
    StepStarted,
    StepSucceeded,
    StepWaiting,
    Workflow,
)
from llmorch.engine.state.questions import people_us
from llmorch.engine.state.resume import folded
from llmorch.engine.state.run import RunState
from llmorch.events import RunResumed

SECOND = 1_000_000


def workflow() -> Workflow[Any]:
    inner: Workflow[Any] = Workflow("inner")
    inner.returns(inner.ask("q", "Inside?"))
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("use", "Go."))
    return wf.returns([wf.ask("q", "Well?"), wf.add(inner)])


def state_of(*events: Event) -> RunState:
    """The events, one second apart."""
    numbered = (RunStarted("w", run_id="r"), *events)
    for number, event in enumerate(numbered, 1):
        event.seq, event.at_us = number, number * SECOND
    return folded(workflow().freeze(), numbered)


def test_an_open_question_makes_its_step_wait() -> None:
    state = state_of(StepStarted("q"), StepWaiting("q", "Well?"))
    assert state.steps["q"].status == "waiting"
    assert list(state.questions or ()) == ["q"]
    assert state.status == "running"


def test_the_answer_is_the_value_of_the_step_and_stands_once_in_the_log() -> None:
    state = state_of(StepStarted("q"), StepWaiting("q", "Well?"), StepAnswered("q", "yes"), StepSucceeded("q"))
    assert (state.steps["q"].status, state.steps["q"].value) == ("succeeded", "yes")
    assert not state.questions


def test_a_run_that_waits_says_so_and_goes_on_with_the_answer() -> None:
    events = [StepStarted("q"), StepWaiting("q", "Well?"), RunWaiting(("q",))]
    assert state_of(*events).status == "waiting"
    assert state_of(*events, RunResumed(2)).status == "running"
    assert state_of(*events, StepAnswered("q", "yes")).status == "running"


def test_the_time_that_a_run_waits_is_not_spent() -> None:
    state = state_of(StepStarted("q"), StepWaiting("q", "Well?"), RunWaiting(("q",)))
    assert state.spent_us == 3 * SECOND
    events = [StepStarted("q"), StepWaiting("q", "Well?"), RunWaiting(("q",))]
    state = state_of(*events, RunResumed(2), StepAnswered("q", "x"), RunWaiting(()))
    assert state.spent_us == 3 * SECOND + 2 * SECOND


def test_people_have_had_what_they_answered_and_what_is_open() -> None:
    state = state_of(StepStarted("inner"), StepStarted("inner/q"), StepWaiting("inner/q", "?"))
    assert people_us(state.steps["inner"], state, 9 * SECOND) == 5 * SECOND
    asked = [StepStarted("inner"), StepStarted("inner/q"), StepWaiting("inner/q", "?")]
    state = state_of(*asked, StepAnswered("inner/q", "x"), StepSucceeded("inner/q"))
    assert people_us(state.steps["inner"], state, 9 * SECOND) == SECOND


def test_a_cancelled_question_is_open_no_more() -> None:
    state = state_of(StepStarted("q"), StepWaiting("q", "Well?"), StepCancelled("q", "not needed"))
    assert not state.questions
    assert state.steps["q"].status == "cancelled"


def test_what_is_allowed_is_allowed_for_one_use_of_one_request() -> None:
    state = state_of(
        StepStarted("use"), StepWaiting("use", "May it?", about="tool", call=1, use="a"), StepAnswered("use", True)
    )
    assert state.steps["use"].status == "running"
    assert state.steps["use"].granted == {(1, "a"): True}


def test_retry_makes_a_step_as_if_it_had_not_begun() -> None:
    state = state_of(StepStarted("use"), StepWaiting("use", "?", about="unknown"), StepAnswered("use", "retry"))
    assert state.steps["use"].status == "pending"
    assert state.steps["use"].frame.active == 0
    due = list[Any]()
    while state.ready.left:
        due.append(state.ready.popleft())
    assert (state.frame, state.steps["use"].step.index) in due[-1:]
