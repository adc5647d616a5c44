"""The tasks of one run: a task group, or a cheaper stand-in for a run that never needs a second task."""

from __future__ import annotations

from types import TracebackType
from typing import cast

from .. import _wake
from ..definition.actions import QuestionAction
from .state.run import RunState

__all__ = ["Alone", "bare", "is_lone"]


class Alone:
    """Stands for the task group of a run that needs no second task, at a third of its cost and memory."""

    __slots__ = ("cancel_scope",)

    def __init__(self) -> None:
        self.cancel_scope = _wake.cancel_scope()

    async def __aenter__(self) -> Alone:
        self.cancel_scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return bool(self.cancel_scope.__exit__(kind, error, trace))


def is_lone(state: RunState) -> bool:
    """Whether the run is one step that is no container: nothing is ever done beside it."""
    steps = state.frame.compiled.steps
    if len(steps) != 1 or state.definition.checks:
        return False
    step, definition = steps[0], steps[0].definition
    if not step.is_leaf or step.may_ask or definition.map is not None or definition.on_unknown == "ask":
        return False
    return not isinstance(definition.action, QuestionAction)


def bare(error: BaseException) -> BaseException:
    """The first error of a group, at any depth."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
