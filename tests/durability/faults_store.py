"""A store around another that fails on command. It is made from the port: a new method needs no line here."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Literal, cast

import anyio
import anyio.lowlevel

from llmorch.errors import StoreError
from llmorch.ports import RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite import SqliteStore

METHODS = sorted(
    {
        name
        for kind in (RunStore, MemoryStore, SqliteStore)  # the adapters have the methods a store may leave out
        for name, member in vars(kind).items()
        if inspect.iscoroutinefunction(member) and not name.startswith("_")
    }
)

Mode = Literal["before", "after", "late", "cancelled before", "cancelled after"]
MODES: tuple[Mode, ...] = ("before", "after", "late", "cancelled before", "cancelled after")
DELAY_S = 0.005
_ENDLESS = 50_000


class Endless(BaseException):
    """A call was tried again so often, on a clock that jumps, that it would be for ever."""


class Disturbance:
    """What happens to one call of one method.

    Args:
        mode: It raises `before` or `after` the inner call, comes `late`, or its caller is cancelled while it waits.
        method: Name of the method.
        at: Number of the call, from 1.
        error: Makes what is raised.
        count: How many calls in a row are disturbed.

    Attributes:
        cancel: Cancels the caller's scope.
        fired: How many calls were disturbed.
        calls: How often each method was called.
        tries: What each call of the disturbed method was given, in order.
    """

    def __init__(
        self,
        mode: Mode,
        method: str = "",
        *,
        at: int = 1,
        error: Callable[[], Exception] = lambda: StoreError("on purpose"),
        count: int = 1,
    ) -> None:
        self.mode = mode
        self.method = method
        self.at = at
        self.error = error
        self.count = count
        self.cancel: Callable[[], None] = lambda: None
        self.fired = 0
        self.calls: Counter[str] = Counter()
        self.tries: list[tuple[float, tuple[Any, ...], dict[str, Any]]] = []

    async def around(self, name: str, given: Callable[[], Awaitable[Any]]) -> Any:
        """Carry out a call, disturbed if it is its turn."""
        self.calls[name] += 1
        if name != self.method or not self.at <= self.calls[name] < self.at + self.count:
            return await given()
        self.fired += 1
        if self.fired > _ENDLESS:
            raise Endless(repr(self))
        match self.mode:
            case "before":
                raise self.error()
            case "after":
                await given()
                raise self.error()
            case "late":
                await anyio.sleep(DELAY_S)
                answer = await given()
                await anyio.sleep(DELAY_S)
                return answer
            case "cancelled before":
                self.cancel()
                await anyio.lowlevel.checkpoint()
                return await given()
        answer = await given()
        self.cancel()
        await anyio.lowlevel.checkpoint()
        return answer

    def __repr__(self) -> str:
        return f"{self.method}() number {self.at}, {self.mode}"


class FaultyStore:
    """Any store, with one disturbance; everything that is no method of the port is the inner store's own."""

    is_instant = False  # it may wait, whatever the inner store does

    def __init__(self, inner: RunStore, disturbance: Disturbance) -> None:
        self.inner = inner
        self.disturbance = disturbance

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.inner, name)
        if name not in METHODS and not inspect.iscoroutinefunction(member):
            return member

        async def called(*args: Any, **named: Any) -> Any:
            if name == self.disturbance.method:
                given = tuple(copy(arg) for arg in args)  # a claim moves on
                self.disturbance.tries.append((anyio.current_time(), given, dict(named)))
            return await self.disturbance.around(name, lambda: member(*args, **named))

        return called


def faulty(inner: RunStore, disturbance: Disturbance) -> RunStore:
    """The inner store, disturbed."""
    return cast("RunStore", FaultyStore(inner, disturbance))
