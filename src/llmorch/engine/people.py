"""A run in the hands of people: its questions are shown to who answers at once, and it rests while only they can go on.

A run rests by saying so in its log, giving up its claim and ending its tasks: it needs no process until somebody
answers, whoever that is and wherever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..events import StepWaiting
from ..models.message import ToolCall
from ..models.values import Data
from .state.step import StepState

if TYPE_CHECKING:
    from .asking import Asking
    from .runners import Runners

__all__ = ["People"]


class People:
    """What a run does about people while it is carried out.

    Attributes:
        is_resting: The run has been given up until somebody answers, or is about to be.
    """

    __slots__ = ("_asking", "_consulted", "_is_ending", "_runners", "_waiters", "is_resting")

    def __init__(self, runners: Runners, asking: Callable[[], Asking]) -> None:
        self._runners = runners
        self._asking = asking
        self._consulted = 0
        self._is_ending = False
        self._waiters: dict[str, anyio.Event] = {}
        self.is_resting = False

    @property
    def is_stuck(self) -> bool:
        """Whether only people can make the run go on, and nobody is being asked who would answer at once."""
        return bool(self._runners.state.questions) and not (self._consulted or self._is_ending or self._runners.is_busy)

    @property
    def is_awaited(self) -> bool:
        """Whether tasks of the run wait for people, and nothing else is done."""
        return bool(self._waiters) and not self._runners.is_busy

    async def rest(self) -> None:
        """Say that nothing goes on before somebody answers, and give the run up, until then."""
        self._is_ending = True
        try:
            await self._say_and_let_go()
        finally:
            self._is_ending = False

    async def _say_and_let_go(self) -> None:
        runners, asking = self._runners, self._asking()
        journal = runners.journal
        if runners.drop_hopeless():
            return
        event, wake_at = asking.waiting()
        asking.pause()
        journal.append(event, status="waiting", wake_at=wake_at)
        await journal.flush()
        if runners.state.status == "waiting":  # else somebody answered in the meantime
            self.is_resting = True
            if await journal.let_go("waiting"):
                runners.halt()
                return
            self.is_resting = False
            if journal.mail is not None:
                journal.mail()
            await anyio.lowlevel.checkpoint()
        asking.go_on()

    def show(self, question: StepWaiting, consult: Callable[[StepWaiting], Awaitable[None]]) -> None:
        """Show an open question to who answers at once, beside the run."""
        self._consulted += 1
        self._runners.beside(partial(self._shown, question, consult))

    async def _shown(self, question: StepWaiting, consult: Callable[[StepWaiting], Awaitable[None]]) -> None:
        try:
            await self._runners.journal.durable(question.seq or 0)
            await consult(question)
        finally:
            self._consulted -= 1
            self._runners.stir()

    async def rest_if_stuck(self) -> None:
        """For a task beside the runners, which may all be waiting for people themselves."""
        if self.is_stuck:
            await self.rest()

    def wakes(self, state: StepState) -> bool:
        """Wake the task that waits for what a person says to a step; False when there is none."""
        waiter = self._waiters.get(state.path)
        if waiter is not None:
            waiter.set()
        return waiter is not None

    async def granted(self, state: StepState, number: int, call: ToolCall) -> Data:
        """Ask whether a tool may be used, and wait for the answer without holding a place.

        Args:
            number: Of the request whose answer asked for it.
        """
        waiter = self._waiters[state.path] = anyio.Event()
        try:
            self._asking().ask_grant(state, number, call)
            await self._runners.journal.flush()  # nobody can answer what is not committed, and others may work for long
            self._runners.beside(self.rest_if_stuck)
            with _time_of(state):
                await self._runners.idling(waiter.wait)
        finally:
            del self._waiters[state.path]
        return (state.granted or {}).get((number, call.id))


@contextmanager
def _time_of(state: StepState) -> Generator[None, None, None]:
    """Inside, the step's time stands still."""
    scope, since = state.scope, anyio.current_time()
    deadline = float("inf") if scope is None else scope.deadline
    if scope is not None:
        scope.deadline = float("inf")
    yield
    if scope is not None:
        scope.deadline = deadline + anyio.current_time() - since
