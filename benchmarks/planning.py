"""What it takes to read a workflow of 10 000 steps and 30 000 edges before anything runs."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from llmorch import Orchestrator, Workflow
from llmorch.planner.checks import check
from llmorch.planner.compile import compiled
from llmorch.planner.plan import make_plan

from .engine import total
from .table import Result, Target, spaced

__all__ = ["planning"]

_STEPS = 10_000
_REPEATS = 5


def planning() -> list[Result]:
    """Freeze, compile, check and plan, each timed alone; a new workflow each time, for all of it is kept."""
    rng = random.Random(3)
    edges = [rng.sample(range(max(0, index - 100), index), min(index, 3)) for index in range(_STEPS)]
    for index in range(_STEPS - (3 * _STEPS - sum(map(len, edges))), _STEPS):
        edges[index].append(index - 101)  # the first steps have fewer than three before them
    parts = ("add", "freeze", "compile", "check", "plan", "Kahn")
    best = dict.fromkeys(parts, float("inf"))
    catalog = Orchestrator().catalog
    for _ in range(_REPEATS):
        taken: dict[str, float] = {}
        workflow = _timed(taken, "add", partial(_built, edges))
        definition = _timed(taken, "freeze", workflow.freeze)
        _timed(taken, "compile", partial(compiled, definition))
        found = _timed(taken, "check", partial(check, definition, catalog))
        plan = _timed(taken, "plan", partial(make_plan, definition, catalog))
        order = _timed(taken, "Kahn", partial(_kahn, edges))
        assert not found.faults
        assert len(plan.steps) == len(order) == _STEPS
        best = {part: min(best[part], taken[part]) for part in parts}
    kahn = best["Kahn"] * 1e3
    assert sum(map(len, edges)) == 3 * _STEPS
    shown = f"planning {spaced(_STEPS)} steps, {spaced(3 * _STEPS)} edges"
    whole = sum(best[part] for part in ("freeze", "compile", "check", "plan")) * 1e3
    rows = [Result(shown, whole, "ms", kahn, "Kahn over dicts", Target(150))]
    rows += [Result(f"  of it {part}", best[part] * 1e3, "ms", kahn, "Kahn over dicts") for part in parts[1:5]]
    rows.append(Result(f"  before it, Workflow.add {spaced(_STEPS)} times", best["add"] * 1e3, "ms"))
    return rows


def _timed(taken: dict[str, float], part: str, work: Callable[[], Any]) -> Any:  # Any: whatever the work gives
    gc.collect()
    began = time.process_time()
    result = work()
    taken[part] = time.process_time() - began
    return result


def _built(edges: list[list[int]]) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("large")
    nodes: list[Any] = []
    for index, reads in enumerate(edges):
        bound = {parameter: nodes[source] for parameter, source in zip("abcd", reads, strict=False)}
        nodes.append(workflow.add(total, name=f"s{index}", bind=bound))
    return workflow.returns(nodes[-1])


def _kahn(edges: list[list[int]]) -> list[str]:
    """An order of the same graph, by names, with nothing else done."""
    reads = {f"s{index}": [f"s{source}" for source in sources] for index, sources in enumerate(edges)}
    waiting = {name: len(sources) for name, sources in reads.items()}
    dependents: dict[str, list[str]] = {name: [] for name in reads}
    for name, sources in reads.items():
        for source in sources:
            dependents[source].append(name)
    order = [name for name, count in waiting.items() if count == 0]
    for name in order:
        for dependent in dependents[name]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                order.append(dependent)
    return order
