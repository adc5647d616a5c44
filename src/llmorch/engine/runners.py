"""The tasks that carry a run out: the caller's is the first, and others are called when there is more to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .. import _clock
from .._clock import monotonic
from ..events import StepWaiting
from .group import Alone
from .journal import Journal
from .people import People
from .services import Services
from .state.run import RunState
from .stepper import Stepper

__all__ = ["Runners"]

_STEPS_PER_CHECKPOINT = 256
_PAUSE_AFTER_S = (0.001, 0.004)
_UNUSED_S = 0.0001
_BIRTHS_AT_ONCE = 2


class Runners:
    """Take from one deque what is ready, and run it.

    Runners run what has become ready inline (a chain costs no task), and are joined by helpers when there is more to do
    than they can reach. A runner holds a place while it runs steps.

    Attributes:
        consult: Shows an open question to who answers at once; None when nobody does.
    """

    __slots__ = (
        "_births", "_done", "_flushing", "_group", "_halted", "_idle", "_leaving", "_left_s", "_pauses", "_people",
        "_stepper", "_working", "consult", "journal", "services", "state",
    )  # fmt: skip

    _stepper: Stepper

    def __init__(self, state: RunState, journal: Journal, services: Services) -> None:
        self.state = state
        self.journal = journal
        self.services = services
        self._group: TaskGroup | Alone | None = None
        self._births = 0
        self._idle: anyio.Event | None = None
        self._done = False
        self._halted = False
        self._leaving = False
        self._flushing = False
        self._people: People | None = None
        self._working = 0
        self._pauses = 0
        self._left_s = 0.0
        self.consult: Callable[[StepWaiting], Awaitable[None]] | None = None

    @property
    def _tasks(self) -> TaskGroup:
        assert isinstance(self._group, TaskGroup), "the run has not begun, or is of one step that needs nobody"
        return self._group

    async def rest(self, wait_s: float) -> None:
        """Wait so many seconds without holding a place."""
        await self.aside(partial(_clock.sleep, wait_s))

    async def aside(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait without holding a place; somebody else takes what is ready meanwhile."""
        places = self.services.places
        places.give()
        try:
            if self.state.ready.left:
                self.call_help()
            await wait()
            await places.take()
        except BaseException:
            places.take_back()
            raise

    async def idling(self, wait: Callable[[], Awaitable[None]]) -> None:
        """In a step: wait for a person. Meanwhile the step counts as doing nothing."""
        self._working -= 1
        try:
            with self._time_of_people():
                await self.aside(wait)
        finally:
            self._working += 1

    async def _first_runner(self) -> None:
        """Runs until the run has ended; waits when others have all there is to do."""
        ready, places = self.state.ready, self.services.places
        while not self._halted:
            if ready.left:
                if not places.try_take():
                    await places.take()
                try:
                    await self._spree()
                finally:
                    places.give()
            elif self.journal.pending:
                await self.journal.flush()
            elif self.state.questions and self.people.is_stuck:
                await self.people.rest()
            else:
                self._idle = anyio.Event()
                await self._waited(self._idle)
                self._idle = None

    async def _waited(self, idle: anyio.Event) -> None:
        """Wait for something to do; while only people have, the run's time stands still."""
        with self._time_of_people():
            await idle.wait()

    @contextmanager
    def _time_of_people(self) -> Generator[None, None, None]:
        """Inside, the run's time stands still, if only people have something to do."""
        group = self._group
        if not self.state.questions or self._working or group is None or self.state.timeout is None:
            yield
            return
        if not self._pauses:
            self._left_s = group.cancel_scope.deadline - anyio.current_time()
            group.cancel_scope.deadline = float("inf")
        self._pauses += 1
        yield
        self._pauses -= 1
        if not self._pauses:
            group.cancel_scope.deadline = anyio.current_time() + self._left_s

    @property
    def people(self) -> People:
        """What the run does about people; most runs have nothing to do with them."""
        if self._people is None:
            self._people = People(self, lambda: self._stepper.asking)
        return self._people

    @property
    def is_busy(self) -> bool:
        """Whether anything is done or about to be done, or the run is ending anyway."""
        return bool(self._working or self._births or self._halted or self.state.ready.left)

    @property
    def is_resting(self) -> bool:
        """Whether the run has been given up until somebody answers, or is about to be."""
        return self._people is not None and self._people.is_resting

    def stir(self) -> None:
        """See whether only people can make the run go on now."""
        if self._leaving and self._people is not None and not self._working:
            self.halt()
        elif self._idle is not None:
            self._idle.set()
        elif self._people is not None and self._people.is_stuck:
            self.beside(self._people.rest_if_stuck)

    async def _helper(self) -> None:
        """Runs until nothing is ready."""
        places = self.services.places
        born = False
        while not born or (self.state.ready.left and not self._halted):
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
        if self.state.questions:
            self.stir()

    async def _spree(self) -> None:
        """Run what is ready, one after the other, with a pause for others now and then."""
        ready, advance, journal, places = self.state.ready, self._stepper.advance, self.journal, self.services.places
        count, since, limit_s = 0, monotonic(), _PAUSE_AFTER_S[0]
        while ready.left and not self._halted:
            places.turns = turn = places.turns + 1
            passes = journal.passes
            work = advance(*ready.popleft())
            if work is not None:
                if ready.left:
                    self.call_help()
                self._working += 1
                try:
                    await work
                finally:
                    self._working -= 1
            elif journal.pending >= _STEPS_PER_CHECKPOINT:
                await journal.flush()
            count += 1
            if count >= _STEPS_PER_CHECKPOINT or monotonic() - since > limit_s:
                # While a step waited, for its answer or for a commit, others ran: a pause then would only give what it
                # made ready away, to a helper that is born for it.
                if places.turns == turn and journal.passes == passes:
                    limit_s = await self._pause(limit_s)
                if places.contended:
                    return
                count, since = 0, monotonic()

    async def _pause(self, after_s: float) -> float:
        """Let others run; returns after how long to do so again, which is longer when nobody had anything to do."""
        places, (shortest_s, longest_s) = self.services.places, _PAUSE_AFTER_S
        turns, since = places.turns, monotonic()
        await anyio.lowlevel.checkpoint()
        is_unused = places.turns == turns and monotonic() - since < _UNUSED_S
        return min(2 * after_s, longest_s) if is_unused else shortest_s

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

    def halt(self) -> None:
        """End all tasks of the run; its log goes on elsewhere, or here another time."""
        self._halted = True
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def drop_hopeless(self) -> bool:
        """Cancel steps whose open questions nobody needs any more; whether there were any."""
        hopeless = self._stepper.asking.hopeless()
        for state in hopeless:
            self._stepper.drop(state)
        return bool(hopeless)
