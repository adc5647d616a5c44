"""Which questions of a log are open, and what may answer them, without any code of the workflow."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import (
    AlreadyAnswered,
    AnswerInvalid,
    NoSuchQuestion,
    RunFinished,
    StepAnswered,
    StepCancelled,
    StepFailed,
    StepSucceeded,
    StepWaiting,
)
from llmorch._clock import now_us
from llmorch.answers import Questions, checked_on_ask, fitting
from llmorch.models.failure import Failure

NUMBER = {"type": "integer"}


def asked(step: str = "q", seq: int = 3, **fields: Any) -> StepWaiting:
    return StepWaiting(step, "How many?", NUMBER, run_id="r", seq=seq, **fields)


def after(*events: Any) -> Questions:
    found = Questions()
    for event in events:
        found.see(event)
    return found


def test_a_question_is_open_from_its_event_to_its_answer() -> None:
    question = asked()
    assert after(question).at("q", "r") is question
    with pytest.raises(AlreadyAnswered, match="exactly one counts") as caught:
        after(question, StepAnswered("q", 3), StepSucceeded("q")).at("q", "r")
    assert (caught.value.step, caught.value.run_id) == ("q", "r")


def test_what_is_asked_again_is_open_again() -> None:
    again = asked(seq=9)
    assert after(asked(), StepAnswered("q", 3), again).at("q", "r") is again


@pytest.mark.parametrize(
    "end", [StepFailed("q", Failure("TimedOut", "late")), StepCancelled("q"), RunFinished("failed")]
)
def test_what_ended_without_an_answer_asks_nothing(end: Any) -> None:
    with pytest.raises(NoSuchQuestion, match="asks nothing just now"):
        after(asked(), end).at("q", "r")


def test_a_wrong_name_is_told_the_right_one() -> None:
    with pytest.raises(NoSuchQuestion, match=r"did you mean 'keep\[1\]'"):
        after(asked("keep[1]"), asked("other")).at("keep[2]", "r")
    assert after(asked("by-hand")).at("by_hand", "r").step == "by-hand"


def test_after_its_time_nothing_counts() -> None:
    assert after(asked(deadline=now_us() + 60_000_000)).at("q", "r")
    with pytest.raises(NoSuchQuestion, match=r"The time to answer .* is up"):
        after(asked(deadline=now_us() - 1)).at("q", "r")


def test_an_answer_is_data_that_satisfies_the_recorded_schema() -> None:
    assert fitting(asked(), 3) == 3
    with pytest.raises(AnswerInvalid, match=r"'q' \('How many\?'\): .*integer.*; answer again") as caught:
        fitting(asked(), "three")
    assert (caught.value.step, caught.value.run_id) == ("q", "r")
    with pytest.raises(AnswerInvalid, match="the answer"):
        fitting(StepWaiting("q", "What?", {}), object())


def test_who_is_asked_at_once_is_a_function() -> None:
    assert checked_on_ask(None) is None
    assert checked_on_ask(print) is print
    with pytest.raises(TypeError, match="not str"):
        checked_on_ask("yes")
