"""Answers of people: which question is open, whether an answer fits, and leaving it for the run's owner."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from ._clock import now_us
from .definition.names import did_you_mean
from .errors import AlreadyAnswered, AnswerInvalid, LLMOrchError, NoSuchQuestion, ValueRefused
from .events import Event, RunFinished, StepAnswered, StepCancelled, StepFailed, StepWaiting
from .models.values import Data, to_data
from .ports import InboxItem, RunStore
from .schema import validate

__all__ = ["OnAsk", "Questions", "checked_on_ask", "consulting", "leave"]

OnAsk = Callable[[StepWaiting], Any]
"""Answers a question at once, or gives None to leave it open; plain or async."""
# Any: whatever the answer is, or an awaitable of it

_log = logging.getLogger("llmorch")


class Questions:
    """The questions of a run, as its log tells them: no code is needed to read them.

    Attributes:
        open: Path -> the question that waits for an answer there.
    """

    def __init__(self) -> None:
        self.open: dict[str, StepWaiting] = {}
        self._answered: set[str] = set()

    def see(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, StepWaiting):
            self.open[event.step] = event
            self._answered.discard(event.step)
        elif isinstance(event, StepAnswered | StepFailed | StepCancelled):
            found = self.open.pop(event.step, None)
            if found is not None and isinstance(event, StepAnswered):
                self._answered.add(event.step)
        elif isinstance(event, RunFinished):
            self.open.clear()

    def at(self, step: str, run_id: str) -> StepWaiting:
        """The open question of a step.

        Raises:
            AlreadyAnswered: It has its answer.
            NoSuchQuestion: The step asks nothing, or the time to answer is up.
        """
        found = self.open.get(step) or self.open.get(step.replace("_", "-"))
        if found is not None:
            if found.deadline is not None and found.deadline <= now_us():
                text = f"The time to answer the question of step {step!r} of run {run_id} is up"
                raise NoSuchQuestion(text, step=step, run_id=run_id)
            return found
        if step in self._answered:
            raise AlreadyAnswered(
                f"The question of step {step!r} of run {run_id} has its answer already; exactly one counts",
                step=step,
                run_id=run_id,
            )
        hint = did_you_mean(step, self.open) if self.open else "; it has no open question"
        raise NoSuchQuestion(f"Step {step!r} of run {run_id} asks nothing just now{hint}", step=step, run_id=run_id)


def fitting(question: StepWaiting, value: Any) -> Data:  # Any: whatever somebody answers
    """The answer as data that satisfies the recorded schema.

    Raises:
        AnswerInvalid: It does not; the text is for whoever answers.
    """
    try:
        data = to_data(value, where="the answer")
        validate(question.schema, data)
    except (ValueRefused, ValueError) as error:
        text = error.message if isinstance(error, LLMOrchError) else str(error)
        raise AnswerInvalid(
            f"This does not answer the question of step {question.step!r} ({question.question[:200]!r}): {text}; "
            "answer again",
            step=question.step,
            run_id=question.run_id or None,
        ) from error
    return data


async def leave(
    store: RunStore, question: StepWaiting, *, run_id: str, value: Any, by: str | None
) -> None:  # Any: as above
    """Check an answer and leave it for the run's owner: the first one counts.

    Raises:
        AnswerInvalid: It does not fit.
        AlreadyAnswered: Somebody was quicker.
    """
    data = fitting(question, value)
    try:
        await store.post(run_id, InboxItem("answer", question.step, question.seq or 0, data=data, at=now_us(), by=by))
    except AlreadyAnswered as error:
        raise AlreadyAnswered(
            f"The question of step {question.step!r} of run {run_id} has its answer already; exactly one counts",
            step=question.step,
            run_id=run_id,
        ) from error


def consulting(
    on_ask: OnAsk, answer: Callable[[StepWaiting, Any], Awaitable[None]]
) -> Callable[[StepWaiting], Awaitable[None]]:
    """Shows a question to `on_ask` and passes on what it says; what goes wrong leaves the question open.

    A plain function runs in a worker thread, one question after the other: it may read from a terminal.
    """
    turn = anyio.Lock()

    async def consult(question: StepWaiting) -> None:
        try:
            if inspect.iscoroutinefunction(on_ask):
                value = await on_ask(question)
            else:
                async with turn:
                    (value,) = await anyio.to_thread.run_sync(partial(_said, on_ask, question), abandon_on_cancel=True)
                if inspect.isawaitable(value):
                    value = await value
            if value is not None:
                await answer(question, value)
        except AlreadyAnswered:
            pass  # somebody else was quicker
        except Exception as error:  # user code may raise anything
            _log.warning(
                "run %s: on_ask did not answer step %r, so its question stays open: %s: %s",
                question.run_id, question.step, type(error).__name__, error, exc_info=error,
            )  # fmt: skip

    return consult


def _said(on_ask: OnAsk, question: StepWaiting) -> tuple[Any]:  # Any: what it says, or an awaitable of it
    """What a plain function says; wrapped, because trio lets no thread give a coroutine back."""
    return (on_ask(question),)


def checked_on_ask(on_ask: object) -> OnAsk | None:
    """The function.

    Raises:
        TypeError: It is none.
    """
    if on_ask is None:
        return None
    if not callable(on_ask):
        raise TypeError(f"on_ask= takes a function of a question (StepWaiting), not {type(on_ask).__name__}")
    return on_ask
