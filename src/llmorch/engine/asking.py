"""Questions of a run: they are asked, answered, given up when nobody answers in time or nobody needs them any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._clock import now_us
from ..definition.actions import QuestionAction
from ..errors import AnswerInvalid, StepError, TimedOut
from ..events import RunWaiting, StepAnswered, StepSucceeded, StepWaiting
from ..models.question import APPROVAL_SCHEMA
from ..models.values import Data, to_data
from ..schema import validate
from .journal import Journal
from .services import Conductor
from .state.frame import Frame
from .state.run import RunState
from .state.step import StepState
from .timers import Timers

if TYPE_CHECKING:
    from ..models.message import ToolCall

__all__ = ["Asking", "unknown_question"]

_MICROSECONDS = 1_000_000


class Asking:
    """What a run does with its questions.

    Args:
        fail: Records that a step has failed.
        timers: Gives the run's timers, made when first asked for.
    """

    __slots__ = ("_conductor", "_fail", "_journal", "_state", "_timers")

    def __init__(
        self,
        state: RunState,
        journal: Journal,
        conductor: Conductor,
        *,
        fail: Callable[[StepState, Exception], None],
        timers: Callable[[], Timers],
    ) -> None:
        self._state = state
        self._journal = journal
        self._conductor = conductor
        self._fail = fail
        self._timers = timers

    def ask(self, state: StepState, action: QuestionAction, args: dict[str, Any]) -> None:
        """Ask what a step asks; the template may fail on these values."""
        limit_s = state.step.definition.timeout
        deadline = None if limit_s is None else now_us() + int(limit_s * _MICROSECONDS)
        question = StepWaiting(
            state.path, action.question.render_data(args), action.question.schema_data, deadline=deadline
        )
        self._open(state, question)

    def ask_grant(self, state: StepState, number: int, call: ToolCall) -> None:
        """Ask whether a tool may be used.

        Args:
            number: Of the request whose answer asked for it.
        """
        text = f"Step {state.path!r} wants to use the tool {call.name!r} with {call.arguments or '{}'}. May it?"
        self._open(state, StepWaiting(state.path, text, APPROVAL_SCHEMA, about="tool", call=number, use=call.id))

    def _open(self, state: StepState, question: StepWaiting) -> None:
        self._journal.append(question)
        self.watch(state)

    def watch(self, state: StepState) -> None:
        """See to an open question: to its deadline, and that it is shown to who answers at once."""
        question = state.question
        if question is None:
            return
        if self._bound(state, question):
            self._conductor.asked(question)

    def _bound(self, state: StepState, question: StepWaiting) -> bool:
        """Have a question end in time; False when its time is up, and it has ended."""
        if question.deadline is None:
            return True
        left_s = (question.deadline - now_us()) / _MICROSECONDS
        if left_s <= 0:  # at once, for a run that only waits is given up before a timer could fire
            self._expire(state, question)
            return False
        self._timers().start(_timer(state), left_s, lambda: self._expire(state, question))
        return True

    def pause(self) -> None:
        """Let no time be up while the run is given up: who goes on with it sees to that."""
        for path in self._state.questions or ():
            self.close(self._state.steps[path])

    def go_on(self) -> None:
        """The run was not given up after all."""
        for path, question in tuple((self._state.questions or {}).items()):
            self._bound(self._state.steps[path], question)

    def _expire(self, state: StepState, question: StepWaiting) -> None:
        if state.question is question and state.status == "waiting":
            limit_s = state.step.definition.timeout or 0
            text = f"Step {state.path!r}: nobody answered within {limit_s:g} s; raise timeout=, or resume to ask again"
            self.close(state)
            self._fail(state, TimedOut(text, step=state.path))

    def expire(self, now: int) -> None:
        """Give up the questions that had to be answered by then."""
        for path, question in tuple((self._state.questions or {}).items()):
            if question.deadline is not None and question.deadline <= now:
                self._expire(self._state.steps[path], question)

    def close(self, state: StepState) -> None:
        """Forget its deadline."""
        self._timers().stop(_timer(state))

    def answer(self, state: StepState, value: Data, by: str | None) -> None:
        """Record the answer to the question that a step has open."""
        question = state.question
        assert question is not None
        self.close(state)
        status = "running" if self._state.status == "waiting" else None
        if question.about == "step":
            try:
                value = _fitting(state, value)
            except ValueError as error:
                text = f"Step {state.path!r}: the answer does not fit: {error}; resume the run to ask again"
                self._journal.append(StepAnswered(state.path, value, by), status=status)
                self._fail(state, AnswerInvalid(text, step=state.path))
                return
        self._journal.append(StepAnswered(state.path, value, by), status=status)
        if question.about == "step":
            self._journal.append(StepSucceeded(state.path))
        elif question.about == "unknown" and value != "retry":
            text = f"Step {state.path!r} was in flight when its process ended, and a person said not to run it again"
            self._fail(state, StepError(text, step=state.path))

    def hopeless(self) -> list[StepState]:
        """Steps with open questions whose workflow has failed, so that no answer is of use."""
        states = [self._state.steps[path] for path in self._state.questions or ()]
        return [state for state in states if _is_over(state)]

    def waiting(self) -> tuple[RunWaiting, int | None]:
        """What says that nothing goes on before somebody answers, and when the first deadline is."""
        questions = self._state.questions or {}
        deadlines = [question.deadline for question in questions.values() if question.deadline is not None]
        return RunWaiting(tuple(questions)), min(deadlines, default=None)


def _timer(state: StepState) -> str:
    return f"{state.path}?"  # a container at the same path has a timer of its own


def _is_over(state: StepState) -> bool:
    frame: Frame | None = state.frame
    while frame is not None:
        if frame.closed:
            return True
        frame = frame.parent.frame if frame.parent is not None else None
    return False


def _fitting(state: StepState, value: Data) -> Data:
    """The answer in the form in which dependents get it, with the defaults of its type."""
    action = state.step.definition.action
    if not isinstance(action, QuestionAction):
        return value
    return to_data(validate(action.question.answer, value), step=state.path)


def unknown_question(path: str) -> StepWaiting:
    """What to do with a step that was in flight when its process ended."""
    text = (
        f"Step {path!r} was in flight when its process ended, and nobody knows what it has done. "
        "See what it did; then answer 'retry' to run it again, or 'fail'."
    )
    return StepWaiting(path, text, {"type": "string", "enum": ["retry", "fail"]}, about="unknown")
