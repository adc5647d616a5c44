"""What happens to a thing that is ready: it is skipped, opened, started, or it ends.

All of it is synchronous but the leaves, payloads and functions, which come back as coroutines for a runner to await.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import anyio

from .. import _wake
from ..definition.actions import (
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from ..errors import ClaimLost, StepError, StoreCorrupt
from ..events import StepStarted
from ..models.script import Script
from ..models.values import Data
from ..planner.resolve import LOST, Mark
from .containers import Containers, too_long
from .fingerprints import fingerprint_or_none
from .journal import Journal
from .known import Known
from .services import Conductor, Ending, Services
from .state.arguments import arguments, opened_inputs, resolved, skipped_binding
from .state.frame import AGAIN, END, TURN, Frame
from .state.run import RunState
from .state.step import StepState
from .steps.function import exited, run_function
from .steps.guard import is_open
from .steps.payload import run_payload
from .steps.script_step import run_script_step

__all__ = ["Ending", "Stepper", "Work"]

Work = Coroutine[Any, Any, None]


class Stepper(Containers):
    """Advances one run.

    Attributes:
        known: Results that need not be asked for, in a run that was forked or taken up.
    """

    __slots__ = ("known", "services")

    def __init__(
        self,
        state: RunState,
        journal: Journal,
        services: Services,
        *,
        conductor: Conductor,
    ) -> None:
        super().__init__(state, journal, conductor)
        self.services = services
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

    def _go_on(self, state: StepState) -> Work | None:
        """A step that had asked a person goes on: the task that waits for it, or in a process that took it up, anew."""
        if state.status != "running" or state.finished_us is not None or self.conductor.wakes(state):
            return None
        if state.scope is not None:  # it goes on already: the log had several answers for it
            return None
        return self._scoped(state, self._leaf(state, 0))

    def _start(self, state: StepState) -> Work | None:
        """Start the action of a step or item."""
        step = state.step
        if not step.is_leaf:
            self.journal.append(StepStarted(state.path))
            if state.owner is None:
                self.watch(state)
            return None
        known = self.known
        mark = None if self.journal.is_instant and known is None else fingerprint_or_none(state, self.services.scripts)
        seq = self.journal.append(StepStarted(state.path, mark))
        if known is not None and known.take(state, mark):
            return None
        action = step.definition.action
        if isinstance(action, QuestionAction):
            self._ask(state, action)
            return None
        work = self._leaf(state, seq)
        # A step that may ask a person is stopped when nobody needs the answer any more.
        return self._scoped(state, work) if step.may_ask or state.is_stoppable or known is not None else work

    def _ask(self, state: StepState, action: QuestionAction) -> None:
        try:
            self.asking.ask(state, action, arguments(state))
        except Exception as error:  # the text may fail on these values
            self.fail(state, error)

    async def _leaf(self, state: StepState, seq: int) -> None:
        """Run a payload or function and record how it ended."""
        action, args = state.step.definition.action, state.args or arguments(state)
        journal = self.journal
        try:
            match action:
                case PayloadAction(payload=payload):
                    await run_payload(
                        state, payload, args, journal=journal, services=self.services, conductor=self.conductor
                    )
                case FunctionAction():
                    if self._must_wait(seq, is_pure=action.pure):
                        await journal.durable(seq)
                    await run_function(
                        state, action, args, journal=journal, services=self.services, conductor=self.conductor
                    )
                case ScriptAction(script=script):
                    await self._run_script(state, script, args, seq=seq)
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

    async def _run_script(self, state: StepState, script: Script, args: dict[str, Data], *, seq: int) -> None:
        if self._must_wait(seq, is_pure=script.pure):
            await self.journal.durable(seq)
        await run_script_step(state, script, args, journal=self.journal, services=self.services)

    def _must_wait(self, seq: int, *, is_pure: bool) -> bool:
        """Whether the start has to be committed first; that of what is pure only must not be forgotten."""
        journal = self.journal
        return journal.committed < seq and not (is_pure and not journal.is_instant and self.conductor.flush_soon())

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
            if state.stopping is not None:
                self._cancelled(state)
            elif self.known is None or not self.known.take_late(state):
                self.fail(state, too_long(state))
