"""The async backend: the only file that knows whether asyncio or trio runs.

anyio covers tasks, timeouts and locks. What stands here it does not cover: the identity of the running loop, a wake-up
from another thread that survives the end of the loop, a background task outside any task group, and cleanup when the
loop ends. trio is imported only where it is already running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Hashable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVarTuple

if TYPE_CHECKING:
    from anyio import CancelScope
    from trio.lowlevel import TrioToken

__all__ = ["BackgroundTask", "Waker", "at_loop_end", "backend", "cancel_scope", "clock", "poster", "spawn", "token"]

Ts = TypeVarTuple("Ts")

_log = logging.getLogger("llmorch")
_tasks: set[asyncio.Task[None]] = set()  # the loop keeps only weak references to its tasks
# By key, the loop and its generator: the loop itself keeps only weak references.
_parked: dict[object, tuple[Hashable, AsyncGenerator[None, None]]] = {}


def backend() -> Literal["asyncio", "trio"]:
    """Which backend runs the calling task.

    Raises:
        RuntimeError: No loop is running.
    """
    if _in_trio():
        return "trio"
    asyncio.get_running_loop()
    return "asyncio"


def _in_trio() -> bool:
    trio = sys.modules.get("trio")  # if nobody imported trio, it does not run
    lowlevel = getattr(trio, "lowlevel", None)  # another thread may be importing it just now
    return lowlevel is not None and bool(lowlevel.in_trio_run())


def token() -> Hashable:
    """The identity of the running loop: equal while it lives, different for every other loop.

    Raises:
        RuntimeError: No loop is running.
    """
    if _in_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def clock() -> Callable[[], float]:
    """The running loop's clock, in seconds: deadlines of cancel scopes are counted by it."""
    if _in_trio():
        import trio

        return trio.current_time
    return asyncio.get_running_loop().time


_asyncio_scope: Callable[..., CancelScope] | None = None


def cancel_scope(deadline: float = math.inf, *, shield: bool = False) -> CancelScope:
    """An `anyio.CancelScope`, made by its own class: anyio looks for that anew each time, which costs as much again.

    Args:
        deadline: By the running loop's clock.
        shield: Cancellations from outside wait until the scope is left.
    """
    global _asyncio_scope
    if _asyncio_scope is None or _in_trio():
        import anyio

        made = anyio.CancelScope(deadline=deadline, shield=shield)
        if not _in_trio():
            _asyncio_scope = type(made)
        return made
    return _asyncio_scope(deadline=deadline, shield=shield)


class BackgroundTask(Protocol):
    """A task started by `spawn`."""

    def cancel(self) -> None:
        """Ask it to stop; harmless when it has ended. Call it on the task's own loop."""
        ...


class _TrioTask:
    __slots__ = ("scope",)

    def __init__(self) -> None:
        import trio

        self.scope = trio.CancelScope()

    def cancel(self) -> None:
        self.scope.cancel()


