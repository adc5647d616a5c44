"""The fold of loops: which iteration is next, and what it is run with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...definition.actions import LoopAction
from ...events import Event, LoopTurned
from ...models.values import Data
from .frame import END, TURN
from .step import LoopState, StepState

if TYPE_CHECKING:
    from .run import RunState

__all__ = ["LOOP_FOLDS", "end_iteration", "loop_result", "loop_rule", "open_loop"]


def loop_rule(state: StepState) -> LoopAction:
    """What a loop repeats, and how."""
    action = state.step.definition.action
    assert isinstance(action, LoopAction)
    return action


def open_loop(run: RunState, state: StepState) -> None:
    """A loop has started: its first iteration is due."""
    state.loop = LoopState()
    run.ready.append((state, 0))


def _turned(run: RunState, event: LoopTurned) -> None:
    state = run.at(event.step)
    loop = state.loop
    assert loop is not None
    loop.turned = event.iteration + 1
    loop.finished = event.finished
    loop.carried.append(event.carried)
    is_over = event.finished or loop.turned >= loop_rule(state).max_iterations
    run.ready.append((state, END if is_over else loop.turned))


def end_iteration(run: RunState, owner: StepState, status: str) -> None:
    """An iteration has ended: it is to be judged, or it ends its loop."""
    run.ready.append((owner, TURN if status == "succeeded" else END))


def loop_result(state: StepState) -> Data:
    """The last output."""
    assert state.loop is not None
    return state.loop.items[state.loop.turned - 1].value


LOOP_FOLDS: Final[Mapping[type[Event], Callable[[Any, Any], None]]] = {LoopTurned: _turned}  # Any: state and its event
