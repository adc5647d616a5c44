"""A small program between llmorch and a script: it starts the script and leaves nothing of it behind.

Run as `python -I -S script_supervisor.py LIFE STATUS PARENT COMMAND...` it imports nothing of llmorch. LIFE is the
reading end of a pipe whose other end only llmorch holds: a byte asks the script to stop (TERM, and after as many
seconds as the byte says KILL), its end means that llmorch is gone or in a hurry (KILL at once). STATUS is the writing
end of a pipe for what became of the script, one line each: `pid N`, then `exit N` or `signal N`, or `failed ERRNO`; and
`left N` when that many processes could not be ended.

On Linux it becomes the reaper of its descendants, so that a daemon that left the script's process group is found and
killed as well. Elsewhere only the group is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

__all__ = ["main"]

_SUBREAPER, _DEATH_SIGNAL = 36, 1  # prctl(2)
_LOOK_S = 1.0  # how often to see whether the parent is another one
_GIVE_UP_S = 5.0  # what survives KILL for so long will not die of another one
_NOT_STARTED = 127


def main(arguments: list[str]) -> int:
    """Run the command and end all that came of it; the exit code says only whether anything was left."""
    life, status, parent = (int(text) for text in arguments[:3])
    command = arguments[3:]
    for fd in (life, status):
        os.set_inheritable(fd, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # llmorch's thread may have blocked some
    _prctl(_SUBREAPER, 1)
    woken = _wake_on_children()
    if os.getppid() != parent or select.select([life], [], [], 0)[0]:
        return 0  # nobody wants it any more
    pid = _start(command, status)
    _tell(status, f"pid {pid}")
    _drop_streams()
    outcome = _watch(pid, life, woken, parent)
    left = _end_all(pid, woken)
    _tell(status, outcome if outcome is not None else f"signal {signal.SIGKILL}")
    if left:
        _tell(status, f"left {left}")
    return int(bool(left))


def _start(command: list[str], status: int) -> int:
    """The script's process, leader of a session of its own."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(_NOT_STARTED)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        _tell(status, f"failed {error.errno}")
    finally:
        os._exit(_NOT_STARTED)


def _watch(pid: int, life: int, woken: int, parent: int) -> str | None:
    """Wait until the script ends or must be ended; how it ended, when it did so itself or after a TERM."""
    ending: float | None = None
    poller = select.poll()
    poller.register(life, select.POLLIN)
    poller.register(woken, select.POLLIN)
    while True:
        outcome = _ended(pid)
        if outcome is not None:
            return outcome
        left_s = _LOOK_S if ending is None else min(_LOOK_S, ending - time.monotonic())
        if left_s <= 0 or os.getppid() != parent:
            return None
        for fd, _ in poller.poll(left_s * 1000):
            told = os.read(fd, 512)
            if fd != life:
                continue
            if not told:
                return None
            ending = time.monotonic() + told[0]
            _signal_group(pid, signal.SIGTERM)
            _signal_group(pid, signal.SIGCONT)  # one that is stopped would not see the TERM


def _ended(pid: int) -> str | None:
    """How the script ended, leaving it unreaped so that its group keeps its number; others that ended are reaped."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return _reaped(pid)
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if found is None:
            return None
        if found.si_pid == pid:
            return f"exit {found.si_status}" if found.si_code == os.CLD_EXITED else f"signal {found.si_status}"
        os.waitpid(found.si_pid, 0)


def _reaped(pid: int) -> str | None:
    """The same where one cannot look without reaping."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else f"signal {-code}"


def _end_all(pid: int, woken: int) -> int:
    """Kill the script's group and every descendant, reap them all; how many could not be ended."""
    _signal_group(pid, signal.SIGKILL)
    until = time.monotonic() + _GIVE_UP_S
    while _reap():
        for descendant in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(descendant, signal.SIGKILL)
        if time.monotonic() > until:
            return len(list(_descendants())) or 1
        if select.select([woken], [], [], 0.02)[0]:
            os.read(woken, 512)
    return 0


def _reap() -> bool:
    """Collect what has ended; whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _descendants() -> Iterator[int]:
    """Every living process below this one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    children.setdefault(int(fields[1]), []).append(int(name))
    todo = [os.getpid()]
    while todo:
        found = children.get(todo.pop(), [])
        yield from found
        todo += found


def _signal_group(pid: int, number: int) -> None:
    """To a script that has not made its session yet, the group does not exist: then to the process."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    except PermissionError:
        pass  # it runs as somebody else


def _wake_on_children() -> int:
    """A descriptor that can be read after a child has ended."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    return reading


def _note(number: int, frame: object) -> None:
    """The default is to ignore the end of a child, which wakes nobody."""


def _drop_streams() -> None:
    """Let go of the script's standard streams: their readers wait for the last holder to end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes
    except ImportError:  # a Python built without it: the group is all that can be killed then
        return
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _tell(status: int, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(status, f"{line}\n".encode("ascii"))


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # at once: llmorch waits for the end of this process
