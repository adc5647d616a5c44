"""Carries a run out until the top workflow ends, the run is stopped, or only people can go on with it.

Containers hold no task and no place: they are only state.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import anyio

from ..errors import TimedOut
from ..events import Event, RunCancelRequested, RunFinished, StepCancelled, StepWaiting, Warned
from ..models.failure import Failure, failure_of
from ..models.message import ToolCall
from ..models.values import Data
from ..ports import InboxItem
from .group import Alone, bare, is_lone
from .journal import Journal
from .known import Known
from .results import Results
from .runners import Runners
from .services import Services
from .state.run import RunState
from .state.step import StepState
from .state.stop import in_flight
from .stepper import Ending, Stepper

__all__ = ["Executor"]

_CLEANUP_S = 2.0


class Executor(Runners):
    """Runs one run."""

    __slots__ = ("_cancelled", "_fatal")

    def __init__(self, state: RunState, journal: Journal, services: Services) -> None:
        super().__init__(state, journal, services)
        self._cancelled = False
        self._fatal: Failure | None = None
        self._stepper = Stepper(state, journal, services, conductor=self)

    async def run(self) -> None:
        """Return when the run has ended and its log is committed.

        Raises:
            ClaimLost: Another process owns the run now.
            StoreError: The log cannot be written.
        """
        try:
            async with Alone() if is_lone(self.state) else anyio.create_task_group() as group:
                self._group = group
                self._begin()
                if self._cancelled:
                    group.cancel_scope.cancel()
                elif self.state.timeout is not None:
                    left_s = self.state.timeout - self.state.spent_us / 1_000_000
                    group.cancel_scope.deadline = anyio.current_time() + left_s
                await self._first_runner()
                if self.state.timeout is not None:
                    group.cancel_scope.deadline = float("inf")
                self._stepper.timers.stop_all()
        except BaseExceptionGroup as errors:
            await self._close(cancelled=True)
            raise bare(errors) from None
        except BaseException:  # cancelled from outside, or an error of a run without a task group
            await self._close(cancelled=True)
            raise
        if self.is_resting:
            self._group = None
            return
        if self._leaving and not self._done and not self._cancelled:
            self.state.status = "interrupted"  # derived: nobody owns it, and its log does not end
        elif not self._done:  # the group was cancelled from inside: by cancel(), the run's timeout, or a fatal failure
            await self._close(cancelled=self._cancelled)
        if self.journal.is_instant:
            await self.journal.flush()  # nothing comes between
        else:
            await self._see_through()
        self._group = None
        del self._stepper

    def _begin(self) -> None:
        """Say what is odd about the workflow; of a run that is taken up again, see to what was open."""
        if self.journal.committed == 1:
            for text in self.state.definition.warnings:
                self.journal.append(Warned(None, "unused-input", text))
        else:
            for state in [step for step in self.state.steps.values() if step.status == "running" and not step.owner]:
                if state.is_container:  # a leaf has its time where it runs
                    self._stepper.go_on_with(state)
            for path in tuple(self.state.questions or ()):
                self._stepper.asking.watch(self.state.steps[path])

    def leave(self) -> None:
        """Start nothing more; return from `run` when what is in flight has ended, leaving the run as it is."""
        if not self._halted:
            self._leaving = self._halted = True
            if self._idle is not None:
                self._idle.set()

    def abandon(self) -> None:
        """After `leave`: do not wait for what is in flight any longer, nor for a store that does not work."""
        self.journal.hurry(_CLEANUP_S)
        if self._leaving and self._group is not None:
            self._group.cancel_scope.cancel()

    def cancel(self) -> None:
        """Stop the run; what is in flight is cancelled."""
        if self._done or self._cancelled:
            return
        self._cancelled = self._halted = True
        self.journal.append(RunCancelRequested())
        self.journal.hurry(_CLEANUP_S)
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def adopt_from(self, former: Results) -> None:
        """Take the results of another run where the fingerprint is the same, also those that come up later."""
        if self._stepper.known is None:
            self._stepper.known = Known(self.journal)
        self._stepper.known.former = former

    def offer(self, step: StepState, item: InboxItem, events: Sequence[Event], *, mark: str | None) -> bool:
        """Take an answer that came late as the step's result, now or when the step is due; False when it is too late.

        A step that is asking again is stopped first, so that it does not pay for what is known.

        Args:
            mark: The step's fingerprint when it was asked; None when it is not known.
        """
        known = self._stepper.known
        if self._halted or known is None:
            return False
        known.late[step.path] = (item, events, mark)
        if step.status == "waiting" and step.question is not None and step.question.about == "unknown":
            self.answered(step, "retry", None)  # now it is known what the step has done
        if step.status == "running" and step.scope is not None:
            step.scope.cancel()
        return True

    def asked(self, question: StepWaiting) -> None:
        if self.consult is not None:
            self.people.show(question, self.consult)

    def answered(self, state: StepState, value: Data, by: str | None) -> None:
        """Record what a person answered to the question that a step has open."""
        self._stepper.asking.answer(state, value, by)
        if self._group is not None:  # else the run is just being taken up, and begins with what is ready
            self.call_help()

    def expire(self, now: int) -> None:
        """Give up the questions of a run taken up that had to be answered by then, in microseconds UTC."""
        self._stepper.asking.expire(now)

    def wakes(self, state: StepState) -> bool:
        return self._people is not None and self._people.wakes(state)

    async def granted(self, state: StepState, number: int, call: ToolCall) -> Data:
        return await self.people.granted(state, number, call)

    def finish(self, ending: Ending, failure: Failure | None) -> None:
        if self._done:
            return
        self._done = self._halted = True
        if self.state.definition.checks:
            _tell_checks(self.state, self.journal, ending)
        self.journal.append(RunFinished(ending, failure, self.state.usage, self.state.cost), status=ending)
        if self._idle is not None:
            self._idle.set()

    def abort(self, failure: Failure) -> None:
        self._fatal = self._fatal or failure
        self._halted = True
        if self._group is not None:
            self._group.cancel_scope.cancel()

    async def _close(self, *, cancelled: bool) -> None:
        """The tasks are gone before the run's end was recorded: see that it is, in bounded time."""
        if self.journal.failure is not None:
            return
        if not self._done:
            self._end_early(cancelled=cancelled)
        await self._in_bounded_time()

    async def _see_through(self) -> None:
        """Record what is left, also when the caller is cancelled meanwhile."""
        try:
            await self.journal.flush()
        except anyio.get_cancelled_exc_class():
            await self._in_bounded_time()
            raise

    async def _in_bounded_time(self) -> None:
        self.journal.hurry(_CLEANUP_S)
        with anyio.CancelScope(shield=True), suppress(Exception):  # its cause is being raised already
            await self.journal.flush()

    def _end_early(self, *, cancelled: bool) -> None:
        """Record what is in flight as cancelled, and why the run ends."""
        for state in in_flight(self.state.steps.values()):
            self.journal.append(StepCancelled(state.path))
        if cancelled:
            self.finish("cancelled", None)
        elif self._fatal is not None:
            self.finish("failed", self._fatal)
        else:
            self.finish(*_out_of_time(self.state))


def _tell_checks(state: RunState, journal: Journal, ending: Ending) -> None:
    """Record what the checks of the workflow find, before its run ends."""
    from .checks import findings  # most workflows have none, and none of its cost

    for event in findings(state, ending):
        journal.append(event)


def _out_of_time(state: RunState) -> tuple[Ending, Failure | None]:
    """How a run ends whose time is up: failed, unless models were only being asked what they think of it."""
    if state.judges is not None and state.judges.ready is state.ready:
        return ("partial" if state.failed else "succeeded"), None
    text = f"The run took longer than its timeout of {state.timeout or 0:g} s; raise it or split the workflow"
    return "failed", failure_of(TimedOut(text, run_id=state.run_id))
