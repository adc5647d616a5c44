"""A run that lives inside an `async with` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

from .handle import EventStream, RunHandle
from .live import LiveRun

__all__ = ["Stream"]

T = TypeVar("T")


class Stream(Generic[T]):
    """Starts the run on entering, and stops it on leaving if it has not ended."""

    def __init__(self, begin: Callable[[], Awaitable[LiveRun | RunHandle[T]]]) -> None:
        self.begin = begin
        self._events: EventStream[T] | None = None

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "a stream is entered first: async with wf.stream(...) as events: async for event in events: ..."
        )

    __aiter__ = __iter__

    async def __aenter__(self) -> EventStream[T]:
        events: EventStream[T] = await EventStream[T].of(await self.begin())
        self._events = events
        return events

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            await self._events.close()
