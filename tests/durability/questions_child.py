"""A process that does one thing to a run with questions, says what it saw, and is gone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import anyio

from llmorch import AlreadyAnswered, Approval, Orchestrator, Question, Workflow, each

ANSWERS = 25


def workflow(folder: Path) -> Workflow[Any]:
    """Asks for a number and, per item, for a yes; then a step that may hang, and must not be done twice unasked."""

    def pay(many: int, keep: list[Approval]) -> str:
        with (folder / "paid").open("a", encoding="utf-8") as paid:
            paid.write("paid\n")
        if (folder / "hang").exists():
            say("hanging")
            time.sleep(600)
        return f"{many}: {', '.join(kept.note or str(kept.approved) for kept in keep)}"

    pay.__qualname__ = "pay"
    wf: Workflow[Any] = Workflow("questions")
    wf.ask("many", "How many?", answer=int)
    wf.map(Question("Keep {{ n }}?", answer=Approval, name="keep"), n=each([1, 2]))
    return wf.returns(wf.add(pay, on_unknown="ask"))


def say(*words: object) -> None:
    """A line for who watches this process."""
    print(*words, flush=True)


async def main(folder: Path, verb: str, *words: str) -> None:
    """Do it."""
    knows = verb in ("start", "finish")
    options: dict[str, Any] = {"workflows": [workflow(folder)]} if knows else {"recover": False}
    async with Orchestrator(f"sqlite:///{folder}/runs.db", **options) as orchestrator:
        if verb == "start":
            handle = await orchestrator.start(workflow(folder))
            run = await handle.result()
            say("run", handle.id, run.status, *(asked.step for asked in run.questions))
        elif verb == "answer":
            for step, value in zip(words[1::2], words[2::2], strict=True):
                await orchestrator.answer(words[0], step, _given(step, value), by="a person")
                say("answered", step)
        elif verb == "race":
            run_id, at = words[0], float(words[1])
            await anyio.sleep(max(0.0, at - time.time()))
            await _race(orchestrator, run_id, int(words[2]))
        else:
            run = await orchestrator.attach(words[0]).result()
            say("ended", run.status, *(asked.step for asked in run.questions))
            if run.status == "succeeded":
                say("output", run.output)


def _given(step: str, value: str) -> Any:
    if step == "pay":
        return value
    return int(value) if step == "many" else Approval(approved=True, note=value)


async def _race(orchestrator: Orchestrator, run_id: str, base: int) -> None:
    won: list[int] = []
    lost: list[int] = []

    async def answer(number: int) -> None:
        try:
            await orchestrator.answer(run_id, "many", number)
            won.append(number)
        except AlreadyAnswered:
            lost.append(number)

    async with anyio.create_task_group() as group:
        for number in range(base, base + ANSWERS):
            group.start_soon(answer, number)
    say("won", *won)
    say("lost", len(lost))


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), *sys.argv[3:], backend=sys.argv[2])
