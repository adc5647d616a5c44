"""What happens to a thing that is ready: it is skipped, opened, started, or it ends.

All of it is synchronous but the leaves, payloads and functions, which come back as coroutines for a runner to await.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, assert_never

import anyio

from .. import _wake
from ..definition.actions import FunctionAction, PayloadAction, WorkflowAction
from ..errors import BudgetExceeded, ClaimLost, StepError, StoreCorrupt, TimedOut
from ..events import MapExpanded, StepCancelled, StepFailed, StepSkipped, StepStarted, StepSucceeded
from ..models.failure import Failure, failure_of
from ..models.values import Data
from ..planner.resolve import LOST, UNDECIDED, Mark
from .fingerprints import fingerprint_or_none
from .journal import Journal
from .known import Known
from .services import Conductor, Ending, Services
from .state.arguments import arguments, child_inputs, item_count, resolved, skipped_binding
from .state.frame import END, Frame
from .state.run import RunState
from .state.step import StepState
from .state.stop import in_flight, wind_down
from .steps.function import exited, run_function
from .steps.guard import is_open
from .steps.payload import run_payload
from .timers import NO_TIMERS, Timers

__all__ = ["Ending", "Stepper", "Work"]

Work = Coroutine[Any, Any, None]


class Stepper:
    """Advances one run.

    Attributes:
        known: Results that need not be asked for, in a run that was forked or taken up.
    """

    __slots__ = ("conductor", "journal", "known", "services", "state", "timers")

    def __init__(
        self,
        state: RunState,
        journal: Journal,
        services: Services,
        *,
        conductor: Conductor,
    ) -> None:
        self.state = state
        self.journal = journal
        self.services = services
        self.timers = NO_TIMERS
        self.conductor = conductor
        self.known = Known(journal) if journal.committed > 1 else None

    def advance(self, owner: Frame | StepState, index: int) -> Work | None:
        """Do what can be done at once; what takes time comes back as a coroutine."""
        if isinstance(owner, Frame):
            if index >= 0:
                return None if owner.closed else self._begin(self.state.begin(owner, index))
            if index == END:
                self._end_frame(owner)
            else:
                self._stop_rest(owner)
        elif index >= 0:
            return self._begin_item(owner, index)
        else:
            self._end_map(owner)
        return None

    def _begin(self, state: StepState) -> Work | None:
        """A step whose bindings are decided: skip it, fail it, open it or start it."""
        if state.finished_us is not None or state.status == "running":  # open since before the run was taken up again
            return None
        try:
            args = resolved(state)
            if isinstance(args, Mark):
                why = " because of a failure" if args is LOST else ""
                self._skip(state, f"{skipped_binding(state)} was skipped{why}")
                return None
            if state.step.guard is not None:
                verdict = is_open(state.step.guard, state.frame.values)
                if verdict is not True:
                    self._skip(state, verdict)
                    return None
            state.args = args
            if state.step.definition.map is not None:
                self._open_map(state, args)
                return None
            if state.step.child is not None:
                child_inputs(state.step.child.definition, args)  # what does not fit is this step's failure
        except Exception as error:  # whatever it is, it is this step's failure
            self.fail(state, error)
            return None
        return self._start(state)

    def _begin_item(self, owner: StepState, index: int) -> Work | None:
        assert owner.map is not None
        if owner.map.closed:
            return None
        state = self.state.begin_item(owner, index)
        if state.finished_us is not None or state.status == "running":
            return None
        try:
            args = arguments(state)
            if state.step.child is not None:
                child_inputs(state.step.child.definition, args)
        except Exception as error:  # an item that does not fit is this item's failure
            self.fail(state, error)
            return None
        return self._start(state)

    def _skip(self, state: StepState, reason: str) -> None:
        self.journal.append(StepSkipped(state.path, reason))

    def _start(self, state: StepState) -> Work | None:
        """Start the action of a step or item."""
        step = state.step
        if isinstance(step.definition.action, WorkflowAction):
            self.journal.append(StepStarted(state.path))
            if state.owner is None:
                self.watch(state)
            return None
        known = self.known
        mark = None if self.journal.is_instant and known is None else fingerprint_or_none(state)
        seq = self.journal.append(StepStarted(state.path, mark))
        if known is not None and known.take(state, mark):
            return None
        work = self._leaf(state, seq)
        return self._scoped(state, work) if state.is_stoppable or known is not None else work

    async def _leaf(self, state: StepState, seq: int) -> None:
        """Run a payload or function and record how it ended."""
        action, args = state.step.definition.action, state.args
        assert args is not None
        journal = self.journal
        try:
            match action:
                case FunctionAction():
                    if journal.committed < seq:
                        await self._committed(seq, action)
                    await run_function(
                        state, action, args, journal=journal, services=self.services, conductor=self.conductor
                    )
                case PayloadAction(payload=payload):
                    await run_payload(
                        state, payload, args, journal=journal, services=self.services, conductor=self.conductor
                    )
                case WorkflowAction():
                    raise AssertionError("a nested workflow is a container, not a leaf")
                case _:
                    assert_never(action)
        except (ClaimLost, StoreCorrupt):
            raise
        except anyio.get_cancelled_exc_class():
            if _wake.is_being_cancelled():
                raise
            self.fail(state, StepError(f"Step {state.path!r} awaited something that was cancelled", step=state.path))
        except (Exception, SystemExit) as error:  # user code and providers may raise anything
            self._fail_leaf(state, error)

    def _fail_leaf(self, state: StepState, error: Exception | SystemExit) -> None:
        """Whatever a leaf raised is its step's failure, but for a log that cannot be written."""
        if error is self.journal.failure:
            raise error
        if isinstance(error, SystemExit):  # it would take the event loop with it, and every other run
            failure = exited(state.path, error)
            failure.__cause__ = error
            self.fail(state, failure)
        else:
            self.fail(state, error)

    async def _committed(self, seq: int, action: FunctionAction) -> None:
        """Wait until the start of a function is committed; a pure one need not wait, only not be forgotten."""
        if not (action.pure and not self.journal.is_instant and self.conductor.flush_soon()):
            await self.journal.durable(seq)

    async def _scoped(self, state: StepState, work: Work) -> None:
        """Run a leaf in a scope of its own, because it has a timeout or something may stop it."""
        definition = state.step.definition
        limit_s = definition.timeout if definition.map is None else None  # a map's timeout bounds the whole map
        with anyio.CancelScope() as scope:
            if limit_s is not None:
                scope.deadline = anyio.current_time() + limit_s
            state.scope = scope
            await work
        state.scope = None
        if scope.cancelled_caught and state.finished_us is None:
            if state.stopped is not None:
                self.journal.append(StepCancelled(state.path, state.stopped or ""))
            elif self.known is None or not self.known.take_late(state):
                self.fail(state, _too_long(state))

    def fail(self, state: StepState, error: Exception) -> None:
        """Record a failure; a budget that ran out ends the whole run, unless it was only being judged."""
        failure = failure_of(error, step=state.path)
        self.journal.append(StepFailed(state.path, failure))
        if isinstance(error, BudgetExceeded) and state.frame is not self.state.judges:
            self.conductor.abort(failure)

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
        if state.overdue:
            self.fail(state, _too_long(state))
        elif state.stopped is not None:
            self.journal.append(StepCancelled(state.path, state.stopped or ""))
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
            state.stopped = reason
            self.journal.append(StepCancelled(state.path, state.stopped or ""))
            return
        for inner in (*in_flight(self.state.steps.values(), below=state), state):
            inner.stopped = inner.stopped or reason
            if inner.scope is not None:
                inner.scope.cancel()
            else:
                wind_down(inner, self.state.ready)

    def watch(self, state: StepState) -> None:
        """Bound a container's time, where its step has a timeout."""
        limit_s = state.step.definition.timeout
        if limit_s is not None:
            if self.timers is NO_TIMERS:
                self.timers = Timers(self.conductor.beside, self.conductor.call_help)
            self.timers.start(state.path, limit_s, lambda: self._out_of_time(state))

    def _out_of_time(self, state: StepState) -> None:
        if state.finished_us is None:
            state.overdue = True
            self._stop(state, "its container took too long")


def _judged(run: RunState) -> bool:
    """Have models asked about the run, where its checks want that; False when that is done."""
    from .state.judging import asks_models  # most workflows have no checks, and none of their cost

    return asks_models(run)


def _too_long(state: StepState) -> TimedOut:
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
