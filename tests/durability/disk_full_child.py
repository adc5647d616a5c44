"""A run on a small disk that fills up and gets room again: `python -m tests.durability.disk_full_child FOLDER`.

Writes what it saw as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio

from llmorch import CallFinished, CallStarted, Orchestrator, Payload, StoreFull, Warned, Workflow, each
from llmorch.ports import Capabilities, OnDelta, ProviderRequest, ProviderResponse, RunStore, Usage
from llmorch.stores.sqlite import SqliteStore
from tests.durability.faults_wait import until

ITEMS, AT_ONCE = 40, 4
TEXT = "x" * 60_000
QUIET_S = 2.0


def workflow() -> Workflow[Any]:
    """Many calls, four at once, with long answers."""
    made: Workflow[Any] = Workflow("full")
    return made.returns(
        made.map(Payload("ask", "Number {{ n }}."), name="ask", n=each(list(range(ITEMS))), concurrency=AT_ONCE)
    )


class Held:
    """Answers when it is let go; counts what it was sent."""

    name = "held"

    def __init__(self) -> None:
        self.sent = 0
        self.go = anyio.Event()

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        self.sent += 1
        await self.go.wait()
        await anyio.sleep(0.01)
        return ProviderResponse(f"{request.step} {TEXT}", usage=Usage(5, 5, requests=1))


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return path


async def quiet(provider: Held) -> int:
    """How many requests there are when none has come for a while."""
    while True:
        before = provider.sent
        await anyio.sleep(QUIET_S)
        if provider.sent == before:
            return before


async def counts(store: RunStore, run_id: str) -> dict[str, int]:
    log = await store.events(run_id, limit=10_000)
    return {kind.__name__: sum(isinstance(event, kind) for event in log) for kind in (CallStarted, CallFinished)}


async def main(folder: Path) -> dict[str, Any]:
    """Fill the disk under a run, look, make room, and let it end."""
    told: dict[str, Any] = {}
    provider = Held()
    store = SqliteStore(folder / "runs.db")
    async with Orchestrator(store, providers=[provider], model="held:m") as orch:
        handle = await orch.start(workflow())
        await until(lambda: provider.sent >= AT_ONCE)
        filler = fill(folder)
        told["in flight"] = provider.sent
        provider.go.set()
        told["sent while full"] = await quiet(provider)
        told |= await counts(store, handle.id)
        told["trouble"] = store.trouble
        try:
            await orch.start(workflow())
        except StoreFull as error:
            told["start"] = str(error)
        told["sent after start"] = provider.sent
        filler.unlink()
        with anyio.fail_after(30):
            run = await handle.result()
        told["status"], told["values"] = run.status, len(run.output)
        told["sent"] = provider.sent
        log = await store.events(run.id, limit=10_000)
        told["warned"] = [event.code for event in log if isinstance(event, Warned)]
        told["gapless"] = [event.seq for event in log] == list(range(1, len(log) + 1))
        starts = [event.step for event in log if isinstance(event, CallStarted)]
        told["twice"] = len(starts) - len(set(starts))
        told["runs"] = len(await store.list_runs())
        told["trouble afterwards"] = store.trouble
    return told


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(anyio.run(main, Path(sys.argv[1]))), flush=True)
        os._exit(0)
