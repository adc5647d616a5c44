"""A process that has loaded everything and started nothing: its forks begin within milliseconds.

It reads commands from its standard input, a line each, and answers each with a line:
`fork {orders}` -> the process id; `wait` -> the end of that process, which stays a zombie, so that its id is nobody
else's, until `reap`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.architecture.tree import ROOT
from tests.durability.kill_child import Orders, run_child
from tests.durability.kill_fixtures import FIXTURES
from tests.durability.kill_person import run_person

__all__ = ["Child", "Warm", "warm_process"]

_START_S = 60
_ORPHANS_S = 3
_LOADED = (
    "aiohttp", "httpx", "anyio._backends._asyncio", "anyio._backends._trio", "llmorch.providers._http",
    "llmorch.providers._http_direct", "llmorch.providers._http_pool", "llmorch.stores.sqlite.store",
    "llmorch.definition.stored", "certifi",
)  # fmt: skip


class Child:
    """A forked process, the first of a session of its own.

    Attributes:
        orphans: Other processes of its session that lived on after it; they were killed then.
    """

    def __init__(self, warm: Warm, pid: int) -> None:
        self._warm = warm
        self.pid = pid
        self.orphans = 0

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, minus the signal that killed it; None when it still runs after so many seconds."""
        return self._warm.end_of(self, timeout_s)

    def kill(self) -> int:
        """Kill it and whatever it left behind, and give its end."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        code = self._warm.end_of(self, _START_S)
        assert code is not None, "a killed process did not end"
        return code


class Warm:
    """The process from which others are forked, one at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._buffer = b""

    def fork(self, orders: Orders) -> Child:
        """Start a process with these orders."""
        child = Child(self, int(self._asked(f"fork {orders.written()}")))
        self._say("wait")
        return child

    def end_of(self, child: Child, timeout_s: float) -> int | None:
        """See `Child.wait`."""
        line = self.line(timeout_s)
        if line is None:
            return None
        child.orphans = _orphans(child.pid)
        self._asked("reap")
        return int(line)

    def _asked(self, command: str) -> str:
        self._say(command)
        line = self.line(_START_S)
        if line is None:
            raise TimeoutError(f"the warm process did not answer {command.split(' ')[0]!r} within {_START_S} s")
        return line

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def line(self, timeout_s: float) -> str | None:
        """The next line it says; None after so many seconds without one."""
        assert self._process.stdout is not None
        due = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, due - time.monotonic()))
            if not ready:
                return None
            found = os.read(self._process.stdout.fileno(), 4096)
            if not found:
                raise RuntimeError(f"the warm process ended with {self._process.wait()}")
            self._buffer += found
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


def _orphans(session: int) -> int:
    """How many processes of a session go on after its first has ended; they are killed."""
    due = time.monotonic() + _ORPHANS_S
    while (left := _others(session)) and time.monotonic() < due:
        time.sleep(0.01)  # those that end by themselves, because a pipe was closed, take a moment
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _others(session: int) -> list[int]:
    """Processes of a session but its first."""
    found: list[int] = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit() and int(entry) != session:
            with suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append(int(entry))
    return found


@contextmanager
def warm_process() -> Generator[Warm]:
    """A warm process, until the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.durability.kill_warm"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        warm = Warm(process)
        if warm.line(_START_S) != "warm":
            raise TimeoutError(f"the warm process was not ready within {_START_S} s")
        yield warm
    finally:
        process.stdin.close() if process.stdin is not None else None
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close() if process.stdout is not None else None


# In the warm process


def _load() -> None:
    """Everything a child needs, without a loop, a thread or an open store."""
    for module in _LOADED:
        importlib.import_module(module)
    with suppress(ImportError):  # the extra `postgres` is not installed
        importlib.import_module("llmorch.stores.sqlalchemy.parts")
    for fixture in FIXTURES.values():  # templates are compiled, and what that takes is loaded
        fixture.make(_Nobody()).freeze()


class _Nobody:
    edition = ""

    def ran(self, what: str, step: str) -> None:
        """No function runs here."""


def _fork(orders: Orders) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        said = os.open(Path(orders.folder) / f"said-{orders.life}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(nothing, 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        (run_person if orders.answers else run_child)(orders)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Serve until the standard input ends."""
    _load()
    gc.collect()
    gc.freeze()
    print("warm", flush=True)
    pid = 0
    for line in iter(sys.stdin.buffer.readline, b""):
        command, _, rest = line.decode().strip().partition(" ")
        if command == "fork":
            pid = _fork(Orders(**json.loads(rest)))
            print(pid, flush=True)
        elif command == "wait":
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)
        else:
            os.waitpid(pid, 0)
            print("reaped", flush=True)


if __name__ == "__main__":
    main()
