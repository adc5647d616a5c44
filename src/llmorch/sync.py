"""The one sync door: an event loop in a thread of its own, for code that is not async.

It works in a script, inside a running loop and in a notebook, because the caller's thread only waits. One portal for
each process: a daemon, closed at exit, dropped after a fork, refused from its own thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from . import _wake

__all__ = ["call"]

T = TypeVar("T")
_CLOSE_S = 12.0
_CLEANUP_S = 2.0
_LOOK_S = 0.5


class _Work(Generic[T]):
    """A coroutine function on its way through the loop, and the wait for it, which Ctrl-C may end at any moment.

    Whoever waits holds no lock that the loop's thread needs. A `Condition`, and so a `Future` or an `Event`, is one: an
    interrupt between taking it and the next line would leave it taken, and the loop would stand still for good. What
    is posted to asyncio's loop takes none.
    """

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self.ended = False
        self.gate = threading.Lock()  # opened once, by the loop's thread
        self.gate.acquire()
        self._function = function
        self._context = copy_context()
        self._scope: anyio.CancelScope | None = None
        self._begun = False
        self._stopped = False
        self._value: T
        self._error: BaseException | None = None

    def begin(self, tasks: TaskGroup) -> None:
        """Start it; called on the loop."""
        self._begun = True
        self._context.run(_on_asyncio)
        self._context.run(tasks.start_soon, self._run)

    async def _run(self) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                if not self._stopped:
                    self._value = await self._function()
                    return
            self._error = TimeoutError("stopped, because the wait for it was interrupted")  # nobody is left to see it
        except BaseException as error:  # whatever it is, it is the caller's
            self._error = error
            if not isinstance(error, Exception):
                raise  # the loop is ending
        finally:
            self.ended = True
            self.gate.release()

    def stop(self) -> None:
        """Cancel it, also before it has begun; called on the loop."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()
        elif not self._begun:  # the wait was interrupted before the loop was asked to begin it
            self.gate.release()

    def result(self) -> T:
        """What came of it, once the gate is open."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # it holds this frame, and would keep what the frame holds alive
        return self._value


def _on_asyncio() -> None:
    """The caller's context may say that trio runs; that is not so on the portal's loop."""
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        sniffio.current_async_library_cvar.set("asyncio")


class _Portal:
    """The thread and its loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name="llmorch-portal", daemon=True)
        self._post: Callable[[Callable[[], object]], object]
        self._tasks: TaskGroup
        self._closing: anyio.Event
        self._thread.start()
        self._ready.wait()

    def _live(self) -> None:
        anyio.run(self._serve)

    async def _serve(self) -> None:
        self._closing = anyio.Event()
        self._post = _wake.poster()
        async with anyio.create_task_group() as self._tasks:
            self._ready.set()
            await self._closing.wait()

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
        work = _Work(function)
        try:
            self._post(partial(work.begin, self._tasks))
            while not work.gate.acquire(timeout=_LOOK_S):
                pass  # a signal that came just before the wait does not end it, and is seen only now
        except BaseException:
            if not work.ended:  # Ctrl-C, or a notebook's stop button: nothing may go on, and cost, unseen
                self._post(work.stop)
                work.gate.acquire(timeout=_CLEANUP_S)
            raise
        return work.result()

    def close(self) -> None:
        """End the loop, with what its orchestrators hold open."""
        if self.is_alive:
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                self._post(self._closing.set)
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
