"""What waits for what, as a graph: networkx for analysis, plain lists for the plan.

networkx takes 0.1 s to import, so it is loaded only when a graph or the cycles are asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..definition.node import Each, Node, Ref, refs_in
from ..definition.workflow import StepDef, WorkflowDef
from .compile import Compiled

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Edge", "critical_path", "cycles", "edges_of", "graph", "levels"]

Edge = tuple[str, str]  # what is read, and why: value, each, when or after
_MOST_CYCLES = 10


def edges_of(step: StepDef) -> Iterator[Edge]:
    """What a step waits for, once for each place that names it: the step or input, and `value|each|when|after`."""
    for binding in step.bindings.values():
        if type(binding) is Ref or type(binding) is Node:
            yield binding.source, "value"
        else:
            why = "each" if isinstance(binding, Each) else "value"
            for ref in refs_in(binding):
                yield ref.source, why
    if step.when is not None:
        for binding in step.when.bindings.values():
            for ref in refs_in(binding):
                yield ref.source, "when"
    for name in step.after:
        yield name, "after"


def graph(definition: WorkflowDef) -> nx.DiGraph[str]:
    """The steps of a workflow, with an edge from each to those that wait for it; `why` says what for.

    Nodes carry their StepDef as `step`. Inputs and the steps inside nested workflows are no nodes.
    """
    import networkx as nx

    made: nx.DiGraph[str] = nx.DiGraph(name=definition.name)
    for step in definition.steps:
        made.add_node(step.name, step=step)
    for step in definition.steps:
        for source, why in edges_of(step):
            if source in made:
                made.add_edge(source, step.name, why=why)
    return made


def cycles(definition: WorkflowDef) -> list[list[str]]:
    """Short cycles that cover every reason why the workflow is no DAG, at most 10; none when it is one.

    A cycle lists each step once; each waits for the one before it, and the first for the last. Breaking every
    cycle listed mends the workflow (when there are fewer than 10).
    """
    import networkx as nx

    whole = graph(definition)
    position = {step.name: index for index, step in enumerate(definition.steps)}
    found: list[list[str]] = []
    knots = [knot for knot in nx.strongly_connected_components(whole) if _is_knot(whole, knot)]
    while knots and len(found) < _MOST_CYCLES:
        knot = knots.pop()
        inner = whole.subgraph(knot)  # a view: it sees edges go
        cycle = _shortest(inner, min(knot, key=position.__getitem__))
        found.append(cycle)
        whole.remove_edge(cycle[-1], cycle[0])
        knots += [part for part in nx.strongly_connected_components(inner) if _is_knot(whole, part)]
    return sorted(found, key=lambda cycle: position[cycle[0]])


def _is_knot(whole: nx.DiGraph[str], part: set[str]) -> bool:
    return len(part) > 1 or any(whole.has_edge(name, name) for name in part)


def _shortest(knot: nx.DiGraph[str], start: str) -> list[str]:
    """The shortest cycle through `start`, found breadth first."""
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        for after in knot.successors(name):
            if after == start:
                path = [name]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if after not in came_from:
                came_from[after] = name
                waiting.append(after)
    raise AssertionError(f"{start!r} is in no cycle")


def levels(compiled: Compiled) -> list[int]:
    """Generation of each step from 0: one more than the latest it waits for; -1 for steps in or behind a cycle."""
    found = [-1] * len(compiled.steps)
    for index in compiled.order:
        found[index] = 0
    steps, selections = compiled.steps, compiled.selections
    for index in compiled.order:
        step = steps[index]
        above = found[index] + 1
        for dependent in step.dependents:
            if 0 <= found[dependent] < above:
                found[dependent] = above
        for selection in step.selections:
            for dependent in selections[selection].dependents:
                if 0 <= found[dependent] < above:
                    found[dependent] = above
    return found


def critical_path(compiled: Compiled, durations: Sequence[float]) -> tuple[list[int], float]:
    """The chain of steps that decides how long the workflow takes, and how long that is.

    Args:
        durations: For each step, in any one unit.
    """
    if not compiled.order:
        return [], 0.0
    ends = list(durations)
    before: list[int] = [-1] * len(ends)
    for index in compiled.order:
        step = compiled.steps[index]
        end = ends[index]
        for dependent in step.dependents:
            if end + durations[dependent] > ends[dependent]:
                ends[dependent], before[dependent] = end + durations[dependent], index
        for selection in step.selections:
            for dependent in compiled.selections[selection].dependents:
                if end + durations[dependent] > ends[dependent]:
                    ends[dependent], before[dependent] = end + durations[dependent], index
    last = max(compiled.order, key=ends.__getitem__)
    path = [last]
    while before[path[-1]] >= 0:
        path.append(before[path[-1]])
    return path[::-1], ends[last]
