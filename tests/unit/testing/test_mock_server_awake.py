"""A mock server that never sleeps, for measurements."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from pathlib import Path

import httpx
import pytest

from llmorch.testing.mock_server import mock_server

LIMIT_S = 30


def ticks(pid: int) -> int:
    """Clock ticks of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_server_that_waits_busily_answers_and_is_at_work_all_the_time() -> None:
    with mock_server(busy_wait=True) as url:
        (server,) = multiprocessing.active_children()
        assert server.pid is not None
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 200
        wanted = ticks(server.pid) + os.sysconf("SC_CLK_TCK") // 10
        due = time.monotonic() + LIMIT_S
        while ticks(server.pid) < wanted:
            assert time.monotonic() < due, "it sleeps"
            time.sleep(0.05)
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 200
