"""The one sync door: an event loop in a thread of its own, for code that is not async.

It works in a script, inside a running loop and in a notebook, because the caller's thread only waits. One portal for
each process: a daemon, closed at exit, dropped after a fork, refused from its own thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

__all__ = ["call"]

T = TypeVar("T")
_CLOSE_S = 12.0
_CLEANUP_S = 2.0


class _Interruptible(Generic[T]):
    """A coroutine function that can be stopped at any moment, also before it has begun."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self.ended = threading.Event()
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self._stopped = False

    async def run(self) -> T:
        """Run it in a scope of its own."""
        try:
            with anyio.CancelScope() as self._scope:
                if not self._stopped:
                    return await self._function()
            raise TimeoutError("stopped, because the wait for it was interrupted")  # nobody is left to see it
        finally:
            self.ended.set()

    async def stop(self) -> None:
        """Cancel it."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()


class _Portal:
    """The thread and its loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name="llmorch-portal", daemon=True)
        self._portal: BlockingPortal | None = None
        self._thread.start()
        self._ready.wait()

    def _live(self) -> None:
        anyio.run(self._serve)

    async def _serve(self) -> None:
        async with BlockingPortal() as portal:
            self._portal = portal
            self._ready.set()
            await portal.sleep_until_stopped()

    @property
    def is_alive(self) -> bool:
        """Whether it can be called: it runs, and in this process."""
        return self.pid == os.getpid() and self._thread.is_alive()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is the portal's own."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run it on the loop and wait for it; when the wait is interrupted, it is cancelled."""
        assert self._portal is not None
        work = _Interruptible(function)
        try:
            return self._portal.start_task_soon(work.run).result()
        except BaseException:
            if not work.ended.is_set():  # Ctrl-C, or a notebook's stop button: nothing may go on, and cost, unseen
                self._portal.start_task_soon(work.stop)
                work.ended.wait(_CLEANUP_S)
            raise

    def close(self) -> None:
        """End the loop, with what its orchestrators hold open."""
        if self._portal is not None and self.is_alive:
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                self._portal.call(self._portal.stop)
                self._thread.join(_CLOSE_S)


_lock = threading.Lock()
_portal: _Portal | None = None


def _current() -> _Portal:
    global _portal
    with _lock:
        if _portal is None or not _portal.is_alive:
            _portal = _Portal()
            atexit.register(_portal.close)
        return _portal


def call(function: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end, from code that is not async.

    Raises:
        RuntimeError: Called from async code that already runs on the portal's loop.
    """
    portal = _current()
    if portal.is_mine:
        raise RuntimeError("run_sync() was called from a step that runs on its own loop; await run() there instead")
    return portal.call(function)
