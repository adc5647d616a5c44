"""A process that carries out a workflow of three steps on a store, and hangs in the middle one until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio

from llmorch import Orchestrator, Workflow, each


def workflow(folder: Path, *, hang: bool) -> Workflow[Any]:
    """Each step notes that it ran; `second` hangs when it is told to."""

    def note(text: str) -> None:
        with (folder / "ran").open("a", encoding="utf-8") as ran:
            ran.write(f"{text}\n")

    async def first() -> list[int]:
        note("first")
        return [1, 2, 3]

    async def item(n: int) -> int:
        note(f"item {n}")
        if hang and n == 2:
            print("hangs", flush=True)
            await anyio.sleep(600)
        return n * 10

    async def last(items: list[int]) -> str:
        note("last")
        return f"sum {sum(items)}"

    made: Workflow[Any] = Workflow("killed")
    numbers = made.add(first)
    items = made.map(item, name="items", n=each(numbers), concurrency=1)
    return made.returns(made.add(last, items=items))


async def main(folder: Path) -> None:
    """Start it and say its id."""
    flow = workflow(folder, hang=True)
    async with Orchestrator(f"sqlite:///{folder}/runs.db", workflows=[flow]) as orchestrator:
        handle = await orchestrator.start(flow)
        print(handle.id, flush=True)
        await handle.result()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
