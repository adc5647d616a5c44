"""Takes what is ready and runs it, until the top workflow ends.

The caller's task is the first runner. Runners take from one deque, run what has become ready inline (a chain costs no
task), and are joined by helpers when there is more to do than they can reach. A runner holds a place while it runs
steps. Containers hold nothing: they are only state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .. import _clock, _wake
from .._clock import monotonic
from ..errors import TimedOut
from ..events import Event, RunCancelRequested, RunFinished, StepCancelled, Warned
from ..models.failure import Failure, failure_of
from ..ports import InboxItem
from .journal import Journal
from .known import Known
from .results import Results
from .services import Services
from .state.run import RunState
from .state.step import StepState
from .state.stop import in_flight
from .stepper import Ending, Stepper

__all__ = ["Executor"]

_STEPS_PER_CHECKPOINT = 256
_SECONDS_PER_CHECKPOINT = 0.001
_BIRTHS_AT_ONCE = 2
_CLEANUP_S = 2.0


class _Alone:
    """Stands for the task group of a run that needs no second task, at a third of its cost and memory."""

    __slots__ = ("cancel_scope",)

    def __init__(self) -> None:
        self.cancel_scope = _wake.cancel_scope()

    async def __aenter__(self) -> _Alone:
        self.cancel_scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return bool(self.cancel_scope.__exit__(kind, error, trace))


class Executor:
    """Runs one run."""

    __slots__ = (
        "_births", "_cancelled", "_done", "_fatal", "_flushing", "_group", "_halted", "_idle", "_leaving", "_stepper",
        "journal", "services", "state",
    )  # fmt: skip

    def __init__(self, state: RunState, journal: Journal, services: Services) -> None:
        self.state = state
        self.journal = journal
        self.services = services
        self._group: TaskGroup | _Alone | None = None
        self._births = 0
        self._idle: anyio.Event | None = None
        self._done = False
        self._halted = False
        self._cancelled = False
        self._leaving = False
        self._flushing = False
        self._fatal: Failure | None = None
        self._stepper = Stepper(state, journal, services, conductor=self)

    @property
    def _tasks(self) -> TaskGroup:
        assert isinstance(self._group, TaskGroup), "the run has not begun, or is of one step that needs nobody"
        return self._group

    async def run(self) -> None:
        """Return when the run has ended and its log is committed.

        Raises:
            ClaimLost: Another process owns the run now.
            StoreError: The log cannot be written.
        """
        try:
            async with _Alone() if _is_lone(self.state) else anyio.create_task_group() as group:
                self._group = group
                self._begin()
                if self._cancelled:
                    group.cancel_scope.cancel()
                elif self.state.timeout is not None:
                    group.cancel_scope.deadline = anyio.current_time() + self.state.timeout
                await self._first_runner()
                if self.state.timeout is not None:
                    group.cancel_scope.deadline = float("inf")
                self._stepper.timers.stop_all()
        except BaseExceptionGroup as errors:
            await self._close(cancelled=True)
            raise _bare(errors) from None
        except BaseException:  # cancelled from outside, or an error of a run without a task group
            await self._close(cancelled=True)
            raise
        if self._leaving and not self._done and not self._cancelled:
            self.state.status = "interrupted"  # derived: nobody owns it, and its log does not end
        elif not self._done:  # the group was cancelled from inside: by cancel(), the run's timeout, or a fatal failure
            await self._close(cancelled=self._cancelled)
        await self.journal.flush()
        self._group = None
        del self._stepper

    def _begin(self) -> None:
        """Say what is odd about the workflow; of a run that is taken up again, bound what was open."""
        if self.journal.committed == 1:
            for text in self.state.definition.warnings:
                self.journal.append(Warned(None, "unused-input", text))
        else:
            for state in [step for step in self.state.steps.values() if step.status == "running" and not step.owner]:
                self._stepper.watch(state)

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
        if step.status == "running" and step.scope is not None:
            step.scope.cancel()
        return True

    async def rest(self, wait_s: float) -> None:
        """Wait so many seconds without holding a place."""
        await self.aside(partial(_clock.sleep, wait_s))

    async def aside(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait without holding a place; somebody else takes what is ready meanwhile."""
        places = self.services.places
        places.give()
        try:
            if self.state.ready:
                self.call_help()
            await wait()
            await places.take()
        except BaseException:
            places.take_back()
            raise

    async def _first_runner(self) -> None:
        """Runs until the run has ended; waits when others have all there is to do."""
        ready, places = self.state.ready, self.services.places
        while not self._halted:
            if ready:
                await places.take()
                try:
                    await self._spree()
                finally:
                    places.give()
            elif self.journal.pending:
                await self.journal.flush()
            else:
                self._idle = anyio.Event()
                await self._idle.wait()
                self._idle = None

    async def _helper(self) -> None:
        """Runs until nothing is ready."""
        places = self.services.places
        born = False
        while not born or (self.state.ready and not self._halted):
            await places.take()
            if not born:
                born = True
                self._births -= 1
            try:
                await self._spree()
            finally:
                places.give()
        if self.journal.pending and not self._done:
            await self.journal.flush()

    async def _spree(self) -> None:
        """Run what is ready, one after the other, with a pause for others now and then."""
        ready, advance, journal, places = self.state.ready, self._stepper.advance, self.journal, self.services.places
        count, since = 0, monotonic()
        while ready and not self._halted:
            places.turns = turn = places.turns + 1
            work = advance(*ready.popleft())
            if work is not None:
                if ready:
                    self.call_help()
                await work
            elif journal.pending >= _STEPS_PER_CHECKPOINT:
                await journal.flush()
            count += 1
            if count >= _STEPS_PER_CHECKPOINT or monotonic() - since > _SECONDS_PER_CHECKPOINT:
                # While a step waited for its answer others ran: a pause then would only give what it made ready away,
                # to a helper that is born for it.
                if places.turns == turn:
                    await anyio.lowlevel.checkpoint()
                if places.contended:
                    return
                count, since = 0, monotonic()

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function beside the run."""
        self._tasks.start_soon(work)

    def call_help(self) -> None:
        """See that somebody takes what this runner cannot reach while it waits."""
        if self._idle is not None:
            self._idle.set()
        elif self._births < (_BIRTHS_AT_ONCE if self.services.places.free > 0 else 1):
            self._births += 1
            self._tasks.start_soon(self._helper)

    def flush_soon(self) -> bool:
        """Commit what is buffered beside the run; False when nobody is there to do it."""
        if not isinstance(self._group, TaskGroup):
            return False
        if not self._flushing:
            self._flushing = True
            self._group.start_soon(self._flush)
        return True

    async def _flush(self) -> None:
        self._flushing = False
        await self.journal.flush()

    def finish(self, ending: Ending, failure: Failure | None) -> None:
        if self._done:
            return
        self._done = self._halted = True
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
            text = (
                f"The run took longer than its timeout of {self.state.timeout or 0:g} s; raise it or split the workflow"
            )
            self.finish("failed", failure_of(TimedOut(text, run_id=self.state.run_id)))


def _is_lone(state: RunState) -> bool:
    """Whether the run is one step that is no container: nothing is ever done beside it."""
    steps = state.frame.compiled.steps
    return len(steps) == 1 and steps[0].child is None and steps[0].definition.map is None


def _bare(error: BaseException) -> BaseException:
    """The first error of a group, at any depth."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
