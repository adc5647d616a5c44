"""Stores that carry on by themselves, as the engine sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from llmorch.errors import ClaimLost
from llmorch.events import Event
from llmorch.ports import AppendReply, Claim
from llmorch.stores.memory import MemoryStore

__all__ = ["Carrying", "Left", "Quick"]


class Left:
    """A unit that was left with the store."""

    def __init__(self) -> None:
        self.is_done = False
        self.reply: AppendReply | ClaimLost | None = None
        self._bell = anyio.Event()

    async def wait(self) -> None:
        await self._bell.wait()
        self._bell = anyio.Event()

    def wake(self) -> None:
        self._bell.set()

    def given(self) -> AppendReply:
        if isinstance(self.reply, ClaimLost):
            raise self.reply
        assert self.reply is not None
        return self.reply


class Carrying(MemoryStore):
    """Commits a unit so many seconds after it was left here; knows one that it has."""

    is_instant = False
    job: type[Left] = Left

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self.takes_s = takes_s
        self.left: list[tuple[Left, Claim, Sequence[Event], str | None]] = []
        self.has: dict[int, AppendReply] = {}
        self.given: list[int | None] = []

    async def append(self, claim: Claim, events: Sequence[Event], **rest: Any) -> AppendReply:
        raise AssertionError("there is a quicker way")

    def append_soon(self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **_: Any) -> Left:
        self.given.append(events[0].seq)
        job = self.job()
        self.left.append((job, Claim(claim.run_id, claim.epoch, claim.last_seq), events, status))
        return job

    async def carry_on(self) -> None:
        while True:
            await anyio.sleep(self.takes_s)
            self.commit()

    def commit(self) -> None:
        for job, claim, events, status in self.left:
            first = events[0].seq or 0
            try:
                if first not in self.has:
                    self.has[first] = super().append_now(claim, events, status=status)
                job.reply = self.has[first]
            except ClaimLost as error:
                job.reply = error
            job.is_done = True
            job.wake()
        self.left.clear()


class Quick(Carrying):
    """Its units are committed while a thread blocks for them, or not so soon; it counts how often one does."""

    def __init__(self, *, is_slow: bool = False) -> None:
        super().__init__(0.001)
        self.blocked = 0
        store = self

        class Near(Left):
            def done_within(self, limit_s: float) -> bool:
                assert limit_s <= 0.001
                store.blocked += 1
                if not is_slow:
                    store.commit()
                return self.is_done

        self.job = Near
