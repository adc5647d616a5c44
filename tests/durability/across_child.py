"""A process that carries out a run of two calls on a store that others use too, and says what it does."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from llmorch import LLMOrchError, Orchestrator, Payload, RunHandle, Workflow
from llmorch.testing import ScriptedProvider

MODEL = "scripted:m"


@dataclass(frozen=True)
class Orders:
    """What the process is to do.

    Attributes:
        verb: `run`, or `leave` its orchestrator when it is sent SIGUSR1.
        slow_s: How long the first call takes.
        backend: `asyncio` or `trio`.
        at: When to start, in seconds since 1970; 0 is at once.
    """

    verb: str = "run"
    slow_s: float = 1.0
    key: str | None = None
    at: float = 0.0
    backend: str = "trio"

    def to_json(self) -> str:
        """As an argument of the process."""
        return json.dumps(asdict(self))


def workflow() -> Workflow[Any]:
    """Two calls, one after the other."""
    return Workflow.of(Payload("slow", "Go."), Payload("quick", "On: {{ slow }}"), both, name="across")


def both(slow: str, quick: str) -> str:
    return f"{slow} {quick}"


def say(*words: object) -> None:
    """A line for who watches this process."""
    print(*words, flush=True)


async def main(folder: Path, orders: Orders) -> None:
    """Carry the run out."""

    def note(step: str) -> None:
        with (folder / "asked").open("a", encoding="utf-8") as asked:
            asked.write(f"{step}\n")

    async def slow(_: object) -> str:
        note("slow")
        say("asking")
        await anyio.sleep(orders.slow_s)
        return "slow"

    def quick(_: object) -> str:
        note("quick")
        return "then quick"

    provider = ScriptedProvider({"slow": slow, "quick": quick})
    store = f"sqlite:///{folder}/runs.db"
    async with Orchestrator(store, providers=[provider], model=MODEL, recover=False) as orchestrator:
        if orders.at:
            await anyio.sleep(max(0.0, orders.at - time.time()))
        handle = await orchestrator.start(workflow(), idempotency_key=orders.key)
        say("run", handle.id)
        if orders.verb == "leave":
            with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
                async for _ in signals:
                    break
        else:
            await _wait(handle)
    say("left")


async def _wait(handle: RunHandle[Any]) -> None:
    try:
        run = await handle.result()
    except LLMOrchError as error:
        say("lost", type(error).__name__)
        return
    say("ended", run.status)
    if run.status == "succeeded":
        say("output", run.output)


if __name__ == "__main__":
    from tests.durability import across_child as by_address  # where other processes look for the code of its runs

    given = Orders(**json.loads(sys.argv[2]))
    anyio.run(by_address.main, Path(sys.argv[1]), given, backend=given.backend)
