"""What this process owns: it claims runs, gives them up, and knows those that nobody in it is at.

A claim may have been made although its reply was lost or its caller was cancelled, and a run that something came for
cannot be given up. Nobody else may take such a run, as its owner lives, and the store cannot know that the owner does
nothing with it. So this process remembers it, and takes it from itself when there is something to do.
"""

from __future__ import annotations

from contextlib import suppress

import anyio

from .engine.journal import Journal
from .errors import ClaimLost, IdempotencyConflict, RunNotFound, StoreBusy, StoreFull
from .ports import Claim, RunRow, RunStore

__all__ = ["Claims"]

_NOT_DONE = (ClaimLost, IdempotencyConflict, RunNotFound, StoreBusy, StoreFull)


class Claims:
    """The claims of one process on one store."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._idle: dict[str, int] = {}  # run id -> from which epoch on nobody is at it, if its row says it is ours

    @property
    def owner(self) -> str:
        """What this process is called in the store; one that several processes use has a name for each."""
        return str(getattr(self._store, "owner", "here"))

    async def claim(self, row: RunRow, *, takeover: bool = False) -> Claim:
        """The claim on a run; see `RunStore.claim`. One that is ours and nobody is at is taken from ourselves."""
        is_idle = self.is_idle(row)
        since = self._idle.pop(row.id, row.epoch + 1)  # nobody else here takes it meanwhile
        try:
            if takeover or is_idle:
                return await self._store.claim(row.id, self.owner, takeover=True)
            return await self._store.claim(row.id, self.owner)
        except BaseException as error:
            if is_idle or not isinstance(error, _NOT_DONE):
                self._idle[row.id] = since
            raise

    async def let_go(self, claim: Claim, journal: Journal | None = None, *, limit_s: float = 2.0) -> None:
        """Give up a run that cannot be carried out after all, in the status it has; what is raised goes on.

        Args:
            journal: What it has begun to commit decides what the status is.
            limit_s: How long that may take, in seconds; it is not cancelled before.
        """
        with anyio.move_on_after(limit_s, shield=True), suppress(Exception):
            if journal is not None:
                await journal.settle()
            row = await self._store.load(claim.run_id)
            if await self._store.release(claim, status=row.status):
                return
        self.add(claim)

    def add(self, claim: Claim) -> None:
        """Nobody is at this run any more, and the store may not have been told."""
        self._idle[claim.run_id] = claim.epoch

    def doubt(self, error: BaseException, claim: Claim) -> None:
        """What would have given us this claim failed, unless it was done all the same."""
        if not isinstance(error, _NOT_DONE):
            self.add(claim)

    def is_idle(self, row: RunRow) -> bool:
        """Whether a run is ours and nobody is at it."""
        return row.owner == self.owner and self._idle.get(row.id, row.epoch + 1) <= row.epoch

    async def idle(self) -> list[RunRow]:
        """The runs that are ours and nobody is at."""
        found: list[RunRow] = []
        for run_id, since in tuple(self._idle.items()):
            with suppress(RunNotFound):
                row = await self._store.load(run_id)
                if self.is_idle(row):
                    found.append(row)
                    continue
            if self._idle.get(run_id) == since:  # else it was left anew meanwhile
                del self._idle[run_id]
        return found
