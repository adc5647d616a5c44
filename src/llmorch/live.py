"""A run that is being carried out in this process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio

from . import _wake
from .answers import OnAsk, consulting, leave
from .definition.workflow import WorkflowDef
from .engine.executor import Executor
from .engine.inbox import Inbox
from .engine.journal import Journal
from .engine.listener import Follow, Listener
from .engine.services import Services
from .engine.state.run import RunState
from .errors import ClaimLost
from .events import StepWaiting
from .items import Items
from .observers import Observer, observe
from .ports import Claim, RunStore

__all__ = ["LiveRun"]

_OBSERVERS_S = 10.0
_RELEASE_S = 2.0
_log = logging.getLogger("llmorch")


class LiveRun:
    """State, journal and executor of one run.

    Attributes:
        seen: The observers have seen everything, or had their time for it.
        failure: What ended it in this process without ending the run, such as `ClaimLost`.
        was_dismissed: It was claimed, and then not carried out here after all.
    """

    __slots__ = (
        "_ended", "_inbox", "_is_reading", "_observers", "_over", "_settled", "_since", "executor", "failure",
        "journal", "seen", "state", "store", "was_dismissed",
    )  # fmt: skip

    def __init__(
        self,
        state: RunState,
        *,
        store: RunStore,
        claim: Claim,
        services: Services,
        observers: Sequence[Observer],
        since: int = 0,
        on_ask: OnAsk | None = None,
    ) -> None:
        self.state = state
        self.store = store
        self.journal = Journal(store, claim, self.state, places=services.places)
        self._since = since
        self.executor = Executor(self.state, self.journal, services)
        self._inbox: Inbox | None = None  # most runs never need one
        self._is_reading = False
        self.journal.mail = self.read_inbox
        if on_ask is not None:
            self.executor.consult = consulting(on_ask, self.answer)
        self.failure: BaseException | None = None
        self._observers = observers
        self._ended = False
        self._over: anyio.Event | None = None
        self._settled: anyio.Event | None = None
        self.seen = False
        self.was_dismissed = False

    @property
    def ended(self) -> bool:
        """Whether nothing more happens here."""
        return self._ended

    @property
    def inbox(self) -> Inbox:
        """What others leave for it."""
        if self._inbox is None:
            self._inbox = Inbox(self.store, self.journal, self.executor)
        return self._inbox

    async def answer(self, question: StepWaiting, value: Any, *, by: str | None = None) -> None:  # Any: an answer
        """Leave an answer for the run and take it up, lest the run says in between that it waits.

        Raises:
            AnswerInvalid: It does not fit.
            AlreadyAnswered: Somebody was quicker.
        """
        await leave(self.store, question, run_id=self.state.run_id, value=value, by=by)
        await self._read_inbox()

    def read_inbox(self) -> None:
        """Take up what others have left, beside the run."""
        if not self._is_reading and not self._ended:
            self._is_reading = True
            _wake.spawn(self._read_inbox)

    async def _read_inbox(self) -> None:
        self._is_reading = False
        try:
            await self.inbox.take_up()
            await self.journal.flush()
            self.executor.stir()
        except Exception as error:  # the run meets it itself, if it matters to the run
            _log.debug("run %s: its inbox cannot be read just now: %s", self.state.run_id, error)

    async def drive(self) -> None:
        """Carry it out in the calling task.

        Raises:
            LLMOrchError: The run could not be recorded; a failed step raises nothing.
        """
        watched = [self._watched(observer) for observer in self._observers] if self._observers else ()
        try:
            await self.executor.run()
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._end()
            if watched:
                with anyio.move_on_after(_OBSERVERS_S, shield=True):
                    for seen in watched:
                        await seen.wait()
            self._settle()

    def dismiss(self) -> None:
        """Do not carry it out after all; whoever waits for it here has to look where it goes on."""
        self.was_dismissed = True
        self._end()
        self._settle()

    def _end(self) -> None:
        self._ended = True
        self.journal.close()
        if self._over is not None:
            self._over.set()

    def _settle(self) -> None:
        self.seen = True
        if self._settled is not None:
            self._settled.set()

    def _watched(self, observer: Observer) -> anyio.Event:
        """Let an observer see every event, in its own time; the event is set when it has."""
        seen = anyio.Event()
        listener = Listener(self.state.run_id, self.store, after=self._since, journal=self.journal, deltas=False)
        _wake.spawn(observe, listener, observer, seen)
        return seen

    async def wait(self) -> None:
        """Return when nothing more happens here."""
        if not self._ended:
            if self._over is None:
                self._over = anyio.Event()
            await self._over.wait()

    async def wait_seen(self) -> None:
        """Return when nothing more happens here and the observers have seen it."""
        if not self.seen:
            if self._settled is None:
                self._settled = anyio.Event()
            await self._settled.wait()

    async def release(self) -> None:
        """Give up the claim of a run that was left before its end was recorded, so that another may go on with it."""
        is_over = self.executor.is_resting or (self.state.finished_us is not None and self.journal.failure is None)
        if not is_over and not isinstance(self.failure, ClaimLost):
            with anyio.move_on_after(_RELEASE_S), suppress(Exception):  # its owner is dead soon: it comes to the same
                await self.store.release(self.journal.claim, status="running")

    def listen(self, *, after: int = 0, deltas: bool = True, follow: Follow | None = None) -> Listener:
        """Its events from a seq on, and the pieces of answers as they come."""
        return Listener(self.state.run_id, self.store, after=after, journal=self.journal, deltas=deltas, follow=follow)

    def items(self, step: str) -> Items[Any]:
        """The items of a map as they come."""

        async def opened() -> tuple[WorkflowDef, int]:
            return self.state.definition, self.journal.committed

        def check() -> None:
            if self.failure is not None:
                raise self.failure

        return Items(step, opened=opened, listen=lambda after: self.listen(after=after, deltas=False), check=check)
