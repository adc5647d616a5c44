"""Hooks as the engine uses them: those that observe, and those that stand around calls."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio

from .engine.listener import Listener
from .engine.services import AroundCall
from .events import Event

__all__ = ["Observer", "around_of", "observe", "observers_of"]

Observer = Callable[[Event], Awaitable[None]]
_log = logging.getLogger("llmorch")


def observers_of(hooks: Iterable[object]) -> list[Observer]:
    """The `on_event` of each hook that has one; a plain function is one itself.

    Raises:
        TypeError: Something is no hook.
    """
    return [observer for hook in hooks if (observer := _observer(hook)) is not None]


def _observer(hook: object) -> Observer | None:
    if inspect.isclass(hook):
        raise TypeError(f"a hook is an instance; write {hook.__name__}()")
    method: Any = getattr(hook, "on_event", None)  # Any: an optional method of the port
    if method is None and getattr(hook, "around_call", None) is None:
        if not callable(hook):
            raise TypeError(f"a hook has on_event or around_call, or is a function of one event; {hook!r} is neither")
        method = hook
    if method is None:
        return None

    name = getattr(hook, "__name__", type(hook).__name__)

    async def on_event(event: Event) -> None:
        try:
            done = method(event)
            if inspect.isawaitable(done):
                await done
        except Exception:  # a hook may raise anything; the run does not depend on it
            _log.exception("hook %s failed on %s", name, type(event).__name__)

    return on_event


def around_of(hooks: Iterable[object]) -> list[AroundCall]:
    """The `around_call` of each hook that has one, outermost first."""
    found: Iterable[Any] = (getattr(hook, "around_call", None) for hook in hooks)
    return [around for around in found if around is not None]


async def observe(listener: Listener, observer: Observer, seen: anyio.Event) -> None:
    """Show an observer every event; what it raises is logged and fails nothing."""
    try:
        async for event in listener:
            await observer(event)
    finally:
        seen.set()
