"""The process of a script: fed, read, bounded and ended, with nothing of it left behind.

Between this process and the script stands a supervisor (`script_supervisor.py`), which ends the script with all its
descendants when it is told to, and by itself when this process is gone. The pipes are read here and not by the async
backend, so that asyncio and trio do the same and every descriptor is closed at a known moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

__all__ = ["MAX_BYTES", "Outcome", "carry_out"]

MAX_BYTES = 16 * 2**20
"""How much a script may print on standard output, and as much on standard error."""

_SUPERVISOR = Path(__file__).with_name("script_supervisor.py")
_PIECE = 64 * 1024
_TAIL = 64 * 1024  # kept of standard error
_TERM_S = 2  # from TERM to KILL after a timeout
_CANCEL_S = 1  # the same when cancelled, so that the whole takes less than two seconds
_LATE_S = 0.4  # for the supervisor to do what it was told
_DRAIN_S = 2  # for what is still in the pipes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a script.

    Attributes:
        stdout: All that it printed there, at most `MAX_BYTES`.
        stderr: The end of what it printed there.
        code: Its exit code, or the negative number of the signal that ended it; None when nobody knows.
        timed_out: It was ended because its time was over.
        flooded: It was ended because it printed too much on standard output.
        errno: Why it could not be started; None when it was.
        left: How many of its processes could not be ended.
    """

    stdout: bytes
    stderr: bytes
    code: int | None
    timed_out: bool = False
    flooded: bool = False
    errno: int | None = None
    left: int = 0


async def carry_out(command: Sequence[str], *, given: bytes, env: Mapping[str, str], timeout_s: float) -> Outcome:
    """Run a command with `given` on its standard input, until it ends or its time is over.

    When it returns or raises, no process, descriptor or zombie of it is left, as far as the system allows.

    Raises:
        OSError: No process can be started.
    """
    process = _Process(command, env)
    try:
        return await process.run(given, timeout_s)
    finally:
        with anyio.CancelScope(shield=True):
            await process.stop(_CANCEL_S)
        process.close()


class _Process:
    """A supervisor, and this end of its pipes."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._open: set[int] = set()
        self._stdout: list[bytes] = []
        self._stderr = bytearray()
        self._status = bytearray()
        self._size = 0
        self._over = False
        self._flooded = False
        try:
            theirs = self._start(command, env)
        except BaseException:
            self._close(*self._open)
            raise
        self._close(*theirs)

    def _start(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[int, ...]:
        """Start the supervisor; the ends of the pipes that are its own."""
        script_in, self._in = self._pipe()
        self._out, script_out = self._pipe()
        self._err, script_err = self._pipe()
        supervisor_life, self._life = self._pipe()
        self._told, supervisor_status = self._pipe()
        for fd in (self._in, self._out, self._err, self._life, self._told):
            os.set_blocking(fd, False)
        arguments = [str(supervisor_life), str(supervisor_status), str(os.getpid()), *command]
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SUPERVISOR), *arguments],
            stdin=script_in,
            stdout=script_out,
            stderr=script_err,
            pass_fds=(supervisor_life, supervisor_status),
            env=dict(env),
            start_new_session=True,
        )
        return script_in, script_out, script_err, supervisor_life, supervisor_status

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def _close(self, *fds: int) -> None:
        for fd in self._open.intersection(fds):
            self._open.remove(fd)
            os.close(fd)

    async def run(self, given: bytes, timeout_s: float) -> Outcome:
        """Feed and read it until it has ended, was told to, or printed too much."""
        timed_out = False
        async with anyio.create_task_group() as group:
            drained = anyio.Event()
            group.start_soon(self._feed, given)
            group.start_soon(self._read_streams, drained)
            with anyio.move_on_after(timeout_s) as self._limit:
                await self._watch()
            if not self._over:
                timed_out = not self._flooded
                await self.stop(_TERM_S if timed_out else 0)
            with anyio.move_on_after(_DRAIN_S):
                await drained.wait()
            group.cancel_scope.cancel()
        return self._outcome(timed_out)

    async def stop(self, grace_s: int) -> None:
        """End it within the grace and a moment: TERM, then KILL; at once when there is no grace."""
        if self._over:
            return
        if grace_s:
            with contextlib.suppress(OSError):  # it is gone, or was told before
                os.write(self._life, bytes([grace_s]))
            if await self._ends_within(grace_s + _LATE_S):
                return
        self._close(self._life)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._supervisor.pid, signal.SIGCONT)  # the script may have stopped it
        if not await self._ends_within(_LATE_S):
            self._kill()
            await self._ends_within(_LATE_S)

    def close(self) -> None:
        """Let go of the pipes and reap the supervisor."""
        self._close(*self._open)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(timeout=_LATE_S)  # it has ended: its end of the status pipe is closed

    def _kill(self) -> None:
        """The supervisor does not answer: end it, and the script's group in its place."""
        self._supervisor.kill()
        pid = self._line("pid")
        if pid:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)

    async def _ends_within(self, limit_s: float) -> bool:
        with anyio.move_on_after(limit_s):
            await self._watch()
        return self._over

    async def _watch(self) -> None:
        """Return when the supervisor has ended."""
        await self._read(self._told, self._status.extend)
        self._over = True
        if not any(line.startswith((b"exit", b"signal")) for line in self._status.splitlines()):
            self._kill()  # something ended it before it could do its work

    async def _feed(self, given: bytes) -> None:
        rest = memoryview(given)
        try:
            while rest:
                await anyio.wait_writable(self._in)
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(self._in, rest[:_PIECE]) :]
        except BrokenPipeError:
            pass  # the script does not want to know
        finally:
            self._close(self._in)

    async def _read_streams(self, drained: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._read, self._out, self._keep_output)
            group.start_soon(self._read, self._err, self._keep_error)
        drained.set()

    async def _read(self, fd: int, keep: Callable[[bytes], None]) -> None:
        """Give everything that comes to `keep`, until the last writer is gone."""
        while True:
            await anyio.wait_readable(fd)
            try:
                piece = os.read(fd, _PIECE)
            except BlockingIOError:
                continue
            if not piece:
                return
            keep(piece)

    def _keep_output(self, piece: bytes) -> None:
        if self._flooded:
            return
        self._size += len(piece)
        self._stdout.append(piece)
        if self._size > MAX_BYTES:
            self._flooded = True
            self._stdout.clear()
            self._limit.cancel()

    def _keep_error(self, piece: bytes) -> None:
        self._stderr += piece
        if len(self._stderr) > 2 * _TAIL:
            del self._stderr[:-_TAIL]

    def _line(self, word: str) -> int | None:
        """The number after a word of the status; None when it is not there."""
        for line in self._status.decode("ascii", "replace").splitlines():
            name, _, number = line.partition(" ")
            if name == word and number.isdigit():
                return int(number)
        return None

    def _outcome(self, timed_out: bool) -> Outcome:
        killed_by = self._line("signal")
        return Outcome(
            b"".join(self._stdout),
            bytes(self._stderr[-_TAIL:]),
            self._line("exit") if killed_by is None else -killed_by,
            timed_out=timed_out,
            flooded=self._flooded,
            errno=self._line("failed"),
            left=self._line("left") or 0,
        )
