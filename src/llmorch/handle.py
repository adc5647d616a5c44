"""A run from outside: watch it, wait for it, stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

from .engine.listener import Listener
from .events import Event
from .run import Run

if TYPE_CHECKING:
    from .live import LiveRun
    from .queries import Queries

__all__ = ["EventStream", "RunHandle"]

T = TypeVar("T")


class RunHandle(Generic[T]):
    """A run by id. Dropping the handle never cancels the run.

    Example:
        >>> async def watch(orchestrator: Orchestrator, workflow: Workflow) -> str:
        ...     handle = await orchestrator.start(workflow)
        ...     async for event in handle.events():
        ...         print(event.seq)
        ...     return (await handle.result()).output
    """

    def __init__(self, run_id: str, queries: Queries) -> None:
        self._id = run_id
        self._queries = queries

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

    def events(self, after: int = 0) -> Listener:
        """The run's events in order, from after this seq to `RunFinished`; reconnect with the last seq seen."""
        return self._queries.listen(self._id, after=after)

    async def result(self) -> Run[T]:
        """The run when it has ended; a failed run is returned, not raised.

        Raises:
            RunNotFound: There is no such run.
            StoreError: The run could not be recorded.
        """
        return await self._queries.result(self._id)

    async def cancel(self) -> None:
        """Stop the run; returns when it has stopped. Harmless when it has ended."""
        await self._queries.cancel(self._id)

    def __repr__(self) -> str:
        return f"RunHandle({self._id!r})"


class EventStream(Generic[T]):
    """The events of a run that lives as long as this `async with` block; leaving early cancels it.

    Attributes:
        run: The run, as far as it has come.
    """

    def __init__(self, live: LiveRun) -> None:
        self._live = live
        self._listener = live.listen()
        self.run: Run[T] = Run(live.state)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._listener.__anext__()
        except StopAsyncIteration:
            if self._live.failure is not None:
                raise self._live.failure from None
            raise

    async def close(self) -> None:
        """Stop listening, and the run too if it has not ended."""
        self._listener.close()
        if not self._live.ended:
            self._live.executor.cancel()
            await self._live.wait()
