"""The disk fills up under a run: nothing new is paid for, what was in flight is kept, and it goes on by itself."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import ROOT
from tests.durability.disk_full_child import AT_ONCE, ITEMS

LIMIT_S = 120
UNSHARE = ["unshare", "--mount", *([] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["--map-root-user"])]


def on_small_disk(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with a file system of 24 MB at the folder, which only that command sees."""
    mount = f"mount -t tmpfs -o size=24m tmpfs {shlex.quote(str(folder))} && exec {shlex.join(command)}"
    return subprocess.run([*UNSHARE, "sh", "-c", mount], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)


@cache
def refusal(folder: Path) -> str:
    """Why there can be no small disk here; empty when there can."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` here to mount a small disk with"
    tried = on_small_disk(folder, ["true"])
    return f"no small disk can be mounted here: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run on the small disk saw."""
    folder = tmp_path_factory.mktemp("small")
    if why := refusal(folder):
        pytest.skip(why)
    ran = on_small_disk(folder, [sys.executable, "-m", "tests.durability.disk_full_child", str(folder)])
    assert ran.returncode == 0, ran.stderr[-3_000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_answers_in_flight_are_kept_on_a_full_disk(told: dict[str, Any]) -> None:
    assert told["in flight"] == AT_ONCE
    assert told["CallFinished"] >= AT_ONCE, told


def test_no_new_calls_are_sent_while_the_disk_is_full(told: dict[str, Any]) -> None:
    assert told["sent while full"] <= 2 * AT_ONCE, told  # an answer and the next start may share a unit
    assert told["sent after start"] == told["sent while full"], told
    assert told["trouble"] == "store-full", told


def test_a_run_that_cannot_be_recorded_is_not_started(told: dict[str, Any]) -> None:
    assert "room" in told["start"], told
    assert "free" in told["start"], told
    assert told["runs"] == 1, told


def test_the_run_goes_on_by_itself_when_there_is_room_again(told: dict[str, Any]) -> None:
    assert (told["status"], told["values"], told["sent"]) == ("succeeded", ITEMS, ITEMS), told
    assert told["gapless"], told
    assert told["twice"] == 0, told
    assert told["trouble afterwards"] is None, told


def test_the_log_says_once_that_the_store_was_full(told: dict[str, Any]) -> None:
    assert told["warned"].count("store-full") == 1, told
