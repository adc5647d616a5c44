"""A thread that carries out jobs in order, and how a task of any event loop waits for one."""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import anyio

from .._clock import monotonic
from .._wake import Waker
from ..errors import StoreError

__all__ = ["Home", "Job", "Lane", "Outcome", "Work"]

T = TypeVar("T")
Work = Callable[[Any], T]  # Any: a connection of whatever database the lane is of

_GROUP = 512
_AT_EXIT_S = 2.0


class Job(Waker, Generic[T]):
    """Something to do on a database connection, and the task that waits for it.

    The task may stop waiting; the job is carried out all the same.

    Attributes:
        is_done: It was carried out or refused: `given` says which.
        then: Told what it gave, once that is committed; called on the lane's thread.

    Args:
        patience_s: For how many seconds a locked database is tried again; None is for ever, on a full disk too.
        size: About how many bytes it writes.
    """

    __slots__ = ("_error", "_gate", "due", "is_done", "is_withdrawn", "patience_s", "result", "size", "then", "work")

    def __init__(
        self, work: Work[T], *, patience_s: float | None, size: int = 0, then: Callable[[T], None] | None = None
    ) -> None:
        super().__init__()
        self.work = work
        self.then = then
        self.patience_s = patience_s
        self.size = size
        self.due = None if patience_s is None else monotonic() + patience_s
        self.is_withdrawn = False
        self.is_done = False
        self.result: Any = None  # Any: None, or what the work gives
        self._error: Exception | None = None
        self._gate: threading.Lock | None = None  # of a thread that blocks until it is done

    def finish(self, result: T) -> None:
        """It is done; called on the lane's thread."""
        self._settle(result, None)
        self.wake()

    def fail(self, error: Exception) -> None:
        """It cannot be done; called on the lane's thread."""
        self._settle(None, error)
        self.wake()

    @staticmethod
    def answer(outcomes: Iterable[Outcome]) -> None:
        """Finish or fail many at once, which costs each event loop one wake-up; called on the lane's thread.

        Waking a loop from another thread is a system call in which Python's lock is let go of, so that the loop runs
        first and the other thread waits for it; once for each job it would be most of what a commit costs.
        """
        by_loop: dict[object, list[Job[object]]] = {}
        for job, result, error in outcomes:
            job._settle(result, error)
            gate = job._gate  # read once: its owner may give up at any moment
            if gate is not None:
                gate.release()
            elif not job._posted:
                job._posted = True
                by_loop.setdefault(job._loop or job._token, []).append(job)
        for those in by_loop.values():
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                those[0]._post(partial(Job._set_all, those))

    @staticmethod
    def _set_all(jobs: Iterable[Job[object]]) -> None:
        for job in jobs:
            job._set()

    def _settle(self, result: Any, error: Exception | None) -> None:  # Any: as above
        if not self.is_done:
            self.result = result
            self._error = error
            if self.then is not None and error is None:
                self.then(result)
            self.is_done = True

    def done_within(self, limit_s: float) -> bool:
        """Block the calling thread, the event loop's too, until it is done, but no longer than so many seconds.

        That spares a lone task two system calls, two turns of its loop and the way there and back.
        """
        gate = threading.Lock()
        gate.acquire()
        self._gate = gate
        try:
            if not self.is_done:  # else whoever did it may not have seen the gate
                gate.acquire(timeout=limit_s)
        finally:
            self._gate = None
        return self.is_done  # last: who saw the gate until now wakes nobody, and had done it before

    def given(self) -> T:
        """What it gave, once it is done; what it raised is raised here."""
        if self._error is not None:
            raise self._error
        result: T = self.result
        return result

    async def outcome(self, *, undo: Callable[[T], None] | None = None) -> T:
        """Wait until it is done; what it raised is raised here.

        A caller that is cancelled gets the cancellation, but not before it is decided whether the job is done: a job
        with patience is given up at the next try, one without is seen through.

        Args:
            undo: Told of what was committed for a caller that was cancelled meanwhile.
        """
        try:
            await self._end()
        except GeneratorExit:  # nobody runs this coroutine any more
            raise
        except BaseException:
            self.is_withdrawn = self.patience_s is not None
            with anyio.CancelScope(shield=True):
                await self._end()
            if undo is not None and self.result is not None:
                undo(self.result)
            raise
        return self.given()

    async def _end(self) -> None:
        while not self.is_done:
            await self.wait()


