"""The models that are asked about a run when its steps have ended: a frame beside that of the workflow.

Its steps have paths that no step of a workflow can have, and their calls stand in the log like any other, so a
judgement is recorded, paid for, taken up again and adopted just as the result of a step is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...definition.checks import CHECKS, judging
from ...models.values import Data
from ...planner.compile import compiled
from ...planner.resolve import Broken, Mark
from .frame import Frame, Ready
from .step import StepState

if TYPE_CHECKING:
    from .run import RunState

__all__ = ["asks_models", "fill", "judge_at", "judges_again", "values_of"]


def judge_at(run: RunState, path: str) -> StepState:
    """The state of the step that asks about a check.

    Raises:
        KeyError: The definition has no such check.
    """
    frame = _judges(run)
    name = path.removeprefix(CHECKS)
    if frame is None or name not in frame.compiled.slots:
        raise KeyError(path)
    return run.begin(frame, frame.compiled.slots[name] - len(frame.compiled.definition.inputs))


def _judges(run: RunState) -> Frame | None:
    """The frame of the steps that ask; None when no check asks a model.

    The log may name one of them before the workflow has ended: a call that was made before other steps were run again.
    So nothing here is ready by itself.
    """
    if run.judges is None:
        definition = judging(run.definition)
        if definition is None:
            return None
        run.judges = Frame(compiled(definition), ready=Ready(), inputs={}, prefix=CHECKS)
        fill(run, run.judges)
    return run.judges


def fill(run: RunState, frame: Frame) -> None:
    """Give those steps what they may read of the run, as far as it is there."""
    top = run.frame
    if top.open > 0:
        return
    for name, slot in frame.compiled.slots.items():
        if name == "output":
            frame.values[slot] = top.result()
        elif name == "inputs":
            frame.values[slot] = dict(run.inputs)
        elif name == "results":
            frame.values[slot] = values_of(top)


def values_of(frame: Frame) -> dict[str, Data]:
    """Step name -> value, for the steps of a workflow that have one; nobody may change them."""
    found = ((step.name, frame.values[step.slot]) for step in frame.compiled.steps)
    return {name: value for name, value in found if type(value) not in (Mark, Broken)}


def asks_models(run: RunState) -> bool:
    """Have the models asked that have not answered yet, now that the steps have ended; False when there are none."""
    frame = _judges(run)
    if frame is None or frame.open == 0:
        return False
    if frame.ready is not run.ready:
        fill(run, frame)
        frame.ready = run.ready
        for index in range(len(frame.compiled.steps)):
            run.ready.append((frame, index))
    return True


def judges_again(run: RunState, *, all_of_them: bool) -> list[str]:
    """Paths of the steps that ask once more when the run is taken up again.

    Args:
        all_of_them: Those that have answered, too: they were asked about something else.
    """
    frame = run.judges
    if frame is None:
        return []
    states = [state for state in frame.inside(run.steps) if state.status != "pending"]
    return [state.path for state in states if all_of_them or state.status != "succeeded"]
