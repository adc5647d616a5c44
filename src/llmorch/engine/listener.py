"""Iterates a run's events: committed ones from the store, pieces of answers as they come.

A slow reader never slows the run: committed events are read in pages by seq, and pieces that were not fetched yet are
merged into one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Self

import anyio

from .. import _clock
from ..errors import RunNotFound, StoreCorrupt, StoreError
from ..events import CallFinished, Event, RunFinished, StepCancelled, StepDelta, StepFailed, StepSucceeded
from ..ports import RunStore
from .journal import Journal

__all__ = ["Follow", "Listener"]

_PAGE = 500
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_PATIENCE_S = 5.0  # after the run has ended here

Follow = Callable[[str, int], Awaitable["Journal | bool"]]
"""Waits until the run of that id may have events after that seq: the journal, if it is carried out here by then; False
when there will be none."""


class Listener:
    """An async iterator over the events of a run.

    It ends after `RunFinished`, or after the last committed event of a run that nobody will carry out.

    Args:
        after: Skip events up to and including this seq.
        journal: The run's journal while it is live in this process.
        deltas: Also give `StepDelta`.
        follow: How to go on where the journal ends before the run, or there is none; unset, that is the end.
    """

    def __init__(
        self,
        run_id: str,
        store: RunStore,
        *,
        after: int = 0,
        journal: Journal | None = None,
        deltas: bool = True,
        follow: Follow | None = None,
    ) -> None:
        self._run_id = run_id
        self._store = store
        self._after = max(after, 0)
        self._journal = journal
        self._queue: deque[Event] = deque()
        self._growing: dict[str, StepDelta] = {}
        self._news: anyio.Event | None = None
        self._over = False
        self._deltas = deltas
        self._follow = follow
        if journal is not None:
            self._join(journal)

    def _join(self, journal: Journal) -> None:
        journal.watchers = (*journal.watchers, self._hear)
        if not self._deltas:
            return
        journal.delta_watchers += 1
        for step, partial in journal.partial.items():
            partial.pieces = ["".join(partial.pieces)]
            self._growing[step] = StepDelta(step, partial.call, 0, partial.pieces[0], run_id=self._run_id)

    def _hear(self, delta: StepDelta | None) -> None:
        if delta is not None:
            if not self._deltas:
                return
            known = self._growing.get(delta.step)
            if known is not None and known.call == delta.call:
                known.text += delta.text
            else:
                self._growing[delta.step] = StepDelta(
                    delta.step, delta.call, delta.offset, delta.text, run_id=delta.run_id, at_us=delta.at_us
                )
        if self._news is not None:
            self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._queue:
                event = self._queue.popleft()
                if type(event) is RunFinished:
                    self.close()
                return event
            if self._over:
                raise StopAsyncIteration
            await self._fetch()

    async def several(self) -> Sequence[Event]:
        """All events that are there by now, at least one; none at the end."""
        while not self._queue and not self._over:
            await self._fetch()
        events = tuple(self._queue)
        self._queue.clear()
        if events and type(events[-1]) is RunFinished:
            self.close()
        return events

    async def _fetch(self) -> None:
        """Wait for something new and queue it."""
        journal = self._journal
        if journal is None or journal.committed > self._after:
            page = await self._page(journal)
            if page:
                self._after = page[-1].seq or self._after
                self._queue.extend(self._interleaved(page))
                return
            if journal is None:
                await self._go_on()
                return
        if self._growing:
            self._queue.extend(self._growing.values())
            self._growing = {}
            return
        if self._over:
            return
        if journal.closed:
            self._leave()
            await self._go_on()
            return
        self._news = anyio.Event()
        await self._news.wait()
        self._news = None

    async def _page(self, journal: Journal | None) -> Sequence[Event]:
        """The next events; of a run that goes on here they are asked for until the store can give them.

        Raises:
            StoreError: The store cannot give them, and nobody writes them here any more.
        """
        pause_s, left_s = _FIRST_PAUSE_S, _PATIENCE_S
        while True:
            try:
                return await self._store.events(self._run_id, after=self._after, limit=_PAGE)
            except (RunNotFound, StoreCorrupt):
                raise
            except (StoreError, OSError):
                if journal is None or left_s <= 0:
                    raise
                left_s -= pause_s if journal.closed else 0
            await _clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _interleaved(self, page: Iterable[Event]) -> Iterable[Event]:
        """The page, with the pieces of an answer put before the event that ends its call."""
        if not self._growing:
            return page
        mixed: list[Event] = []
        for event in page:
            if isinstance(event, CallFinished | StepSucceeded | StepFailed | StepCancelled):
                delta = self._growing.get(event.step)
                if delta is not None and (not isinstance(event, CallFinished) or delta.call <= event.call):
                    mixed.append(self._growing.pop(event.step))
            mixed.append(event)
        return mixed

    async def _go_on(self) -> None:
        """The run is not carried out here: wait for what others write, or end."""
        found = False if self._follow is None else await self._follow(self._run_id, self._after)
        if found is False:
            self.close()
        elif found is not True and not self._over:
            self._journal = found
            self._join(found)

    def _leave(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None and self._hear in journal.watchers:
            journal.watchers = tuple(watcher for watcher in journal.watchers if watcher != self._hear)
            journal.delta_watchers -= self._deltas

    def close(self) -> None:
        """Stop listening; harmless when done twice."""
        self._over = True
        self._leave()
        if self._news is not None:
            self._news.set()

    async def aclose(self) -> None:
        """`close`, for `contextlib.aclosing`."""
        self.close()
