"""A process that carries out one step and answers only when a file appears: `python -m ... URL FOLDER LEASE_S`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from llmorch import ClaimLost, Orchestrator, Payload, Workflow
from llmorch.ports import Capabilities, OnDelta, ProviderRequest, ProviderResponse, Usage
from tests.durability.faults_wait import until
from tests.durability.processes_flow import note, opened

PROMPT = "What is it?"


def workflow() -> Workflow[str]:
    """One call, and one that depends on it."""
    made: Workflow[str] = Workflow("hangs")
    first = made.add(Payload("first", PROMPT))
    return made.returns(made.add(Payload("second", "And {{ first }}?"), first=first))


class Slow:
    """Answers when the file `go` is there; notes what it was sent in `sent`."""

    name = "shared"

    def __init__(self, folder: Path, said: str, *, hangs: bool) -> None:
        self._folder = folder
        self._said = said
        self._hangs = hangs

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        note(self._folder / "sent", f"0 {request.step}")
        if self._hangs:
            print("hangs", flush=True)
            await until((self._folder / "go").exists)
        return ProviderResponse(f"{self._said} {request.step}", usage=Usage(7, 3, requests=1))


async def main(url: str, folder: Path, lease_s: float) -> None:
    """Say the run's id, when it hangs, and how it ended here."""
    store = opened(url, owner="first", lease_s=lease_s)
    async with Orchestrator(
        store, providers=[Slow(folder, "old", hangs=True)], model="shared:m", workflows=[workflow()]
    ) as orch:
        handle = await orch.start(workflow())
        print(handle.id, flush=True)
        try:
            await handle.result()
            print("ended", flush=True)
        except ClaimLost:
            print("lost", flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
