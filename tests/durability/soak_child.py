"""Many short runs on one SQLite store, with what they cost: `python -m tests.durability.soak_child JSON`.

Writes its figures as one line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from llmorch import CallFinished, CallStarted, Orchestrator, Payload, Retry, StepSucceeded, Workflow
from llmorch._clock import monotonic
from llmorch.errors import ProviderUnavailable, RateLimited
from llmorch.ports import Capabilities, OnDelta, ProviderRequest, ProviderResponse, Usage
from llmorch.stores.sqlite import SqliteStore

STEPS = 5
FAULTS = 0.05


def workflow() -> Workflow[Any]:
    """Five calls: two side by side, the others in a row; each is tried again until it is answered."""
    patient = Retry(attempts=20, base=0.001, cap=0.01)
    made: Workflow[Any] = Workflow("soak")
    n = made.input("n", int)

    def ask(name: str, prompt: str, **given: Any) -> Any:
        return made.add(Payload(name, prompt, retry=patient), **given)

    first = ask("first", "{{ n }} first", n=n)
    left = ask("left", "{{ first }} left", first=first)
    right = ask("right", "{{ first }} right", first=first)
    both = ask("both", "{{ left }}, {{ right }}", left=left, right=right)
    return made.returns(ask("last", "{{ both }} last", both=both))


def expected(n: int) -> str:
    """The output of run `n`: the provider repeats the prompt."""
    return f"{n} first left, {n} first right last"


class Shaky:
    """Repeats the prompt after a moment; now and then it fails instead."""

    name = "shaky"

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.sent = 0
        self.failed = 0

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        self.sent += 1
        await anyio.sleep(self._dice.random() * 0.002)
        if self._dice.random() < FAULTS:
            self.failed += 1
            kind = self._dice.choice([ProviderUnavailable, RateLimited, ConnectionError])
            raise kind("on purpose")
        return ProviderResponse(request.messages[-1].text, usage=Usage(5, 5, requests=1))


def footprint() -> dict[str, int]:
    """Memory in KiB, descriptors and threads of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "rss": pages * resource.getpagesize() // 1024,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def size_of(path: str) -> int:
    """Bytes of the database."""
    return os.path.getsize(path)


async def faults_of(store: SqliteStore, ids: dict[int, str]) -> list[str]:
    """What is wrong with the logs."""
    faults: list[str] = []
    for n, run_id in ids.items():
        log = await store.events(run_id, limit=10_000)
        row = await store.load(run_id)
        values = Counter(event.step for event in log if isinstance(event, StepSucceeded))
        output = next((event.value for event in log if isinstance(event, StepSucceeded) and event.step == "last"), None)
        starts = Counter((event.step, event.call) for event in log if isinstance(event, CallStarted))
        ends = Counter((event.step, event.call) for event in log if isinstance(event, CallFinished))
        if [event.seq for event in log] != list(range(1, row.last_seq + 1)):
            faults.append(f"run {n}: the log has gaps")
        if (row.status, output, len(values), set(values.values())) != ("succeeded", expected(n), STEPS, {1}):
            faults.append(f"run {n}: {row.status}, {output!r}, {values}")
        if starts != ends or set(starts.values()) != {1}:
            faults.append(f"run {n}: its ledger is {starts}, ended {ends}")
    return faults


async def main(path: str, runs: int, at_once: int, seed: int, samples: int) -> dict[str, Any]:
    """Carry them out, look at the footprint now and then, and read every log."""
    provider, store, flow = Shaky(seed), SqliteStore(path), workflow()
    ids: dict[int, str] = {}
    seen: list[dict[str, int]] = []
    numbers = iter(range(runs))
    began = monotonic()
    async with Orchestrator(store, providers=[provider], model="shaky:m") as orch:

        async def work() -> None:
            for n in numbers:
                run = await orch.run(flow, n=n)
                ids[n] = run.id
                if len(ids) % (runs // samples) == 0:
                    seen.append(footprint())

        async with anyio.create_task_group() as group:
            for _ in range(at_once):
                group.start_soon(work)
        took_s = monotonic() - began
        faults = await faults_of(store, ids)
        listed = 0
        before: str | None = None
        while page := await store.list_runs(limit=500, before=before):
            listed += len(page)
            before = page[-1].id
    return {
        "seed": seed, "runs": len(ids), "listed": listed, "seconds": round(took_s, 1), "sent": provider.sent,
        "failed": provider.failed, "faults": faults[:20], "samples": seen, "bytes": size_of(path),
    }  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        given = json.loads(sys.argv[1])
        backend = given.pop("backend")
        print(json.dumps(anyio.run(lambda: main(**given), backend=backend)), flush=True)
