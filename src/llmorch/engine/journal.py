"""Append, then wait at the edge: the one writer of a run's log.

`append` is synchronous: it numbers the event, folds it into the state and buffers it. `durable` hands the buffer to the
store as one unit and returns when it is committed. Commits are in log order; whoever needs one first carries it out for
all that was appended before, so the start of one step and the result of another share a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from .._clock import now_us
from ..errors import StoreError
from ..events import CallFinished, CallStarted, Event, StepCancelled, StepDelta, StepFailed
from ..ports import AppendReply, Claim, RunStore
from .state.run import RunState

__all__ = ["Journal", "Partial"]

_UNIT = 256


class Partial:
    """The text of a call while it is written, for listeners that join late.

    Attributes:
        length: Characters so far.
    """

    __slots__ = ("call", "length", "pieces")

    def __init__(self, call: int) -> None:
        self.call = call
        self.pieces: list[str] = []
        self.length = 0


class Journal:
    """Writes one run's log.

    Attributes:
        committed: The last seq the store has.
        partial: Text of the calls being streamed, by step path.
        watchers: Called after each commit, and with each delta.
        delta_watchers: How many of them want deltas.
        is_instant: The store commits without waiting for anything.
    """

    __slots__ = (
        "_buffer", "_busy", "_claim", "_seq", "_status", "_store", "_turn", "closed", "committed",
        "delta_watchers", "failure", "inbox", "is_instant", "partial", "state", "watchers",
    )  # fmt: skip

    def __init__(self, store: RunStore, claim: Claim, state: RunState) -> None:
        self.state = state
        self.committed = claim.last_seq
        self.watchers: list[Callable[[StepDelta | None], None]] = []
        self.delta_watchers = 0
        self.partial: dict[str, Partial] = {}
        self.inbox = False
        self.closed = False
        self.failure: BaseException | None = None
        self._store = store
        self.is_instant: bool = getattr(store, "is_instant", False)
        self._claim = claim
        self._seq = claim.last_seq
        self._buffer: list[Event] = []
        self._busy = False
        self._turn: anyio.Event | None = None
        self._status: str | None = None

    @property
    def pending(self) -> int:
        """How many events wait to be committed."""
        return len(self._buffer)

    def append(self, event: Event, *, status: str | None = None) -> int:
        """Number the event, fold it and buffer it; returns its seq.

        Args:
            status: The run's status from here on, where the event changes it.
        """
        seq = event.seq = self._seq + 1
        event.at_us = now_us()
        event.run_id = self._claim.run_id
        self.state.apply(event)  # first: an event that cannot be folded is not counted either
        self._seq = seq
        self._buffer.append(event)
        if status is not None:
            self._status = status
        if self.partial and isinstance(event, CallStarted | CallFinished | StepFailed | StepCancelled):
            self.partial.pop(event.step, None)
        return seq

    async def durable(self, seq: int) -> None:
        """Return when the event of that seq, and all before it, are committed.

        Raises:
            ClaimLost: Another process owns the run; nothing of the unit was written.
            StoreError: The store failed for good.
        """
        while self.committed < seq:
            if self.failure is not None:
                raise self.failure
            if self.is_instant:
                self._commit_now()
            elif self._busy:
                if self._turn is None:
                    self._turn = anyio.Event()
                await self._turn.wait()
            else:
                await self._commit()

    async def flush(self) -> None:
        """Commit everything appended so far."""
        await self.durable(self._seq)

    async def breathe(self) -> None:
        """Commit when so much has gathered that one more unit is due."""
        if len(self._buffer) >= _UNIT:
            await self.flush()

    async def _commit(self) -> None:
        unit, self._buffer = self._buffer, []
        status, self._status = self._status, None
        self._busy = True
        try:
            reply: AppendReply | None = None
            with anyio.CancelScope(shield=True):
                reply = await self._store.append(self._claim, unit, status=status)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._busy = False
            if self._turn is not None:
                self._turn.set()
                self._turn = None
        assert reply is not None  # a shielded scope does not swallow anything
        self._committed(reply)

    def _commit_now(self) -> None:
        """Commit to a store that waits for nothing, so that nothing can cancel it half-way or come between."""
        unit, self._buffer = self._buffer, []
        status, self._status = self._status, None
        try:
            reply = _at_once(self._store.append(self._claim, unit, status=status))
        except BaseException as error:
            self.failure = error
            raise
        self._committed(reply)

    def _committed(self, reply: AppendReply) -> None:
        self.committed = self._claim.last_seq = reply.last_seq
        self.inbox = reply.inbox
        for watcher in self.watchers:
            watcher(None)

    def close(self) -> None:
        """Nothing more comes from here; whoever listens reads what is committed and stops."""
        self.closed = True
        for watcher in self.watchers:
            watcher(None)

    def delta(self, step: str, call: int, text: str) -> None:
        """Tell those who watch that an answer has grown."""
        partial = self.partial.get(step)
        if partial is None or partial.call != call:
            partial = self.partial[step] = Partial(call)
        delta = StepDelta(step, call, partial.length, text, run_id=self._claim.run_id, at_us=now_us())
        partial.pieces.append(text)
        partial.length += len(text)
        for watcher in self.watchers:
            watcher(delta)


def _at_once(appending: Coroutine[Any, Any, AppendReply]) -> AppendReply:
    """What a coroutine gives that never waits.

    Raises:
        StoreError: It waits after all.
    """
    try:
        appending.send(None)
    except StopIteration as done:
        reply: AppendReply = done.value
        return reply
    appending.close()
    raise StoreError("a store says is_instant and waits in append(); it may not say so")
