"""Append, then wait at the edge: the one writer of a run's log.

`append` is synchronous: it numbers the event, folds it into the state and buffers it. `durable` hands the buffer to the
store as one unit and returns when it is committed. Commits are in log order; whoever needs one first carries it out for
all that was appended before, so the start of one step and the result of another share a unit.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from .. import _clock
from .._clock import now_us
from ..events import CallFinished, CallStarted, Event, StepCancelled, StepDelta, StepFailed, Warned
from ..ports import AppendReply, Claim, InboxItem, RunStore
from .delivery import Delivery, Unit, at_once, quick_way
from .places import Places
from .state.run import FOLDS, RunState

__all__ = ["Journal", "Partial"]

_LOOK_FOR_SPACE_S = 1.0


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

    def add(self, text: str) -> None:
        """It grew by this."""
        self.pieces.append(text)
        self.length += len(text)


class Journal:
    """Writes one run's log.

    Attributes:
        committed: The last seq the store has.
        partial: Text of the calls being streamed, by step path.
        watchers: Called after each commit, and with each delta.
        delta_watchers: How many of them want deltas.
        mail: Called when a commit says that others have left something in the inbox.
        is_instant: The store commits without waiting for anything.
        passes: Counts the commits that let others run on the event loop meanwhile.

    Args:
        places: Tells whether the run is the only one that does something; unset, it is taken not to be.
    """

    __slots__ = (
        "_append_now", "_buffer", "_busy", "_claim", "_consumed", "_delivery", "_is_full", "_places", "_run_id", "_seq",
        "_status", "_store", "_turn", "_unit", "_wake_at", "closed", "committed", "delta_watchers", "failure",
        "is_instant", "mail", "partial", "passes", "state", "watchers",
    )  # fmt: skip

    def __init__(self, store: RunStore, claim: Claim, state: RunState, *, places: Places | None = None) -> None:
        self.state = state
        self.committed = claim.last_seq
        self.watchers: tuple[Callable[[StepDelta | None], None], ...] = ()  # most runs have none
        self.delta_watchers = 0
        self.partial: dict[str, Partial] = {}
        self.mail: Callable[[], None] | None = None
        self.closed = False
        self.failure: BaseException | None = None
        self.passes = 0
        self._places = places
        self._store = store
        self.is_instant: bool = getattr(store, "is_instant", False)
        self._append_now: Callable[..., AppendReply] | None = quick_way(store, "append_now")
        self._delivery: Delivery | None = None
        self._claim = claim
        self._run_id = claim.run_id
        self._seq = claim.last_seq
        self._buffer: list[Event] = []
        self._busy = False
        self._turn: anyio.Event | None = None
        self._status: str | None = None
        self._wake_at: int | None = None
        self._consumed: list[InboxItem] | None = None
        self._unit: Unit | None = None
        self._is_full = False

    @property
    def claim(self) -> Claim:
        """The right to write this log."""
        return self._claim

    @property
    def buffered(self) -> list[Event]:
        """The events that wait to be committed."""
        return self._buffer

    @property
    def pending(self) -> int:
        """How many events wait to be committed."""
        tried = 0 if self._unit is None or self._busy else len(self._unit.events)
        return len(self._buffer) + tried

    def append(self, event: Event, *, status: str | None = None, wake_at: int | None = None) -> int:
        """Number the event, fold it and buffer it; returns its seq.

        Args:
            status: The run's status from here on, where the event changes it.
            wake_at: When a run that waits wants to go on by itself, in microseconds UTC.
        """
        seq = event.seq = self._seq + 1
        event.at_us = now_us()
        event.run_id = self._run_id
        fold = FOLDS.get(event.__class__)
        if fold is not None:
            fold(self.state, event)  # first: an event that cannot be folded is not counted either
        self._seq = seq
        self._buffer.append(event)
        if status is not None:
            self._status, self._wake_at = status, wake_at
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
                self.commit_now()
            elif self._busy:
                if self._turn is None:
                    self._turn = anyio.Event()
                await self._turn.wait()
            elif not self._commit_here():
                await self._commit()

    async def flush(self) -> None:
        """Commit everything appended so far."""
        await self.durable(self._seq)

    def consume(self, item: InboxItem) -> None:
        """Have the item deleted in the unit of the events that were appended for it."""
        if self._consumed is None:
            self._consumed = []
        self._consumed.append(item)

    def hurry(self, limit_s: float) -> None:
        """Wait no longer than so many seconds for what is being committed, and for what comes after it."""
        self._to_store.hurry(limit_s)

    @property
    def _to_store(self) -> Delivery:
        """The way to a store that takes its time; other runs do without."""
        if self._delivery is None:
            self._delivery = Delivery(self._store)
        return self._delivery

    def warn_full(self) -> None:
        """Say once that the store is full and the run waits for space."""
        if not self._is_full and not self.closed:
            self._is_full = True
            text = "the store is full: nothing new is sent until there is space; what is in flight is kept"
            self.append(Warned(None, "store-full", text))

    @property
    def is_full(self) -> bool:
        """Whether the store has no room, or only what it keeps for answers that were paid for."""
        return getattr(self._store, "trouble", None) == "store-full"

    async def space(self) -> None:
        """Return when the store has room again."""
        self.warn_full()
        while self.is_full:
            await _clock.sleep(_LOOK_FOR_SPACE_S)

    def _taken(self) -> Unit:
        """Everything that waits, as one unit."""
        events, self._buffer = self._buffer, []
        status, self._status = self._status, None
        consumed, self._consumed = self._consumed, None
        wake_at, self._wake_at = self._wake_at, None
        return Unit(events, status, consumed or (), wake_at)

    def _due(self) -> Unit:
        """What is committed next: the unit whose end is not known, or else all that waits."""
        if self._unit is None:
            self._unit = self._taken()
        return self._unit

    def _commit_here(self) -> bool:
        """Commit without letting go of the event loop, where nothing else wants it and the store is quick."""
        places = self._places
        if places is None or not places.is_one_held or self.state.ready.left:  # others could share a commit
            return False
        reply = self._to_store.here(self._due(), self._claim)
        if reply is None:
            return False
        self._unit = None
        self._committed(reply)
        return True

    async def _commit(self) -> None:
        """Commit what waits."""
        unit = self._due()
        self._busy = True
        self.passes += 1
        try:
            reply = await self._to_store.through(unit, self._claim, on_full=self.warn_full)
        except Exception as error:  # whatever the store raises that is for good
            self.failure = error
            raise
        finally:  # cancelled meanwhile or between two tries, the unit stays, and goes first next time
            self._busy = False
            if self._turn is not None:
                self._turn.set()
                self._turn = None
        self._unit = None
        self._committed(reply)

    async def settle(self) -> None:
        """Return when what was handed to the store is committed; what only waits for that stays where it is."""
        if self._unit is not None:
            await self.durable(self.committed + len(self._unit.events))

    async def let_go(self, status: str) -> bool:
        """Give the run up in this status; False when others have left something for it, and then nothing changed."""
        return await self._store.release(self._claim, status=status)

    def commit_now(self) -> None:
        """Commit to a store that waits for nothing, so that nothing can cancel it half-way or come between."""
        if self.failure is not None:
            raise self.failure
        append = self._append_now
        try:
            if append is None:
                reply = at_once(self._store, self._taken(), self._claim)
            elif self._status is None and self._consumed is None:
                events, self._buffer = self._buffer, []
                reply = append(self._claim, events)  # the usual unit, several times a call
            else:
                unit = self._taken()
                reply = append(
                    self._claim, unit.events, status=unit.status, consumed=unit.consumed, wake_at=unit.wake_at
                )
        except BaseException as error:
            self.failure = error
            raise
        self._committed(reply)

    def _committed(self, reply: AppendReply) -> None:
        self.committed = self._claim.last_seq = reply.last_seq
        if reply.inbox and self.mail is not None:
            self.mail()
        for watcher in self.watchers:
            watcher(None)

    def close(self) -> None:
        """Nothing more comes from here; whoever listens reads what is committed and stops."""
        self.closed = True
        self.mail = None  # it leads back to the run, which should not have to wait for the garbage collector
        for watcher in self.watchers:
            watcher(None)

    def delta(self, step: str, call: int, text: str) -> None:
        """Tell those who watch that an answer has grown."""
        partial = self.partial.get(step)
        if partial is None or partial.call != call:
            partial = self.partial[step] = Partial(call)
        delta = StepDelta(step, call, partial.length, text, run_id=self._claim.run_id, at_us=now_us())
        partial.add(text)
        for watcher in self.watchers:
            watcher(delta)
