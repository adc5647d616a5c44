"""Scripts that do what they should not: each is ended in time, is told of, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import anyio
import pytest

from llmorch import StepError, TimedOut
from llmorch.engine.steps.script import run_script
from llmorch.models.script import Script
from llmorch.models.values import Data
from tests.architecture.tree import ROOT
from tests.durability.faults_wait import until
from tests.durability.scripts_left import children, descriptors, marked

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc; daemons are found on Linux only"),
]

LIMIT_S = 20.0

IGNORES_TERM = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", file=sys.stderr, flush=True)
    while True: time.sleep(60)
"""
FORKS = """
    import os, time
    for _ in range(5):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    print('{"forked": 5}')
"""
FORKS_AND_HANGS = """
    import os, time
    for _ in range(3): os.fork()
    time.sleep(60)
"""
DAEMON = """
    import os, pathlib, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            for fd in range(3): os.close(fd)
            pathlib.Path(__file__).with_name("daemon").write_text(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    os.wait()
    while not pathlib.Path(__file__).with_name("daemon").exists(): time.sleep(0.01)
    print("left a daemon")
"""
HOLDS_OUTPUT = """
    import os, time
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
    print("done", flush=True)
"""
GIGABYTE = """
    import os
    piece = b"x" * 65536
    for _ in range(16384): os.write(1, piece)
"""
GIGABYTE_OF_ERRORS = """
    import os
    piece = b"e" * 65536
    for _ in range(16384): os.write(2, piece)
    os.write(2, b"the end")
    raise SystemExit(1)
"""
NO_NEWLINE = """
    import sys
    sys.stdout.write("no newline")
"""
CLOSES_OUTPUT = """
    import os, time
    os.write(1, b"early")
    os.close(1)
    time.sleep(0.2)
"""
STOPS_ITSELF = """
    import os, signal
    os.kill(os.getpid(), signal.SIGSTOP)
"""
STOPS_ITS_PARENT = """
    import os, signal, time
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(60)
"""
KILLS_ITS_PARENT = """
    import os, signal, time
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
"""
WRONG_CODE = """
    import sys
    print('{"success": true, "data": 1}')
    print("a reason", file=sys.stderr)
    sys.exit(3)
"""
INVALID_JSON = """
    print('{"success": true, "data": ')
"""
BINARY = """
    import os
    os.write(1, bytes(range(256)))
"""
HANGS = """
    import time
    time.sleep(60)
"""
DAEMON_AND_HANGS = f"{DAEMON}    time.sleep(60)\n"


class Place:
    """Runs scripts that carry one mark, and says what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"mark-{uuid.uuid4().hex}"

    def write(self, text: str) -> None:
        (self.folder / "bad.py").write_text(textwrap.dedent(text), encoding="utf-8")

    async def run(self, text: str, *, timeout: float = LIMIT_S) -> Data:
        self.write(text)
        return await self.again(timeout=timeout)

    async def again(self, *, timeout: float = LIMIT_S) -> Data:
        script = Script("bad", parameters={"mark": self.mark}, timeout=timeout)
        return await run_script(script, {}, path="bad", roots=[self.folder])

    async def stuck(self) -> None:
        """Return when the script is running."""
        await until(lambda: any("bad.py" in line and "supervisor" not in line for line in marked(self.mark)))


def started(place: Place, backend: str) -> subprocess.Popen[bytes]:
    """Another process that runs the script."""
    command = [sys.executable, "-m", "tests.durability.scripts_child", str(place.folder), "bad", place.mark, backend]
    return subprocess.Popen(command, cwd=ROOT)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Afterwards nothing of its scripts may be there: no process, zombie or descriptor."""
    place = Place(tmp_path)
    before, born = descriptors(), children()
    yield place
    assert marked(place.mark) == []
    assert children() - born == set()
    assert descriptors() == before


async def test_one_that_ignores_sigterm_is_killed(place: Place) -> None:
    begun = monotonic()
    with pytest.raises(TimedOut, match=r"'bad\.py' took longer than its timeout of 0\.5 s.*ends with: deaf"):
        await place.run(IGNORES_TERM, timeout=0.5)
    assert 2.5 <= monotonic() - begun < 5


async def test_one_that_forks_takes_its_children_with_it(place: Place) -> None:
    assert await place.run(FORKS) == {"forked": 5}


async def test_one_that_forks_and_hangs_is_ended_with_its_children(place: Place) -> None:
    with pytest.raises(TimedOut):
        await place.run(FORKS_AND_HANGS, timeout=0.5)


async def test_a_daemon_that_left_the_group_is_found_and_killed(place: Place) -> None:
    assert await place.run(DAEMON) == "left a daemon"
    with pytest.raises(ProcessLookupError):
        os.kill(int((place.folder / "daemon").read_text()), 0)


