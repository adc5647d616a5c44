"""What the engine adds to steps that do nothing: chains, fan-outs, maps and layers, beside bare asyncio."""

from __future__ import annotations

import asyncio
import gc
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from llmorch import Orchestrator, Workflow, each

from .floors import TASK, increment, tasks
from .measure import best_cpu, best_wall
from .table import Result, Target, spaced

__all__ = ["chain", "fan_out", "layered", "makespan", "mapped"]

_CHAIN = 1_000
_WIDTHS = (1_000, 10_000, 100_000)
_LAYERS, _LAYER, _EDGES = 20, 50, 3_000
Edges = list[list[int]]


async def total(a: int = 1, b: int = 0, c: int = 0, d: int = 0) -> int:
    """A step that joins up to four."""
    return (a + b + c + d) % 1_000


async def pause(seconds: float, a: int = 0, b: int = 0, c: int = 0) -> int:
    """A step that takes that long."""
    await asyncio.sleep(seconds)
    return 0


def _running(orchestrator: Orchestrator, workflow: Workflow[Any]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        done = await orchestrator.run(workflow)
        assert done.status == "succeeded", done.error
        await orchestrator.delete(done.id)  # else the memory store keeps them all

    return run


async def chain() -> list[Result]:
    """Each step reads the one before it."""
    workflow: Workflow[Any] = Workflow("chain")
    last: Any = 0
    for index in range(_CHAIN):
        last = workflow.add(increment, name=f"s{index}", x=last)
    async with Orchestrator() as orchestrator:

        async def read_all() -> None:
            seen = 0
            async with orchestrator.stream(workflow) as events:
                async for _ in events:
                    seen += 1
            assert seen > 2 * _CHAIN
            await orchestrator.delete(events.run.id)

        async def awaited() -> None:
            value = 0
            for _ in range(_CHAIN):
                value = await increment(value)

        async def in_turn() -> None:
            value = 0
            async with asyncio.TaskGroup() as group:
                for _ in range(_CHAIN):
                    value = await group.create_task(increment(value))

        run = _running(orchestrator, workflow)
        await run()  # the first run checks the workflow
        works = (run, read_all, awaited, in_turn, partial(tasks, _CHAIN))
        ours, heard, raw, turn, task = (s / _CHAIN * 1e6 for s in await best_cpu(15, *works))
    return [
        Result("chain of 1 000, a step", ours, "us", task, TASK, Target(8)),
        Result("chain of 1 000, a step", ours, "us", turn, f"{TASK}, one after the other"),
        Result("chain of 1 000, a step", ours, "us", raw, "await"),
        Result("chain of 1 000, every event read, a step", heard, "us", task, TASK),
    ]


def _static(width: int) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("fan-out")
    source = workflow.add(increment, name="source")
    return workflow.returns([workflow.add(increment, name=f"s{index}", x=source) for index in range(width)])


def _dynamic(width: int) -> Workflow[Any]:
    async def numbers() -> list[int]:
        return list(range(width))

    workflow: Workflow[Any] = Workflow("map")
    source = workflow.add(numbers)
    return workflow.returns(workflow.map(increment, name="each", x=each(source)))


async def _widths(name: str, built: Callable[[int], Workflow[Any]]) -> list[Result]:
    results: list[Result] = []
    uncollected: list[float] = []
    async with Orchestrator() as orchestrator:
        for width in _WIDTHS:
            run = _running(orchestrator, built(width))
            await run()
            works = (run, partial(tasks, width), partial(_without_collector, run))
            ours, task, alone = (s / width * 1e6 for s in await best_cpu(max(3, 30_000 // width), *works))
            results.append(Result(f"{name} {spaced(width)}, a step", ours, "us", task, TASK, Target(15)))
            uncollected.append(alone)
    measured = [result.measured for result in results]
    floors = [result.floor or 0.0 for result in results]
    row = f"{name}: growth exponent"
    return [
        *results,
        Result(row, _exponent(measured), "", _exponent(floors), TASK, Target(1.1)),
        Result(f"{row}, garbage collector off", _exponent(uncollected), ""),
    ]


def _exponent(costs: Sequence[float]) -> float:
    """The power of the width by which the whole grows, given the cost a step at the least and the greatest width."""
    return 1 + math.log(costs[-1] / costs[0]) / math.log(_WIDTHS[-1] / _WIDTHS[0])


async def _without_collector(work: Callable[[], Awaitable[None]]) -> None:
    gc.disable()
    try:
        await work()
    finally:
        gc.enable()


async def fan_out() -> list[Result]:
    """Steps that stand in the workflow side by side."""
    return await _widths("fan-out", _static)


async def mapped() -> list[Result]:
    """A map over a list that an earlier step gives."""
    return await _widths("map", _dynamic)


def _layer_edges() -> Edges:
    """Whom each step reads: exactly `_EDGES` edges, all from one layer to the next."""
    rng = random.Random(1)
    inner = (_LAYERS - 1) * _LAYER
    fours = _EDGES - 3 * inner
    edges: Edges = [[] for _ in range(_LAYER)]
    for index in range(inner):
        above = (index // _LAYER) * _LAYER
        edges.append(rng.sample(range(above, above + _LAYER), 4 if index < fours else 3))
    return edges


def _graph(name: str, edges: Edges, step: Any, *, literals: list[dict[str, Any]] | None = None) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow(name)
    nodes: list[Any] = []
    for index, reads in enumerate(edges):
        bound = {parameter: nodes[source] for parameter, source in zip("abcd", reads, strict=False)}
        if literals is not None:
            bound |= literals[index]
        nodes.append(workflow.add(step, name=f"s{index}", bind=bound))
    read = {source for reads in edges for source in reads}
    return workflow.returns([node for index, node in enumerate(nodes) if index not in read])


async def _bare_graph(edges: Edges, step: Callable[[int, list[int]], Awaitable[int]]) -> None:
    async def node(index: int, above: list[asyncio.Task[int]]) -> int:
        return await step(index, [await task for task in above])

    tasks: list[asyncio.Task[int]] = []
    async with asyncio.TaskGroup() as group:
        for index, reads in enumerate(edges):
            tasks.append(group.create_task(node(index, [tasks[source] for source in reads])))


async def layered() -> list[Result]:
    """20 layers of 50, each step reading three or four of the layer above."""
    edges = _layer_edges()
    assert sum(map(len, edges)) == _EDGES
    async with Orchestrator() as orchestrator:
        run = _running(orchestrator, _graph("layered", edges, total))
        await run()
        bare = lambda: _bare_graph(edges, lambda _, values: total(*values))  # noqa: E731  # two lines, used once
        ours, task = (s / len(edges) * 1e6 for s in await best_cpu(15, run, bare))
    against = "asyncio TaskGroup, tasks awaiting tasks"
    return [Result("layered DAG, 1 000 steps, 3 000 edges, a step", ours, "us", task, against, Target(15))]


async def makespan() -> list[Result]:
    """A random DAG of 100 steps of 20 to 80 ms, with nothing to hold a step back but what it reads."""
    rng = random.Random(7)
    edges: Edges = [rng.sample(range(max(0, i - 20), i), min(i, rng.randint(0, 3))) for i in range(100)]
    lengths = [rng.uniform(0.02, 0.08) for _ in edges]
    ends: list[float] = []
    for reads, length in zip(edges, lengths, strict=True):
        ends.append(max((ends[source] for source in reads), default=0.0) + length)
    critical = max(ends)
    async with Orchestrator() as orchestrator:
        run = _running(orchestrator, _graph("sleeps", edges, pause, literals=[{"seconds": s} for s in lengths]))
        await run()
        bare = lambda: _bare_graph(edges, lambda index, _: pause(lengths[index]))  # noqa: E731  # as above
        ours, floor = ((s / critical - 1) * 100 for s in await best_wall(4, run, bare))
    against = "asyncio TaskGroup, tasks awaiting tasks"
    return [Result("makespan longer than critical path by, 100 steps", ours, "%", floor, against, Target(2))]
