"""What holds other steps: maps, loops, nested workflows and the run itself; how they end, and how they are stopped."""

from __future__ import annotations

from typing import Literal

from .._clock import now_us
from ..errors import BudgetExceeded, TimedOut
from ..events import LoopTurned, MapExpanded, StepCancelled, StepFailed, StepSkipped, StepStarted, StepSucceeded
from ..models.failure import Failure, failure_of
from ..models.values import Data
from ..planner.resolve import LOST, UNDECIDED, Mark
from .asking import Asking
from .journal import Journal
from .services import Conductor
from .state.arguments import item_count
from .state.frame import Frame
from .state.loops import loop_rule
from .state.questions import people_us
from .state.run import RunState
from .state.step import OVERDUE, StepState, Stop
from .state.stop import in_flight, wind_down
from .steps.loop import exhausted, judged
from .timers import NO_TIMERS, Timers

__all__ = ["Containers", "too_long"]


class Containers:
    """Opens and closes what holds other steps."""

    __slots__ = ("_asking", "conductor", "journal", "state", "timers")

    def __init__(self, state: RunState, journal: Journal, conductor: Conductor) -> None:
        self.state = state
        self.journal = journal
        self.conductor = conductor
        self.timers = NO_TIMERS
        self._asking: Asking | None = None  # most runs ask nobody

    @property
    def asking(self) -> Asking:
        """What the run does with questions."""
        if self._asking is None:
            self._asking = Asking(
                self.state, self.journal, self.conductor, fail=self.fail, timers=lambda: self._own_timers
            )
        return self._asking

    def fail(self, state: StepState, error: Exception) -> None:
        """Record a failure; a budget that ran out ends the whole run, unless it was only being judged."""
        failure = failure_of(error, step=state.path)
        status = "running" if self.state.status == "waiting" else None  # the time of a question is up
        self.journal.append(StepFailed(state.path, failure), status=status)
        if isinstance(error, BudgetExceeded) and state.frame is not self.state.judges:
            self.conductor.abort(failure)

    def _skip(self, state: StepState, reason: str) -> None:
        self.journal.append(StepSkipped(state.path, reason))

    def _open_map(self, state: StepState, args: dict[str, Data]) -> None:
        width = item_count(args, state.step.each, state.path)
        self.journal.append(StepStarted(state.path))
        self.journal.append(MapExpanded(state.path, width))
        self.watch(state)

    def _end_map(self, state: StepState) -> None:
        """All items of a map have ended, or one failed under "fail" and the rest has drained."""
        items = state.map
        if items is None or state.finished_us is not None or items.active > 0:
            return
        failure = items.failure
        if failure is None and state.on_error == "skip" and items.failed and items.failed == len(items.items):
            failure = next(item.error for item in items.items if item is not None and item.error is not None)
        self._close_container(state, "succeeded", failure)

    def _turn(self, owner: StepState) -> None:
        """An iteration has succeeded: record what is to be made of it."""
        loop = owner.loop
        assert loop is not None
        index = loop.turned
        if owner.finished_us is not None or index >= len(loop.items) or loop.items[index].status != "succeeded":
            return  # it was judged before the run was taken up again
        try:
            finished, carried = judged(owner, index)
        except Exception as error:  # a rule may raise anything
            self.fail(owner, error)
            return
        self.journal.append(LoopTurned(owner.path, index, finished, carried))

    def _end_loop(self, state: StepState) -> None:
        """The last iteration has ended, well or badly, or no further one may begin."""
        loop = state.loop
        if loop is None or state.finished_us is not None or any(item.finished_us is None for item in loop.items):
            return
        last = loop.items[-1] if loop.items else None
        failure = last.error if last is not None and last.status == "failed" else None
        action = loop_rule(state)
        is_exhausted = loop.turned >= action.max_iterations and not loop.finished
        if failure is None and is_exhausted and action.on_exhausted == "fail":
            failure = failure_of(exhausted(state, action), step=state.path)
        is_skipped = last is None or last.status == "skipped"
        self._close_container(state, "skipped" if is_skipped else "succeeded", failure)

    def _end_frame(self, frame: Frame) -> None:
        """A workflow has ended: the run itself, or a step of the workflow around it."""
        parent = frame.parent
        if parent is None:
            _, failure = _outcome(self.state.frame, self.state)
            if failure is not None:
                self.conductor.finish("failed", failure)
            elif not (self.state.definition.checks and _judged(self.state)):
                self.conductor.finish("partial" if self.state.failed else "succeeded", None)
        elif parent.finished_us is None:
            self._close_container(parent, *_outcome(frame, self.state))

    def _close_container(
        self, state: StepState, ending: Literal["succeeded", "skipped"], failure: Failure | None
    ) -> None:
        self.timers.stop(state.path)
        if state.stopping is not None:
            self._cancelled(state)
        elif failure is not None:
            self.journal.append(StepFailed(state.path, failure))
        elif ending == "skipped":
            self._skip(state, "its output was skipped")
        else:
            self.journal.append(StepSucceeded(state.path))

    def _stop_rest(self, frame: Frame) -> None:
        """A `first_n(cancel_rest=True)` has its values: stop the candidates that nothing else needs."""
        for selection in frame.compiled.selections:
            if selection.expendable and frame.values[selection.slot] is not UNDECIDED:
                for index in selection.expendable:
                    state = self.state.begin(frame, index)
                    if state.finished_us is None:
                        self._stop(state, "not needed")

    def _stop(self, state: StepState, reason: str) -> None:
        """Cancel one step. Leaves record that when they are out, containers when all inside are."""
        if state.status == "pending":
            self.journal.append(StepCancelled(state.path, reason))
            return
        for inner in (*in_flight(self.state.steps.values(), below=state), state):
            if inner.stopping is None:
                inner.stopping = Stop(reason, None if inner is state else state.path)
            if inner.scope is not None:
                inner.scope.cancel()
            elif inner.status == "waiting":  # for a person, and no task does
                self.asking.close(inner)
                self._cancelled(inner)
            else:
                wind_down(inner, self.state.ready)

    def _cancelled(self, state: StepState) -> None:
        """Record that a step has been stopped."""
        stop = state.stopping
        assert stop is not None
        if stop.is_overdue:
            self.fail(state, too_long(state))
        else:
            self.journal.append(StepCancelled(state.path, stop.reason, stop.within))

    def go_on_with(self, state: StepState) -> None:
        """See to a container that was open when the run was taken up: bound its time, or go on stopping it."""
        if state.stopping is None:
            self.watch(state)
        else:
            self._stop(state, state.stopping.reason)

    def drop(self, state: StepState) -> None:
        """Nobody needs the answer to a question any more, nor what holds it inside the workflow that has failed."""
        while (holder := state.owner or (None if state.frame.closed else state.frame.parent)) is not None:
            state = holder
        if state.finished_us is None:
            self._stop(state, "its workflow has failed")

    @property
    def _own_timers(self) -> Timers:
        if self.timers is NO_TIMERS:
            self.timers = Timers(self.conductor.beside, self.conductor.call_help)
        return self.timers

    def watch(self, state: StepState) -> None:
        """Bound a container's time, where its step has a timeout."""
        limit_s = state.step.definition.timeout
        if limit_s is not None:
            self._watch(state, limit_s, people_us(state, self.state, now_us()))

    def _watch(self, state: StepState, left_s: float, known_us: int) -> None:
        """Stop the container after so long; the time that people have taken since does not count."""

        def fire() -> None:
            if state.finished_us is not None:
                return
            now = people_us(state, self.state, now_us())
            if now > known_us:
                self._watch(state, (now - known_us) / 1_000_000, now)
            else:
                self._stop(state, OVERDUE)

        self._own_timers.start(state.path, left_s, fire)


def _judged(run: RunState) -> bool:
    """Have models asked about the run, where its checks want that; False when that is done."""
    from .state.judging import asks_models  # most workflows have no checks, and none of their cost

    return asks_models(run)


def too_long(state: StepState) -> TimedOut:
    limit = state.step.definition.timeout
    return TimedOut(f"Step {state.path!r} took longer than its timeout of {limit:g} s; raise timeout=", step=state.path)


def _outcome(frame: Frame, run: RunState) -> tuple[Literal["succeeded", "skipped"], Failure | None]:
    """How a workflow that has nothing left to do ends."""
    if frame.failure is not None:
        return "succeeded", frame.failure
    try:
        result = frame.result()
    except Exception as error:  # the output names a part its value lacks: the workflow's failure
        return "succeeded", failure_of(error, step=frame.parent.path if frame.parent is not None else None)
    if result is LOST:
        return "succeeded", next(step.error for step in frame.inside(run.steps) if step.error is not None)
    return ("skipped" if isinstance(result, Mark) else "succeeded"), None
