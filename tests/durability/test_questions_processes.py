"""Questions outlive every process: one asks and ends, another without the code answers, a third goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from llmorch import Event, Orchestrator, RunResumed, StepAnswered, StepWaiting
from tests.architecture.tree import ROOT
from tests.durability.questions_child import ANSWERS

PATIENCE_S = 60.0


@contextmanager
def child(folder: Path, *words: object, backend: str = "asyncio") -> Iterator[subprocess.Popen[str]]:
    """A process that is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.durability.questions_child", str(folder), backend, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said_by(folder: Path, *words: object, backend: str = "asyncio") -> list[str]:
    """What the process says until it has ended in peace."""
    with child(folder, *words, backend=backend) as process:
        printed, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints[-3_000:]
    return printed.splitlines()


def log_of(folder: Path, run_id: str) -> list[Event]:
    async def read() -> list[Event]:
        async with Orchestrator(f"sqlite:///{folder}/runs.db", recover=False) as orch:
            return list(await orch._queries.log(run_id))

    return anyio.run(read)


def started(folder: Path, backend: str = "asyncio") -> str:
    """A run that waits; the process that began it has gone."""
    (line,) = said_by(folder, "start", backend=backend)
    word, run_id, *rest = line.split()
    assert (word, rest) == ("run", ["waiting", "many", "keep[0]", "keep[1]"])
    return run_id


def test_a_question_is_answered_by_a_process_without_code_after_all_others_have_gone(tmp_path: Path) -> None:
    run_id = started(tmp_path, "trio")
    said = said_by(tmp_path, "answer", run_id, "keep[1]", "second", "many", "3")
    assert said == ["answered keep[1]", "answered many"]
    assert said_by(tmp_path, "finish", run_id, backend="trio") == ["ended waiting keep[0]"]
    assert said_by(tmp_path, "answer", run_id, "keep[0]", "first", backend="trio") == ["answered keep[0]"]
    assert said_by(tmp_path, "finish", run_id) == ["ended succeeded", "output 3: first, second"]
    log = log_of(tmp_path, run_id)
    assert [event.by for event in log if isinstance(event, StepAnswered)] == ["a person"] * 3
    assert sum(isinstance(event, StepWaiting) for event in log) == 3
    assert [event.epoch for event in log if isinstance(event, RunResumed)] == [2, 3]


def test_of_a_hundred_answers_of_four_processes_exactly_one_wins(tmp_path: Path) -> None:
    run_id = started(tmp_path)
    at = time.time() + 3.0
    won: list[str] = []
    lost = 0
    with (
        child(tmp_path, "race", run_id, at, 0) as one,
        child(tmp_path, "race", run_id, at, 100, backend="trio") as two,
        child(tmp_path, "race", run_id, at, 200) as three,
        child(tmp_path, "race", run_id, at, 300, backend="trio") as four,
    ):
        for process in (one, two, three, four):
            printed, complaints = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, complaints[-3_000:]
            first, second = printed.splitlines()
            won += first.split()[1:]
            lost += int(second.split()[1])
    assert (len(won), lost) == (1, 4 * ANSWERS - 1)
    assert said_by(tmp_path, "finish", run_id) == ["ended waiting keep[0] keep[1]"]
    assert [event.value for event in log_of(tmp_path, run_id) if isinstance(event, StepAnswered)] == [int(won[0])]


@pytest.mark.parametrize(("answer", "paid"), [("retry", 2), ("fail", 1)])
def test_a_process_killed_in_flight_leaves_a_question_that_another_one_answers(
    answer: str, paid: int, tmp_path: Path
) -> None:
    run_id = started(tmp_path)
    said_by(tmp_path, "answer", run_id, "keep[0]", "first", "many", "3", "keep[1]", "second")
    (tmp_path / "hang").touch()
    with child(tmp_path, "finish", run_id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
    (tmp_path / "hang").unlink()
    assert said_by(tmp_path, "finish", run_id) == ["ended waiting pay"]
    assert said_by(tmp_path, "answer", run_id, "pay", answer) == ["answered pay"]
    ended = said_by(tmp_path, "finish", run_id)
    if answer == "retry":
        assert ended == ["ended succeeded", "output 3: first, second"]
    else:
        assert ended == ["ended failed"]
    assert (tmp_path / "paid").read_text(encoding="utf-8").split() == ["paid"] * paid
