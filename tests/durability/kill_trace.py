"""What a process asks of the kernel, by strace, which also kills it instead of its n-th system call of a kind."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CannotTrace", "counted", "sent_unsynced", "traced"]

_ATTACH_S = 20
_END_S = 20
_WATCHED = "pwrite64,fdatasync,sendto,sendmsg,write,writev"


class CannotTrace(Exception):
    """strace is missing, or it may not attach to a process here."""


@contextmanager
def traced(pid: int, *, log: Path, kill_instead_of: tuple[str, int] | None) -> Generator[None]:
    """Inside the block the process is traced.

    Args:
        log: Where strace writes the calls down.
        kill_instead_of: A system call and which one of them; only these are written down then. None: what is written,
            synced and sent is, with the files it is written to.

    Raises:
        CannotTrace: It is not possible here; the text says why.
    """
    program = shutil.which("strace")
    if program is None:
        raise CannotTrace("strace is not installed")
    command = [program, "-f", "-o", str(log), "-p", str(pid)]
    if kill_instead_of is None:
        command += ["-y", "-s", "16", "-e", f"trace={_WATCHED}"]
    else:
        call, n = kill_instead_of
        command += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _wait_until_attached(tracer)
        yield
        tracer.wait(_END_S)  # it ends with the process
    finally:
        if tracer.poll() is None:
            tracer.kill()
            tracer.wait()
        if tracer.stderr is not None:
            tracer.stderr.close()


def _wait_until_attached(tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.stderr is not None
    said, due = b"", time.monotonic() + _ATTACH_S
    while b"attached" not in said:
        ready, _, _ = select.select([tracer.stderr], [], [], max(0.0, due - time.monotonic()))
        found = os.read(tracer.stderr.fileno(), 4096) if ready else b""
        if not found:
            why = said.decode(errors="replace").strip() or "it said nothing"
            raise CannotTrace(f"strace may not attach here: {why}")
        said += found


def counted(trace: str, call: str) -> int:
    """How many such calls were written down."""
    return len(re.findall(rf"^\d+ +{call}\(", trace, re.MULTILINE))


def sent_unsynced(trace: str, *, file: str) -> tuple[int, int]:
    """How many requests were sent, and how many of them before a sync since the last one, or with a write after it."""
    sent = unsynced = 0
    is_synced, syncing = True, set[str]()
    for line in trace.splitlines():
        thread = line.split(" ", 1)[0]
        if "pwrite64(" in line and f"{file}>" in line:
            is_synced = False
            syncing.clear()
        elif "fdatasync(" in line and f"{file}>" in line:
            syncing.add(thread)
        if "fdatasync" in line and line.endswith("= 0") and thread in syncing:
            is_synced = True
            syncing.discard(thread)
        if '"POST ' in line:
            sent += 1
            unsynced += not is_synced
            is_synced = False  # the next one needs a sync of its own start
    return sent, unsynced
