"""What happens to a thing that is ready: it is skipped, opened, started, or it ends.

All of it is synchronous but the leaves, payloads and functions, which come back as coroutines for a runner to await.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal

import anyio

from .. import _wake
from .._clock import now_us
from ..definition.actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
    is_leaf,
)
from ..errors import BudgetExceeded, ClaimLost, StepError, StoreCorrupt, TimedOut
from ..events import LoopTurned, MapExpanded, StepCancelled, StepFailed, StepSkipped, StepStarted, StepSucceeded
from ..models.failure import Failure, failure_of
from ..models.values import Data
from ..planner.resolve import LOST, UNDECIDED, Mark
from .asking import Asking
from .fingerprints import fingerprint_or_none
from .journal import Journal
from .known import Known
from .services import Conductor, Ending, Services
from .state.arguments import arguments, item_count, opened_inputs, resolved, skipped_binding
from .state.frame import AGAIN, END, TURN, Frame
from .state.loops import loop_rule
from .state.questions import people_us
from .state.run import RunState
from .state.step import StepState
from .state.stop import in_flight, wind_down
from .steps.function import exited, run_function
from .steps.guard import is_open
from .steps.loop import exhausted, judged
from .steps.payload import run_payload
from .steps.script import run_script
from .timers import NO_TIMERS, Timers

__all__ = ["Ending", "Stepper", "Work"]

Work = Coroutine[Any, Any, None]


class Stepper:
    """Advances one run.

    Attributes:
        known: Results that need not be asked for, in a run that was forked or taken up.
    """

    __slots__ = ("_asking", "conductor", "journal", "known", "services", "state", "timers")

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
        self._asking: Asking | None = None  # most runs ask nobody

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
            return self._begin_item(owner, index) if owner.map is not None else self._begin_iteration(owner, index)
        elif index == AGAIN:
            return self._go_on(owner)
        elif owner.loop is None:
            self._end_map(owner)
        elif index == TURN:
            self._turn(owner)
        else:
            self._end_loop(owner)
        return None

    @property
    def asking(self) -> Asking:
        """What the run does with questions."""
        if self._asking is None:
            self._asking = Asking(
                self.state, self.journal, self.conductor, fail=self.fail, timers=lambda: self._own_timers
            )
        return self._asking

    def _begin(self, state: StepState) -> Work | None:
        """A step whose bindings are decided: skip it, fail it, open it or start it."""
        if state.finished_us is not None or state.status != "pending":  # open since before the run was taken up again
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
                opened_inputs(state, state.step.child.definition)  # what does not fit is this step's failure
        except Exception as error:  # whatever it is, it is this step's failure
            self.fail(state, error)
            return None
        return self._start(state)

    def _begin_item(self, owner: StepState, index: int) -> Work | None:
        assert owner.map is not None
        if owner.map.closed:
            return None
        return self._begin_inner(self.state.begin_item(owner, index))

    def _begin_inner(self, state: StepState) -> Work | None:
        """An item of a map, or an iteration of a loop."""
        if state.finished_us is not None or state.status != "pending":
            return None
        try:
            arguments(state)
            if state.step.child is not None:
                opened_inputs(state, state.step.child.definition)
        except Exception as error:  # an item that does not fit is this item's failure
            self.fail(state, error)
            return None
        return self._start(state)

    def _begin_iteration(self, owner: StepState, index: int) -> Work | None:
        loop = owner.loop
        if loop is None or owner.finished_us is not None or index < loop.turned:
            return None
        if loop.closed:
            self._end_loop(owner)
            return None
        return self._begin_inner(self.state.begin_iteration(owner, index))

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

    def _go_on(self, state: StepState) -> Work | None:
        """A step that had asked a person goes on: the task that waits for it, or in a process that took it up, anew."""
        if state.status != "running" or state.finished_us is not None or self.conductor.wakes(state):
            return None
        return self._scoped(state, self._leaf(state, 0))

    def _skip(self, state: StepState, reason: str) -> None:
        self.journal.append(StepSkipped(state.path, reason))

    def _start(self, state: StepState) -> Work | None:
        """Start the action of a step or item."""
        action = state.step.definition.action
        if not is_leaf(action):
            self.journal.append(StepStarted(state.path))
            if state.owner is None:
                self.watch(state)
            return None
        known = self.known
        mark = None if self.journal.is_instant and known is None else fingerprint_or_none(state, self.services.scripts)
        seq = self.journal.append(StepStarted(state.path, mark))
        if known is not None and known.take(state, mark):
            return None
        if isinstance(action, QuestionAction):
            self._ask(state, action)
            return None
        work = self._leaf(state, seq)
        return self._scoped(state, work) if state.is_stoppable or known is not None or _may_ask(action) else work

    def _ask(self, state: StepState, action: QuestionAction) -> None:
        try:
            self.asking.ask(state, action, arguments(state))
        except Exception as error:  # the text may fail on these values
            self.fail(state, error)

    async def _leaf(self, state: StepState, seq: int) -> None:
        """Run a payload or function and record how it ended."""
        action, args = state.step.definition.action, arguments(state)
        journal = self.journal
        try:
            match action:
                case FunctionAction():
                    if journal.committed < seq:
                        await self._committed(seq, is_pure=action.pure)
                    await run_function(
                        state, action, args, journal=journal, services=self.services, conductor=self.conductor
                    )
                case PayloadAction(payload=payload):
                    await run_payload(
                        state, payload, args, journal=journal, services=self.services, conductor=self.conductor
                    )
                case ScriptAction(script=script):
                    await self._committed(seq, is_pure=script.pure)
                    value = await run_script(script, args, path=state.path, roots=self.services.scripts)
                    journal.append(StepSucceeded(state.path, value))
                case WorkflowAction() | LoopAction() | DispatchAction() | QuestionAction():
                    raise AssertionError(f"{state.path} is no leaf that takes time")
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

    async def _committed(self, seq: int, *, is_pure: bool) -> None:
        """Wait until the start of what has effects is committed; what is pure need not wait, only not be forgotten."""
        if not (is_pure and not self.journal.is_instant and self.conductor.flush_soon()):
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
        """Record a failure; a budget that ran out ends the whole run."""
        failure = failure_of(error, step=state.path)
        self.journal.append(StepFailed(state.path, failure))
        if isinstance(error, BudgetExceeded):
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
            _, failure = _outcome(frame, self.state)
            if failure is not None:
                self.conductor.finish("failed", failure)
            else:
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

    @property
    def _own_timers(self) -> Timers:
        if self.timers is NO_TIMERS:
            self.timers = Timers(self.conductor.beside, self.conductor.call_help)
        return self.timers

    def drop(self, state: StepState) -> None:
        """Nobody needs the answer to a question any more."""
        self.asking.close(state)
        if state.scope is None:
            self.journal.append(StepCancelled(state.path, "its workflow has failed"))
        else:
            self._stop(state, "its workflow has failed")

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
                state.overdue = True
                self._stop(state, "its container took too long")

        self._own_timers.start(state.path, left_s, fire)


def _may_ask(action: ActionDef) -> bool:
    """Whether it may wait for a person in the middle of what it does; it is stopped when nobody needs the answer."""
    return (
        isinstance(action, PayloadAction)
        and bool(action.payload.tools)
        and any(tool.requires_approval for tool in action.payload.tools)
    )


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