class _AsyncioTask:
    __slots__ = ("task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task

    def cancel(self) -> None:
        self.task.cancel()


def spawn(function: Callable[[*Ts], Coroutine[Any, Any, None]], *args: *Ts) -> BackgroundTask:
    """Start a coroutine function as a task of the running loop, outside every task group.

    Nobody waits for it: what it raises is logged. It ends with its loop at the latest.

    Returns:
        A handle that can cancel it.
    """
    if _in_trio():
        import trio

        handle = _TrioTask()
        trio.lowlevel.spawn_system_task(_guarded_in_scope, handle.scope, function, args)
        return handle
    task = asyncio.get_running_loop().create_task(function(*args))
    _tasks.add(task)
    task.add_done_callback(_ended)
    return _AsyncioTask(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a background task of llmorch failed", exc_info=error)


async def _guarded(function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
    try:
        await function(*args)
    except Exception:  # nobody awaits this task, and an error in a trio system task would end the whole program
        _log.exception("a background task of llmorch failed")


async def _guarded_in_scope(
    scope: contextlib.AbstractContextManager[object],
    function: Callable[..., Awaitable[object]],
    args: tuple[object, ...],
) -> None:
    with scope:
        await _guarded(function, args)


def poster() -> Callable[[Callable[[], object]], object]:
    """What has a function called soon on the running loop, from any thread; RuntimeError once the loop has ended."""
    if _in_trio():
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe


class _TrioBell:
    """A trio Event in the words of an asyncio Future, which costs a fourth of what asyncio's own Event does."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        import trio

        self._event = trio.Event()

    def done(self) -> bool:
        return self._event.is_set()

    def set_result(self, result: None) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._event.wait().__await__()


class Waker:
    """Wakes a task of the loop it was made on, from any thread.

    Wakes between two waits count as one. Waking after the loop has ended does nothing.

    Example:
        >>> import anyio
        >>> async def main():
        ...     waker = Waker()
        ...     await anyio.to_thread.run_sync(waker.wake)
        ...     await waker.wait()
        ...     return "woken"
        >>> anyio.run(main)
        'woken'
    """

    __slots__ = ("_bell", "_is_rung", "_loop", "_posted", "_token")

    def __init__(self) -> None:
        self._posted = False
        self._is_rung = False
        self._bell: asyncio.Future[None] | _TrioBell | None = None  # what the task waits on
        self._loop: asyncio.AbstractEventLoop | None = None  # it or the token, as trio has it
        self._token: TrioToken | None = None
        if _in_trio():
            import trio

            self._token = trio.lowlevel.current_trio_token()
        else:
            self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Let the waiting task go on, or the next `wait` return at once."""
        if self._posted:
            return
        self._posted = True
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._post(self._set)

    def _post(self, call: Callable[[], object]) -> None:
        """Have it called soon on the loop; RuntimeError once the loop has ended."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)
        elif self._token is not None:
            self._token.run_sync_soon(call)

    def _set(self) -> None:
        self._is_rung = True
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def wait(self) -> None:
        """Wait until somebody called `wake` since the last `wait` returned; one task at a time."""
        if not self._is_rung:
            self._bell = _TrioBell() if self._loop is None else self._loop.create_future()
            await self._bell
        # A wake that comes before the last line is taken for this one: its news is there when the caller looks.
        self._is_rung = False
        self._posted = False


def at_loop_end(cleanup: Callable[[], Awaitable[object]]) -> Callable[[], None]:
    """Run a cleanup when the running loop shuts down.

    asyncio and trio both close async generators that are still open at their end; one is parked here for the cleanup.
    What the cleanup raises is logged. It has two seconds.

    Returns:
        A function that calls it off.
    """
    _forget_closed_loops()
    key = object()
    parked = _park(key, cleanup)
    _parked[key] = (token(), parked)
    with contextlib.suppress(StopIteration):
        parked.asend(None).send(None)  # nothing suspends before the yield, so one step parks it without a task
    return lambda: _call_off(key)


async def _park(key: object, cleanup: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if _parked.pop(key, None) is not None:
            import anyio

            with anyio.move_on_after(2, shield=True):
                await _guarded(cleanup, ())


def _call_off(key: object) -> None:
    _, parked = _parked.pop(key, (None, None))
    if parked is not None:
        with contextlib.suppress(StopIteration):
            parked.aclose().send(None)  # it finds itself gone, suspends nowhere, and ends


def _forget_closed_loops() -> None:
    """A loop that was closed without shutting its generators down will never run their cleanups."""
    for key, (loop, _) in list(_parked.items()):
        if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed():
            _call_off(key)


def is_being_cancelled() -> bool:
    """Whether a cancellation that was just caught was meant for the calling task.

    On asyncio a task that awaits another, cancelled one sees the same exception though nobody cancelled it.
    """
    if _in_trio():
        return True
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
