"""The fold of questions to people: which are open, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...events import Event, RunWaiting, StepAnswered, StepWaiting
from .calls import lose_call
from .frame import AGAIN
from .step import StepState

if TYPE_CHECKING:
    from .run import RunState

__all__ = ["QUESTION_FOLDS", "close_question", "people_us"]


def _waiting(run: RunState, event: StepWaiting) -> None:
    state = run.at(event.step)
    state.question = event
    if state.status == "running":  # else it is only remembered: the step begins anew, and asks once more if it must
        state.status = "waiting"
        if run.questions is None:
            run.questions = {}
        run.questions[event.step] = event


def close_question(run: RunState, state: StepState, at_us: int) -> None:
    """A question is open no more, so the run goes on; the time it was is nobody's but the person's."""
    if run.questions is not None and run.questions.pop(state.path, None) is not None and state.question is not None:
        state.people_us += at_us - state.question.at_us
        if run.status == "waiting":
            run.status = "running"


def _answered(run: RunState, event: StepAnswered) -> None:
    state = run.at(event.step)
    question = state.question
    close_question(run, state, event.at_us)
    if question is None:
        return
    if question.about == "tool":
        state.granted = {**(state.granted or {}), (question.call, question.use or ""): event.value}
        if state.status == "waiting":
            state.status = "running"
            run.ready.append((state, AGAIN))
    elif question.about == "unknown":
        if event.value == "retry":
            _begin_anew(run, state)
    else:
        state.value = event.value


def _begin_anew(run: RunState, state: StepState) -> None:
    """A step that was in flight when its process ended is as if it had not begun; what was paid for stays."""
    state.since = state.call_count
    lose_call(run, state)
    state.status, state.args = "pending", None
    owner = state.owner
    if owner is None:
        state.frame.active -= 1
        run.ready.append((state.frame, state.step.index))
    else:
        if owner.map is not None:
            owner.map.active -= 1
        run.ready.append((owner, state.item or 0))


def people_us(state: StepState, run: RunState, now_us: int) -> int:
    """How long people have had questions that stand inside a container, in microseconds."""
    inside = tuple(f"{state.path}{mark}" for mark in "/[@")
    found = 0
    for step in run.steps.values():
        if step.path.startswith(inside):
            found += step.people_us
            if step.status == "waiting" and step.question is not None:
                found += now_us - step.question.at_us
    return found


def _run_waiting(run: RunState, event: RunWaiting) -> None:
    run.status = "waiting"
    run.spent_us += event.at_us - run.since_us
    run.since_us = event.at_us


QUESTION_FOLDS: Final[Mapping[type[Event], Callable[[Any, Any], None]]] = {  # Any: the state, and its event
    StepWaiting: _waiting,
    StepAnswered: _answered,
    RunWaiting: _run_waiting,
}
