"""What a run holds while it waits for an answer."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from llmorch import Orchestrator, Payload, Workflow
from llmorch.ports import OnDelta
from llmorch.requests import Capabilities, ProviderRequest, ProviderResponse, ProviderStatus

from .table import Result, Target, spaced

__all__ = ["memory"]

_RUNS = 2_000
_STATM = Path("/proc/self/statm")
Kind = Literal["runs", "tasks"]


class _Waiting:
    """A provider whose answers come when they are let go."""

    name = "waiting"
    keeps_time = True  # as our own providers do

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.awaited = 0
        self.all_here = asyncio.Event()

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        self.awaited -= 1
        if self.awaited == 0:
            self.all_here.set()
        await self.gate.wait()
        return ProviderResponse(text="done", model=request.model)

    async def models(self) -> list[str]:
        return []

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        return ProviderStatus(True)

    async def aclose(self) -> None:
        self.gate.set()


def memory() -> list[Result]:
    """KiB a run, by what Python allocated and by what the process grew; each in a process of its own."""
    runs, tasks = _apart("runs", traced=True), _apart("tasks", traced=True)
    name, against = f"a run in flight, {spaced(_RUNS)} waiting", "asyncio task on an Event"
    results = [Result(f"{name}, allocated", runs, "KiB", tasks, against, Target(10))]
    if _STATM.exists():
        runs, tasks = _apart("runs", traced=False), _apart("tasks", traced=False)
        results.append(Result(f"{name}, resident", runs, "KiB", tasks, against, Target(10)))
    return results


def _apart(kind: Kind, *, traced: bool) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, kind, traced).result()


def _measured(kind: Kind, traced: bool) -> float:
    return asyncio.run(_runs(traced) if kind == "runs" else _tasks(traced))


def _held(traced: bool) -> float:
    gc.collect()
    if traced:
        return tracemalloc.get_traced_memory()[0] / 1024
    return int(_STATM.read_text().split()[1]) * 4.0  # pages of 4 KiB


async def _runs(traced: bool) -> float:
    provider = _Waiting()
    workflow = Workflow.of(Payload("ask", "Say hello to {{ who }}.", model="waiting:m"), name="ask")
    async with Orchestrator(providers=[provider], concurrency=2 * _RUNS) as orchestrator:

        async def start(count: int) -> None:
            provider.awaited = count
            provider.all_here.clear()
            for index in range(count):
                await orchestrator.start(workflow, who=f"number {index}")
            await provider.all_here.wait()

        await start(50)  # what is made once is not counted
        if traced:
            tracemalloc.start()
        before = _held(traced)
        await start(_RUNS)
        held = (_held(traced) - before) / _RUNS
        tracemalloc.stop()
        provider.gate.set()
    return held


async def _tasks(traced: bool) -> float:
    gate = asyncio.Event()
    waiting = [asyncio.create_task(gate.wait()) for _ in range(50)]
    await asyncio.sleep(0)
    if traced:
        tracemalloc.start()
    before = _held(traced)
    waiting += [asyncio.create_task(gate.wait()) for _ in range(_RUNS)]
    await asyncio.sleep(0)
    held = (_held(traced) - before) / _RUNS
    tracemalloc.stop()
    gate.set()
    await asyncio.gather(*waiting)
    return held
