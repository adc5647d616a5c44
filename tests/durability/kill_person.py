"""A person in a process of its own, who has no code of the workflow and answers what a run asks."""

from __future__ import annotations

import faulthandler
import json
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio

from llmorch import AlreadyAnswered, AnswerInvalid, NoSuchQuestion, Orchestrator, StepWaiting
from tests.durability.kill_child import Orders, store_of

__all__ = ["run_person"]

_STUCK_S = 50
_LOOK_S = 0.003


def run_person(orders: Orders) -> None:
    """Answer; each answer that was accepted is a line in the file `answers`."""
    faulthandler.dump_traceback_later(_STUCK_S, exit=True)
    anyio.run(_answer, orders, backend=orders.backend)
    faulthandler.cancel_dump_traceback_later()


async def _answer(orders: Orders) -> None:
    done: set[tuple[str, int]] = set()
    enough = Path(orders.folder) / "enough"
    store = store_of(orders)
    async with Orchestrator(store, durability=orders.durability, recover=False) as orchestrator:
        while not enough.exists():
            async for run_id, question in _open(orchestrator):
                if (question.step, question.seq or 0) not in done:
                    done.add((question.step, question.seq or 0))
                    await _say(orchestrator, orders, run_id, question)
            if orders.answers == "open":
                return
            await anyio.sleep(_LOOK_S)


async def _open(orchestrator: Orchestrator) -> AsyncIterator[tuple[str, StepWaiting]]:
    for summary in await orchestrator.runs():
        run = await orchestrator.get(summary.id)
        for question in run.questions:
            yield run.id, question


async def _say(orchestrator: Orchestrator, orders: Orders, run_id: str, question: StepWaiting) -> None:
    """Answer wrongly, then rightly as two who do not know of each other, and once more when it is too late."""

    async def say(value: Any, by: str) -> None:
        try:
            await orchestrator.answer(run_id, question.step, value, by=by)
        except (AlreadyAnswered, AnswerInvalid, NoSuchQuestion):
            return
        line = json.dumps([question.step, question.seq, by, value])
        file = os.open(Path(orders.folder) / "answers", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    right, late = _answers(question)
    await say({"no": "answer"}, "nobody")
    async with anyio.create_task_group() as group:
        group.start_soon(say, right, "ann")
        group.start_soon(say, right, "ben")
    await say(late, "late")


def _answers(question: StepWaiting) -> tuple[Any, Any]:
    """What to answer, which depends on nothing but the question, and another answer that would fit."""
    if question.about == "unknown":
        return "retry", "fail"
    words = question.schema.get("enum")
    number = zlib.crc32(question.question.encode())
    if isinstance(words, list | tuple):
        return words[number % len(words)], words[(number + 1) % len(words)]
    if question.schema.get("type") == "boolean":
        return number % 2 == 0, number % 2 == 1
    return f"answer {number}", "another"
