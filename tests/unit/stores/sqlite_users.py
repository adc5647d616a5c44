"""What a user does with a store, for tests of stores in trouble."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import anyio

from llmorch import Orchestrator, Payload, Workflow
from llmorch.ports import ProviderRequest
from llmorch.stores.sqlite import SqliteStore
from llmorch.testing import ScriptedProvider

__all__ = ["Model", "chain", "good_store", "mark", "orchestrated", "sums"]


def mark(path: Path) -> str:
    """Tells whether a file is byte for byte what it was."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sums(count: int = 2) -> Workflow[Any]:
    """So many functions, each adding 1 to what the one before gave."""

    async def begin() -> int:
        return 1

    async def more(n: int) -> int:
        return n + 1

    workflow: Workflow[Any] = Workflow("sums")
    last: Any = workflow.add(begin)
    for number in range(1, count):
        last = workflow.add(more, name=f"more{number}", n=last)
    return workflow.returns(last)


def chain(count: int) -> Workflow[Any]:
    """So many prompts, one after the other: `s1`, `s2`, ..."""
    workflow: Workflow[Any] = Workflow("chain")
    last: Any = workflow.add(Payload("s1", "Begin."))
    for number in range(2, count + 1):
        last = workflow.add(Payload(f"s{number}", "Step {{ number }}."), number=number, after=[last])
    return workflow.returns(last)


class Model:
    """A model that answers with so many characters, and at one step waits until it is told to.

    Attributes:
        asked: The steps that were sent, in order.
        reached: Set when the step that waits was sent.
    """

    def __init__(self, *, answer: str = "fine", hold_at: str | None = None) -> None:
        self.asked: list[str] = []
        self.reached = anyio.Event()
        self.go_on = anyio.Event()
        self._answer = answer
        self._hold_at = hold_at
        self.provider = ScriptedProvider({"*": self._reply})

    async def _reply(self, request: ProviderRequest) -> str:
        self.asked.append(str(request.step))
        if request.step == self._hold_at:
            self.reached.set()
            await self.go_on.wait()
        return self._answer


def orchestrated(path: Path, model: Model | None = None, *, patience_s: float | None = None) -> Orchestrator:
    """An orchestrator on the file: by URL, unless it is to lose patience early."""
    store = f"sqlite:///{path}" if patience_s is None else SqliteStore(path, patience_s=patience_s)
    if model is None:
        return Orchestrator(store)
    return Orchestrator(store, providers=[model.provider], model="scripted:m")


async def good_store(path: Path, runs: int = 12) -> list[str]:
    """A closed store with so many runs that succeeded; their ids, oldest first."""
    async with orchestrated(path) as orchestrator:
        return [(await orchestrator.run(sums())).id for _ in range(runs)]