Outcome = tuple[Job[object], object, Exception | None]
"""A job, what it gave, and the error that is its answer instead."""


class Home:
    """The process that made a store: one that was forked from it may not use it.

    Args:
        where: The store's database, for texts.
    """

    __slots__ = ("_pid", "_where")

    def __init__(self, where: object) -> None:
        self._pid = os.getpid()
        self._where = where

    def check(self) -> None:
        """Be sure to be in that process.

        Raises:
            StoreError: This is another one.
        """
        if os.getpid() != self._pid:
            raise StoreError(
                f"This store of {self._where} was made in process {self._pid} and is used in process {os.getpid()}, "
                "forked from it; make a new store there"
            )


class Lane:
    """One thread with a queue of jobs; it begins with the first job.

    Args:
        attempt: Carries out as many of the jobs as it can and gives back those to try again; called on the thread.
        at_end: Closes what the thread opened; called on the thread.
        share: Given how many jobs wait, how many of them are taken together; unset, all.
    """

    def __init__(
        self,
        name: str,
        attempt: Callable[[list[Job[object]]], list[Job[object]]],
        *,
        at_end: Callable[[], None],
        share: Callable[[int], int] | None = None,
    ) -> None:
        self.is_stopping = threading.Event()
        self._name = name
        self._attempt = attempt
        self._at_end = at_end
        self._share = share
        self._jobs: queue.SimpleQueue[Job[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        _living.add(self)

    def put(self, job: Job[Any]) -> None:  # Any: whatever the job gives
        """Queue a job.

        Raises:
            StoreError: The lane was stopped.
        """
        with self._guard:
            if self.is_stopping.is_set():
                raise StoreError(
                    "The store is closed; open a new one (an orchestrator closes the store it was given, so two that "
                    "are not left together need one each)"
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._jobs.put(job)

    def stop(self) -> None:
        """Let the thread end when the jobs queued so far are done; returns at once."""
        with self._guard:
            if not self.is_stopping.is_set():
                self.is_stopping.set()
                self._jobs.put(None)

    def join(self, timeout_s: float | None = None) -> None:
        """Block until the thread has ended; never call it on an event loop."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def orphan(self) -> None:
        """Forget the parent's thread, in a forked child."""
        self._guard = threading.Lock()
        self._thread = None

    def pause(self, seconds: float) -> None:
        """Wait on the thread, but no longer than until the lane is stopped."""
        if self.is_stopping.is_set():
            threading.Event().wait(min(seconds, 0.05))
        else:
            self.is_stopping.wait(seconds)

    def _run(self) -> None:
        waiting: list[Job[object]] = []
        try:
            while self._gather(waiting):
                waiting = self._carry_out(waiting)
        finally:
            self._at_end()

    def _carry_out(self, jobs: list[Job[object]]) -> list[Job[object]]:
        try:
            return self._attempt(jobs)
        except Exception as error:  # a defect must not leave tasks waiting for ever
            for job in jobs:
                job.fail(error)
            return []

    def _gather(self, waiting: list[Job[object]]) -> bool:
        """Add what is queued; blocks only when nothing waits. False when the lane is stopped and all is done."""
        try:
            if not waiting:
                job = self._jobs.get()
                if job is None:
                    return False
                waiting.append(job)
            most = _GROUP
            if self._share is not None:
                most = min(_GROUP, self._share(len(waiting) + self._jobs.qsize()))
            while len(waiting) < most:
                job = self._jobs.get_nowait()
                if job is None:
                    self._jobs.put(None)  # nothing comes behind it, so it is found again when nothing waits
                    break
                waiting.append(job)
        except queue.Empty:
            pass
        return True


_living: WeakSet[Lane] = WeakSet()


@atexit.register
def _stop_all() -> None:
    """Let every lane of this process finish what was queued: its threads are daemons."""
    lanes = list(_living)
    for lane in lanes:
        lane.stop()
    for lane in lanes:
        lane.join(_AT_EXIT_S)


def _in_child() -> None:
    """The threads are the parent's; its locks may have been held when it forked."""
    for lane in _living:
        lane.orphan()
    _living.clear()


os.register_at_fork(after_in_child=_in_child)
