"""Taking a run up again: what runs once more, and the state without it.

No code is replayed. What is recorded is taken as it is; steps that failed, were cancelled or were in flight run again.
`RunResumed` names them, so whoever reads the log later folds it to the same state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...definition.actions import FunctionAction, ScriptAction
from ...definition.node import refs_in
from ...definition.workflow import StepDef, WorkflowDef
from ...events import (
    CallFinished,
    CallStarted,
    CheckFinished,
    Event,
    LoopTurned,
    MapExpanded,
    RunCancelRequested,
    RunFinished,
    RunResumed,
    StepAnswered,
    StepStarted,
    StepWaiting,
    ToolFinished,
    ToolStarted,
)
from ...planner.resolve import LOST
from .frame import Frame
from .run import RunState
from .step import StepState

__all__ = ["Folding", "folded", "in_flight_of", "is_unknown", "reset_of", "without"]

_ENDS = (RunFinished, RunCancelRequested)
_LEDGER = (CallStarted, CallFinished, ToolStarted, ToolFinished)  # what was paid for, and what has happened
_OPENS = (StepStarted, MapExpanded, LoopTurned)


class Folding:
    """A log that is folded event by event, however often the run was taken up again.

    Attributes:
        state: What it comes to so far.
    """

    __slots__ = ("_history", "state")

    def __init__(self, definition: WorkflowDef) -> None:
        self.state = RunState(definition)
        self._history: list[Event] = []

    def take(self, event: Event) -> None:
        """Take the next event in."""
        state = self.state
        if isinstance(event, RunResumed) and (event.reset or state.finished_us is not None or state.cancel_requested):
            self._history = without(state, self._history, event.reset)
            self.state = RunState(state.definition)
            for kept in self._history:
                self.state.apply(kept)
        self.state.apply(event)
        self._history.append(event)


def folded(definition: WorkflowDef, events: Iterable[Event]) -> RunState:
    """The state after a whole log."""
    folding = Folding(definition)
    for event in events:
        folding.take(event)
    return folding.state


def without(state: RunState, history: Sequence[Event], reset: Iterable[str]) -> list[Event]:
    """The log as if the reset steps had never ended: of containers the end goes, of other steps everything but calls.

    Args:
        state: What the history folds to.
    """
    gone = set(reset)
    about: dict[str, str] = {}
    ends = (*_ENDS, CheckFinished) if gone or state.finished_us is not None else _ENDS  # asked about something else
    containers = {path for path in gone if (step := state.steps.get(path)) is not None and _is_container(step)}
    kept: list[Event] = []
    for event in history:
        path: str | None = getattr(event, "step", None)
        if isinstance(event, ends):
            continue
        if isinstance(event, StepWaiting):
            about[event.step] = event.about
        is_grant = isinstance(event, StepWaiting | StepAnswered) and about.get(event.step) == "tool"
        stays = _LEDGER + _OPENS if path in containers else _LEDGER
        if path not in gone or is_grant or isinstance(event, stays):
            kept.append(event)
    return kept


def in_flight_of(state: RunState) -> tuple[str, ...]:
    """Paths of the steps that were being carried out when their process ended; whatever has ended stays as it is."""
    return tuple(step.path for step in state.steps.values() if step.status == "running" and not _is_container(step))


def is_unknown(step: StepState, *, policy: str) -> bool:
    """Whether nobody knows what a step in flight has done, and its `on_unknown` is this policy."""
    if step.status != "running" or _on_unknown(step) != policy:
        return False
    action = step.step.definition.action
    if isinstance(action, FunctionAction):
        return not action.pure
    if isinstance(action, ScriptAction):
        return not action.script.pure
    if any(tool.finished_us is None for tool in step.tools or ()):
        return True
    return step.is_asking


def _on_unknown(step: StepState) -> str:
    """What the step says, or the nearest step around it that says more than the default."""
    around: StepState | None = step
    while around is not None and around.step.definition.on_unknown == "retry":
        around = around.frame.parent
    return "retry" if around is None else around.step.definition.on_unknown


def reset_of(state: RunState) -> tuple[str, ...]:
    """Paths of the steps that run again, and of the containers that end again."""
    found: list[str] = []
    _in_frame(state.frame, state, found)
    if state.judges is not None:
        from .judging import judges_again

        found += judges_again(state, all_of_them=bool(found))
    return tuple(found)


def _in_frame(frame: Frame, run: RunState, found: list[str]) -> None:
    for step in frame.inside(run.steps):
        if step.status in ("pending", "succeeded"):
            continue
        if step.status == "skipped":
            if frame.values[step.step.slot] is LOST and not _is_used(step, run):
                found.append(step.path)
        elif step.status == "failed" and step.on_error != "fail" and _is_used(step, run):
            pass  # a recorded result rests on what became of it
        elif step.status != "cancelled" or step.reason != "not needed":
            _in_step(step, run, found)


def _in_step(step: StepState, run: RunState, found: list[str]) -> None:
    if step.path in (run.questions or ()):
        return  # its answer may be under way
    if not _is_container(step):
        found.append(step.path)
        return
    if step.finished_us is not None:
        found.append(step.path)
    items = step.map.items if step.map is not None else step.loop.items if step.loop is not None else ()
    for item in items:
        if item is not None and item.status not in ("pending", "succeeded", "skipped"):
            _in_step(item, run, found)
    if step.child is not None:
        _in_frame(step.child, run, found)


def _is_container(step: StepState) -> bool:
    return step.is_container


def _is_used(step: StepState, run: RunState) -> bool:
    """Whether a step that reads it has succeeded, or was opened and keeps what is inside it."""
    return any(
        (other.status == "succeeded" or _is_container(other)) and _reads(other.step.definition, step.step.name)
        for other in step.frame.inside(run.steps)
    )


def _reads(definition: StepDef, name: str) -> bool:
    bindings = [*definition.bindings.values(), *(definition.when.bindings.values() if definition.when else ())]
    return any(ref.source == name for binding in bindings for ref in refs_in(binding))
