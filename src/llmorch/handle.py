"""A run from outside: watch it, wait for it, stop it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from .definition.node import Ref
from .engine.listener import Listener
from .events import Event
from .items import Items
from .run import Run

if TYPE_CHECKING:
    from .live import LiveRun
    from .queries import Queries

__all__ = ["EventStream", "RunHandle"]

T = TypeVar("T")
U = TypeVar("U")
Reread = Callable[[], Awaitable[Run[T]]]


class RunHandle(Generic[T]):
    """A run by id. Dropping the handle never cancels the run.

    Example:
        >>> async def watch(orchestrator: Orchestrator, workflow: Workflow) -> str:
        ...     handle = await orchestrator.start(workflow)
        ...     async for event in handle.events():
        ...         print(event.seq)
        ...     return (await handle.result()).output
    """

    def __init__(self, run_id: str, queries: Queries, *, live: LiveRun | None = None) -> None:
        self._id = run_id
        self._queries = queries
        self._live = live

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

    def events(self, after: int = 0) -> Listener:
        """The run's events in order, from after this seq to `RunFinished`; reconnect with the last seq seen."""
        return self._queries.listen(self._id, after=after)

    @overload
    def items(self, step: Ref[Sequence[U]]) -> Items[U]: ...
    @overload
    def items(self, step: str) -> Items[Any]: ...
    def items(self, step: Ref[Sequence[Any]] | str) -> Items[Any]:
        """Index and value of each item of a map, in item order, each as soon as it is known; see `Items`.

        Args:
            step: The map, or its path, such as `rows[1]/check`.

        Raises:
            KeyError: There is no such step; when the first item is asked for.
            ValueError: It is no map; likewise.
        """
        return self._queries.items(self._id, _path_of(step))

    async def answer(self, step: str, value: Any, *, by: str | None = None) -> None:  # Any: an answer
        """Answer the open question of a step; see `Orchestrator.answer`.

        Raises:
            NoSuchQuestion: The step asks nothing.
            AlreadyAnswered: The question has its answer.
            AnswerInvalid: The answer does not fit; the question stays open.
        """
        await self._queries.answer(self._id, step, value, by=by)

    async def result(self, *, wait_for_answers: bool = False) -> Run[T]:
        """The run when it has ended or waits for people, wherever it is carried out; a failed one is not raised.

        A run that nobody will go on with is returned as it is, `interrupted`.

        Args:
            wait_for_answers: Also wait until its questions are answered.

        Raises:
            RunNotFound: There is no such run.
            ClaimLost: It was carried out here, and another process has taken it.
            StoreError: The run could not be recorded.
        """
        if self._live is not None:
            await self._live.wait()
            if isinstance(self._live.failure, Exception):
                raise self._live.failure
        return await self._queries.result(self._id, wait_for_answers=wait_for_answers)

    async def peek(self) -> Run[T]:
        """The run as far as it has come; does not wait for it.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here.
        """
        return await self._queries.get(self._id)

    async def cancel(self) -> None:
        """Stop the run, also in another process; returns when it has stopped. Harmless when it has ended."""
        await self._queries.cancel(self._id)

    def __repr__(self) -> str:
        return f"RunHandle({self._id!r})"


def _path_of(step: Ref[Any] | str) -> str:
    if isinstance(step, str):
        return step
    if step.path:
        raise ValueError(f"{step!r} is a part of a value; items() takes the map itself")
    return step.source


class EventStream(Generic[T]):
    """The events of a run that lives as long as this `async with` block; leaving early cancels it.

    A run that was begun before, with the same idempotency key, is only watched.

    Attributes:
        run: The run, as far as it has come.
    """

    def __init__(
        self,
        run: Run[T],
        listener: Listener,
        *,
        items: Callable[[str], Items[Any]],
        live: LiveRun | None = None,
        reread: Reread[T] | None = None,
    ) -> None:
        self.run = run
        self._listener = listener
        self._items = items
        self._live = live
        self._reread = reread

    @classmethod
    async def of(cls, begun: LiveRun | RunHandle[T]) -> EventStream[T]:
        """The stream of a run that begins, or of one that was begun before."""
        if isinstance(begun, RunHandle):
            return cls(await begun.peek(), begun.events(), items=begun.items, reread=begun.peek)
        return cls(Run(begun.state), begun.listen(), items=begun.items, live=begun)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._listener.__anext__()
        except StopAsyncIteration:
            if self._live is not None and self._live.failure is not None:
                raise self._live.failure from None
            if self._reread is not None:
                self.run = await self._reread()
            raise

    @overload
    def items(self, step: Ref[Sequence[U]]) -> Items[U]: ...
    @overload
    def items(self, step: str) -> Items[Any]: ...
    def items(self, step: Ref[Sequence[Any]] | str) -> Items[Any]:
        """Index and value of each item of a map as soon as it is known; see `RunHandle.items`."""
        return self._items(_path_of(step))

    async def close(self) -> None:
        """Stop listening, and the run too if it began here and has not ended."""
        self._listener.close()
        if self._live is not None and not self._live.ended:
            self._live.executor.cancel()
            await self._live.wait()
