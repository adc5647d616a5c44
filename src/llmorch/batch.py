"""One action over many rows of inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, Self, TypeVar

import anyio

from . import _wake
from .errors import InputInvalid
from .run import Run

__all__ = ["Batch"]

T = TypeVar("T")


class Batch(Generic[T]):
    """An async iterator of `(row index, run)` in the order runs end; the next rows start as it is iterated.

    Args:
        run: Runs one row.
        concurrency: Rows at once.
    """

    def __init__(
        self,
        run: Callable[[Mapping[str, Any]], Awaitable[Run[T]]],
        rows: Iterable[Mapping[str, Any]],
        *,
        concurrency: int,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"batch(concurrency={concurrency}) runs nothing; give 1 or more")
        self._run = run
        self._rows = enumerate(rows)
        self._concurrency = concurrency
        self._tasks: dict[int, _wake.BackgroundTask] = {}
        self._ended: deque[tuple[int, Run[T] | BaseException]] = deque()
        self._news: anyio.Event | None = None
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, Run[T]]:
        while True:
            self._fill()
            if self._ended:
                index, run = self._ended.popleft()
                if isinstance(run, BaseException):
                    await self.aclose()
                    raise run
                return index, run
            if not self._tasks:
                raise StopAsyncIteration
            self._news = anyio.Event()
            try:
                await self._news.wait()
            except anyio.get_cancelled_exc_class():  # nobody will read what is in flight
                await self.aclose()
                raise

    def _fill(self) -> None:
        while self._more and len(self._tasks) < self._concurrency:
            row = next(self._rows, None)
            if row is None:
                self._more = False
                return
            self._tasks[row[0]] = _wake.spawn(self._one, *row)

    async def _one(self, index: int, row: Mapping[str, Any]) -> None:
        try:
            self._ended.append((index, await self._run(row)))
        except InputInvalid as error:
            self._ended.append((index, InputInvalid(f"Row {index}: {error.message}")))
        except Exception as error:  # raised to whoever iterates
            self._ended.append((index, error))
        finally:
            self._tasks.pop(index, None)
            if self._news is not None:
                self._news.set()

    async def aclose(self) -> None:
        """Start no more rows and cancel those in flight."""
        self._more = False
        for task in list(self._tasks.values()):
            task.cancel()
