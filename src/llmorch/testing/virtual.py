"""A clock that jumps: hours of waiting pass in no time, on asyncio and trio alike.

Time stands still while any task can go on. When all tasks wait, the clock jumps to the next timer. Worker threads are
real work that no timer may overtake, so while a thread that began during the run is alive and not known to be idle,
the clock jumps only after nothing has happened for 50 ms of real time; a thread that blocks for good delays each
timer by that much instead of stopping time altogether.

The times that llmorch records and compares, such as the deadline of a question, move with it in the whole process until
the run is over. Not covered: network, pipes and other processes (the clock jumps while they work), and the wall clock
that other code reads.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import anyio

from .. import _clock
from .._clock import monotonic
from ..errors import LLMOrchError

if TYPE_CHECKING:
    from trio.testing import MockClock

__all__ = ["ClockStuck", "run_virtual", "virtual_clock_options"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_QUIET_S = 0.05
_PATIENCE_S = 10.0
_IDLE_ROUNDS = 3  # polls of trio's loop without a step between them; one would do if nothing woke late


class ClockStuck(LLMOrchError):
    """Every task waits for something that no timer, thread or other task will bring."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message or "All tasks wait and no timer is set, so nothing will ever happen; look for a wait nobody ends"
        )


def run_virtual(async_fn: Callable[..., Awaitable[T]], *args: object, backend: str = "asyncio") -> T:
    """What the async function returns, run to its end on a virtual clock that starts at 0 s (trio: anywhere).

    Args:
        async_fn: Called with `args` in a loop of its own.
        backend: `asyncio` or `trio`.

    Raises:
        ClockStuck: All tasks wait and no timer is set (with a thread at work: for 10 s of real time).

    Example:
        >>> async def a_long_day() -> float:
        ...     await anyio.sleep(86_400)
        ...     return anyio.current_time()
        >>> run_virtual(a_long_day)
        86400.0
    """
    options = virtual_clock_options(backend)
    try:
        return anyio.run(async_fn, *args, backend=backend, backend_options=options)
    except BaseException as error:  # trio ends a stuck run by cancelling it, which says nothing of the cause
        if any(watch.stuck for watch in options.get("instruments", ())):
            raise ClockStuck() from error
        raise


def virtual_clock_options(backend: str) -> dict[str, Any]:  # Any: anyio's own type of backend options
    """Backend options that give one run a virtual clock; ask anew for every run or test.

    For pytest: `@pytest.fixture(params=["asyncio", "trio"])` and
    `def anyio_backend(request): return request.param, virtual_clock_options(request.param)`.
    A stuck test ends with `ClockStuck` on asyncio and with trio's `Cancelled` on trio.

    Args:
        backend: `asyncio` or `trio`.
    """
    if backend == "asyncio":
        return {"loop_factory": _VirtualLoop}
    if backend != "trio":
        raise ValueError(f"There is no virtual clock for backend {backend!r}; use 'asyncio' or 'trio'")
    from trio.testing import MockClock

    clock = MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [_TrioWatch(clock)]}


class _Wall:
    """The wall clock that llmorch reads while a virtual clock goes: it moves only with that.

    Args:
        passed_s: The seconds that the virtual clock has gone.
    """

    def __init__(self, passed_s: Callable[[], float]) -> None:
        self._passed_s = passed_s
        self._began_ns = _clock.now_us() * 1000
        self._former = _clock.read(self._now_ns)

    def _now_ns(self) -> int:
        return self._began_ns + math.ceil(self._passed_s() * 1e9)

    def stop(self) -> None:
        """Have the clock read that was read before."""
        _clock.read(self._former)


class _Threads:
    """Knows whether a thread that began after this object may be at work."""

    def __init__(self) -> None:
        self._before = frozenset(threading.enumerate())

    def may_work(self) -> bool:
        own = threading.current_thread()
        return any(thread is not own and not self._is_idle(thread) for thread in threading.enumerate())

    def _is_idle(self, thread: threading.Thread) -> bool:
        if thread in self._before or thread.name.startswith("Trio thread "):  # trio renames its workers while they work
            return True
        return thread in getattr(thread, "idle_workers", ())  # anyio's workers on asyncio carry their pool's idle list


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 0.0
        self._wall = _Wall(self.time)
        super().__init__(_JumpingSelector(self))

    def close(self) -> None:
        if not self.is_closed():
            self._wall.stop()
        super().close()

    def time(self) -> float:
        return self.now_s

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if when == math.inf:  # a sleep for ever is no timer to jump to
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)


class _JumpingSelector(selectors.DefaultSelector):
    """Polls; where a selector would wait for the next timer, it moves the loop's clock there."""

    def __init__(self, loop: _VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._threads = _Threads()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._threads.may_work():
            ready = super().select(_PATIENCE_S if timeout is None else _QUIET_S)
            if ready:
                return ready
        if timeout is None:
            raise ClockStuck()
        self._loop.now_s += timeout
        return []


class _TrioWatch:
    """A trio instrument: makes the clock patient while threads work, and ends a run that is stuck."""

    def __init__(self, clock: MockClock) -> None:
        self.stuck = False
        self._clock = clock
        self._threads = _Threads()
        self._rounds = 0
        self._quiet_since = 0.0
        self._wall: _Wall | None = None

    def before_run(self) -> None:
        began_s = self._clock.current_time()
        self._wall = _Wall(lambda: self._clock.current_time() - began_s)

    def after_run(self) -> None:
        if self._wall is not None:
            self._wall.stop()

    def after_task_step(self, task: object) -> None:
        from trio.testing import active_thread_count

        self._rounds = 0
        patience_s = _QUIET_S if active_thread_count() or self._threads.may_work() else 0.0
        if patience_s != self._clock.autojump_threshold:
            self._clock.autojump_threshold = patience_s

    def before_io_wait(self, timeout: float) -> None:
        from trio.lowlevel import current_statistics

        now = current_statistics()
        if now.tasks_runnable or now.run_sync_soon_queue_size or now.seconds_to_next_deadline != math.inf or self.stuck:
            self._rounds = 0
            return
        if self._rounds == 0:
            self._quiet_since = monotonic()
        self._rounds += 1
        if self._rounds > _IDLE_ROUNDS and not self._must_wait():
            self._end_run()

    def _must_wait(self) -> bool:
        return self._clock.autojump_threshold > 0 and monotonic() - self._quiet_since < _PATIENCE_S

    def _end_run(self) -> None:
        from trio.lowlevel import current_root_task, current_trio_token

        self.stuck = True
        root = current_root_task()
        if root is not None:
            scope = root.child_nurseries[-1].cancel_scope  # the innermost one holds the main task
            current_trio_token().run_sync_soon(scope.cancel)