async def test_a_child_that_holds_the_output_open_is_not_waited_for(place: Place) -> None:
    begun = monotonic()
    assert await place.run(HOLDS_OUTPUT) == "done"
    assert monotonic() - begun < 10


async def test_a_gigabyte_of_output_is_refused(place: Place) -> None:
    with pytest.raises(StepError, match="printed more than 16 MiB and was ended; write to a file"):
        await place.run(GIGABYTE)


async def test_of_a_gigabyte_of_errors_the_end_is_kept(place: Place) -> None:
    with pytest.raises(StepError, match=r"exit code 1.*ends with: \.\.\.e+the end$"):
        await place.run(GIGABYTE_OF_ERRORS)


async def test_one_without_a_newline_is_read_to_the_end(place: Place) -> None:
    assert await place.run(NO_NEWLINE) == "no newline"


async def test_one_that_closes_its_output_early_is_waited_for(place: Place) -> None:
    begun = monotonic()
    assert await place.run(CLOSES_OUTPUT) == "early"
    assert monotonic() - begun >= 0.2


async def test_one_that_stops_itself_is_ended(place: Place) -> None:
    with pytest.raises(TimedOut):
        await place.run(STOPS_ITSELF, timeout=0.5)


async def test_one_that_stops_what_watches_it_is_ended(place: Place) -> None:
    with pytest.raises(TimedOut):
        await place.run(STOPS_ITS_PARENT, timeout=0.5)


async def test_one_that_kills_what_watches_it_is_ended(place: Place) -> None:
    with pytest.raises(StepError, match="ended with an unknown exit code"):
        await place.run(KILLS_ITS_PARENT)
    with anyio.fail_after(LIMIT_S):  # the kernel reaps it: its parent is gone
        await until(lambda: not marked(place.mark))


async def test_a_wrong_exit_code_is_a_failure_whatever_was_printed(place: Place) -> None:
    with pytest.raises(StepError, match=r"Step 'bad'.*exit code 3; .*standard error ends with: a reason") as caught:
        await place.run(WRONG_CODE)
    assert caught.value.step == "bad"


async def test_what_is_no_json_is_text(place: Place) -> None:
    assert await place.run(INVALID_JSON) == '{"success": true, "data": '


async def test_binary_output_is_an_error_that_says_so(place: Place) -> None:
    with pytest.raises(StepError, match=r"not UTF-8 \(byte 128\)"):
        await place.run(BINARY)


@pytest.mark.parametrize("text", [HANGS, IGNORES_TERM, DAEMON_AND_HANGS, STOPS_ITSELF, STOPS_ITS_PARENT])
async def test_a_cancelled_one_is_gone_within_two_seconds(place: Place, text: str) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(place.run, text)
        with anyio.fail_after(LIMIT_S):
            await place.stuck()
            if text is DAEMON_AND_HANGS:
                await until((place.folder / "daemon").exists)
            group.cancel_scope.cancel()
        begun = monotonic()
    assert monotonic() - begun < 2.0
    assert marked(place.mark) == []


@pytest.mark.parametrize("text", [HANGS, IGNORES_TERM, FORKS_AND_HANGS, DAEMON_AND_HANGS, STOPS_ITSELF])
async def test_when_this_process_is_killed_the_script_goes_with_it(
    place: Place, text: str, anyio_backend_name: str
) -> None:
    place.write(text)
    child = started(place, anyio_backend_name)
    try:
        with anyio.fail_after(LIMIT_S):
            await place.stuck()
            if text is DAEMON_AND_HANGS:
                await until((place.folder / "daemon").exists)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(timeout=LIMIT_S)
    with anyio.fail_after(5):
        await until(lambda: not marked(place.mark))


async def test_a_fork_of_the_killed_process_does_not_keep_the_script_alive(
    place: Place, anyio_backend_name: str
) -> None:
    place.write(HANGS)
    (place.folder / "fork").touch()
    child = started(place, anyio_backend_name)
    with anyio.fail_after(LIMIT_S):
        await until(lambda: (place.folder / "holder").exists() and (place.folder / "holder").read_text() != "")
    child.kill()
    child.wait(timeout=LIMIT_S)
    try:
        with anyio.fail_after(5):
            await until(lambda: not marked(place.mark))
    finally:
        os.kill(int((place.folder / "holder").read_text()), signal.SIGKILL)


async def test_many_in_a_row_leave_nothing(place: Place) -> None:
    place.write("print('x')")
    for _ in range(20):
        assert await place.again() == "x"


async def test_twenty_at_once_end_together_when_cancelled(place: Place) -> None:
    place.write(HANGS)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(place.again)
        with anyio.fail_after(LIMIT_S):
            await until(lambda: sum("supervisor" not in line for line in marked(place.mark)) == 20)
            group.cancel_scope.cancel()
        begun = monotonic()
    assert monotonic() - begun < 4
