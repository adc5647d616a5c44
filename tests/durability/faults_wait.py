"""Waiting for what other processes and threads do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def until(is_so: Callable[[], bool], *, look_s: float = 0.01) -> None:
    """Return when it is so; whoever calls bounds it."""
    while True:
        if is_so():
            return
        await anyio.sleep(look_s)


async def until_asked(is_so: Callable[[], Awaitable[bool]], *, look_s: float = 0.01) -> None:
    """The same for what must be waited for."""
    while True:
        if await is_so():
            return
        await anyio.sleep(look_s)
