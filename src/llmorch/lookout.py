"""Looks out for what other processes do: commits, items left for runs carried out here, runs without an owner."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from . import _clock, _wake
from .live import LiveRun
from .ports import RunStore

__all__ = ["Lookout", "Pulse"]

_LOOK_S = 0.05
_LONGEST_LOOK_S = 0.5
_RECOVER_S = 5.0
_log = logging.getLogger("llmorch")


class Pulse:
    """Tells when a store may have something new; one that has no `revision()` may at any moment."""

    def __init__(self, store: RunStore) -> None:
        self._revision: Callable[[], Awaitable[int]] | None = getattr(store, "revision", None)
        self._changed: Callable[..., Awaitable[object]] | None = getattr(store, "changed", None)

    async def revision(self) -> int | None:
        """A number that differs as soon as anything was committed; None when the store has none."""
        return None if self._revision is None else await self._revision()

    async def change(self, since: int | None) -> None:
        """Return when the store has changed since that revision, or after half a second."""
        if since is not None and self._changed is not None:  # it is told of changes
            await self._changed(since, timeout_s=_LONGEST_LOOK_S)
            return
        end = anyio.current_time() + _LONGEST_LOOK_S
        while True:
            await _clock.sleep(_LOOK_S)
            if since is None or anyio.current_time() >= end or await self.revision() != since:
                return


class Lookout:
    """One task of an orchestrator, for stores that other processes use.

    Args:
        live: The runs carried out here, by id.
        recover: Takes up runs without an owner; None when that is not wanted.
    """

    def __init__(
        self, store: RunStore, live: dict[str, LiveRun], *, recover: Callable[[], Awaitable[object]] | None
    ) -> None:
        self._store = store
        self._live = live
        self._recover = recover
        self._pulse = Pulse(store)
        self._task: _wake.BackgroundTask | None = None
        self._over: anyio.Event | None = None
        self._seen: dict[str, int] = {}
        self._is_behind = False
        self.stays = False

    def start(self) -> None:
        """Look out from now on: as long as runs are carried out here, or for good when it `stays`."""
        if self._task is None and not getattr(self._store, "is_instant", False):
            self._task = _wake.spawn(self._look)

    async def stop(self) -> None:
        """Look no more; returns when nothing of it is left."""
        self.stays = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self._over is not None:  # it has begun; one that has not never will
            with anyio.move_on_after(_RECOVER_S):
                await self._over.wait()

    async def _look(self) -> None:
        self._over = over = anyio.Event()
        try:
            await self._keep_looking()
        finally:
            self._task = self._over = None
            over.set()

    async def _keep_looking(self) -> None:
        revision: int | None = None
        due = anyio.current_time() + _RECOVER_S
        pause_s, told = _LONGEST_LOOK_S, ""
        while True:
            await _clock.sleep(pause_s)
            if not self._live and not self.stays:
                return
            try:
                self._warn_of_trouble()
                newest = await self._pulse.revision()
                if newest is None or newest != revision or self._is_behind:
                    revision = newest
                    await self._read_inboxes()
                if self._recover is not None and self.stays and anyio.current_time() >= due:
                    due = anyio.current_time() + _RECOVER_S
                    await self._recover()
                pause_s, told = _LONGEST_LOOK_S, ""
            except Exception as error:  # a store may raise anything; a later look may do better
                pause_s = _RECOVER_S
                if str(error) != told:
                    told = str(error)
                    _log.warning("the store cannot be looked at just now: %s", error)

    async def _read_inboxes(self) -> None:
        """Look into the inbox of each run that has not committed since the last look.

        The last commit has told the others what was there by then; what was left after it is found at the next look.
        """
        is_behind = False
        self._is_behind = True  # should the store fail in between
        for run_id, live in list(self._live.items()):
            committed = live.journal.committed
            if self._seen.get(run_id) != committed:
                self._seen[run_id] = committed
                is_behind = True
            elif await self._store.inbox(run_id):
                live.read_inbox()
        self._is_behind = is_behind
        if len(self._seen) > 2 * len(self._live) + 100:
            self._seen = {run_id: seq for run_id, seq in self._seen.items() if run_id in self._live}

    def _warn_of_trouble(self) -> None:
        if getattr(self._store, "trouble", None) == "store-full":
            for live in self._live.values():
                live.journal.warn_full()
