"""How a unit of a run's log reaches its store: tried again until it is there, or until the run may not wait longer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import anyio

from .. import _clock, _wake
from ..errors import ClaimLost, RunNotFound, StoreBusy, StoreCorrupt, StoreError, StoreFull
from ..events import Event
from ..ports import AppendReply, Claim, InboxItem, RunStore

__all__ = ["Delivery", "Unit", "at_once", "quick_way"]

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_HERE_S = 0.001  # that an event loop may stand still: a runner works as long without a pause
_COMMITS_AFTER = 20  # a slower one, for which it does not
_NEVER = float("inf")
_FOR_GOOD = (ClaimLost, StoreCorrupt, RunNotFound)
_MISTAKES = (TypeError, ValueError, LookupError, AttributeError, AssertionError)  # in code: no second try mends them
_log = logging.getLogger("llmorch")


@dataclass(slots=True)
class Unit:
    """What is committed in one transaction, and tried again as it is: a store knows a unit it has by its events."""

    events: Sequence[Event]
    status: str | None
    consumed: Sequence[InboxItem]
    wake_at: int | None = None


class _Job(Protocol):
    """A unit that a store commits whether or not anybody waits for it."""

    is_done: bool

    async def wait(self) -> None:
        """Return when it is done, or when somebody called `wake`."""
        ...

    def done_within(self, limit_s: float) -> bool:
        """Block the thread until it is done, but no longer than so many seconds; a store may leave it out."""
        ...

    def wake(self) -> None: ...

    def given(self) -> AppendReply: ...


class Delivery:
    """Hands one run's units to its store, one at a time."""

    __slots__ = ("_append_soon", "_deadline", "_job", "_scope", "_slow", "_store")

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._append_soon: Callable[..., _Job] | None = quick_way(store, "append_soon")
        self._deadline = _NEVER
        self._slow = 0
        self._job: _Job | None = None
        self._scope: anyio.CancelScope | None = None

    def hurry(self, limit_s: float) -> None:
        """Wait no longer than so many seconds for what is being committed, and for what comes after it."""
        self._deadline = min(self._deadline, anyio.current_time() + limit_s)
        if self._scope is not None:
            self._scope.deadline = self._deadline
        elif self._job is not None:
            self._job.wake()  # it was waited for without a deadline

    def here(self, unit: Unit, claim: Claim) -> AppendReply | None:
        """Hand the unit over and wait on the event loop's own thread: a quick disk answers before the loop is back.

        Returns:
            None where that cannot be, or took too long; `through` then goes on with it.
        """
        if self._append_soon is None or self._job is not None:
            return None
        if self._slow:
            self._slow -= 1
            return None
        try:
            self._job = job = self._queued(unit, claim)
            if job.done_within(_HERE_S):
                reply = job.given()
                self._job = None
                return reply
        except Exception:  # `through` meets it again, and knows what to do
            pass
        self._slow = _COMMITS_AFTER
        return None

    async def through(self, unit: Unit, claim: Claim, *, on_full: Callable[[], None]) -> AppendReply:
        """Hand the unit over until the store has it: it may hold an answer that was paid for.

        Args:
            on_full: Called when there is no room for it.

        Raises:
            ClaimLost: Another process owns the run.
            StoreCorrupt: The store is damaged.
            StoreBusy: It took longer than a run that is being cancelled may wait.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                if self._append_soon is None:
                    return await self._handed(unit, claim)
                if self._job is None:
                    self._job = self._queued(unit, claim)
                job = self._job
                # Whoever is cancelled here goes at once: the store carries on, and knows the unit when it is tried
                # again. So nothing has to be shielded, which would take as long as all the rest of this.
                while not job.is_done and self._deadline == _NEVER:
                    await job.wait()
                if not job.is_done:
                    await self._in_time(job, unit, claim)
                return job.given()
            except (*_FOR_GOOD, *_MISTAKES):
                raise
            except Exception as error:  # a store may raise anything; what it holds is worth another try
                if anyio.current_time() >= self._deadline or getattr(self._store, "is_closed", False):
                    raise
                _log.warning("run %s: its log cannot be written just now (%s); trying again", claim.run_id, error)
                if isinstance(error, StoreFull):
                    on_full()
            finally:
                self._scope = self._job = None
            await _clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _queued(self, unit: Unit, claim: Claim) -> _Job:
        assert self._append_soon is not None
        return self._append_soon(claim, unit.events, status=unit.status, consumed=unit.consumed, wake_at=unit.wake_at)

    async def _handed(self, unit: Unit, claim: Claim) -> AppendReply:
        """Hand the unit to a store that does not carry on by itself, so that nobody may be cancelled meanwhile."""
        with _wake.cancel_scope(self._deadline, shield=True) as self._scope:
            return await _append(self._store, unit, claim)
        raise _too_late(unit, claim)

    async def _in_time(self, job: _Job, unit: Unit, claim: Claim) -> None:
        """Wait for a job of a run that is being stopped."""
        with _wake.cancel_scope(self._deadline, shield=True) as self._scope:
            while not job.is_done:
                await job.wait()
        if not job.is_done:
            raise _too_late(unit, claim)


def _too_late(unit: Unit, claim: Claim) -> StoreBusy:
    return StoreBusy(
        f"Run {claim.run_id} was stopped, and its last {len(unit.events)} events could not be recorded in time; "
        "recover it when the store works again",
        run_id=claim.run_id,
    )


def _append(store: RunStore, unit: Unit, claim: Claim) -> Coroutine[Any, Any, AppendReply]:
    """The unit on its way to the store; what most units do not have is left out."""
    if unit.wake_at is not None:
        return store.append(claim, unit.events, status=unit.status, consumed=unit.consumed, wake_at=unit.wake_at)
    if unit.consumed:
        return store.append(claim, unit.events, status=unit.status, consumed=unit.consumed)
    return store.append(claim, unit.events, status=unit.status)


def at_once(store: RunStore, unit: Unit, claim: Claim) -> AppendReply:
    """What the `append` of a store gives that never waits.

    Raises:
        StoreError: It waits after all.
    """
    appending = _append(store, unit, claim)
    try:
        appending.send(None)
    except StopIteration as done:
        reply: AppendReply = done.value
        return reply
    appending.close()
    raise StoreError("a store says is_instant and waits in append(); it may not say so")


def quick_way(store: RunStore, name: str) -> Callable[..., Any] | None:  # Any: what that way gives
    """A store's method that does what `append` does without a coroutine; None where it has no such method.

    Nor where a subclass has an `append` of its own, which is meant to be used.
    """
    return getattr(store, name) if _is_of_one_class(type(store), name) else None


@cache
def _is_of_one_class(kind: type, name: str) -> bool:
    homes = [next((one for one in kind.__mro__ if attribute in vars(one)), None) for attribute in ("append", name)]
    return homes[1] is not None and homes[0] is homes[1]
