"""The graph of a workflow, its generations and its cycles."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from llmorch.definition.actions import FunctionAction
from llmorch.definition.functions import function_action
from llmorch.definition.node import Ref
from llmorch.definition.wiring import Draft, DraftStep, wire
from llmorch.definition.workflow import WorkflowDef
from llmorch.planner.compile import compiled
from llmorch.planner.graph import critical_path, cycles, graph, levels


async def _nothing() -> int:
    return 0


def _chained(edges: dict[str, list[str]]) -> WorkflowDef:
    """A workflow whose steps come after the steps listed."""
    action: FunctionAction = function_action(_nothing)
    steps = [DraftStep(name, action, {}, after=tuple(map(Ref, before))) for name, before in edges.items()]
    definition, faults = wire(Draft("w", None, steps=steps, output=Ref(steps[-1].name)))
    assert not faults
    return definition


def _levels(definition: WorkflowDef) -> dict[str, int]:
    found = levels(compiled(definition))
    return {step.name: found[index] for index, step in enumerate(definition.steps)}


def test_the_graph_has_an_edge_for_each_reason_to_wait() -> None:
    made = graph(_chained({"a": [], "b": ["a"], "c": ["a", "b"]}))
    assert sorted(made.edges) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert made.edges["a", "b"]["why"] == "after"


def test_a_generation_is_one_more_than_the_latest_it_waits_for() -> None:
    assert _levels(_chained({"d": ["b", "c"], "a": [], "b": ["a"], "c": ["b"], "e": []})) == {
        "a": 0, "b": 1, "c": 2, "d": 3, "e": 0,
    }  # fmt: skip


def test_steps_in_or_behind_a_cycle_have_no_generation() -> None:
    assert _levels(_chained({"a": ["b"], "b": ["a"], "c": ["b"], "d": []})) == {"a": -1, "b": -1, "c": -1, "d": 0}


def test_a_dag_has_no_cycles() -> None:
    assert cycles(_chained({"a": [], "b": ["a"], "c": ["a", "b"]})) == []


def test_a_step_that_waits_for_itself_is_a_cycle_of_one() -> None:
    assert cycles(_chained({"a": [], "b": ["a", "b"]})) == [["b"]]


def test_a_cycle_is_the_shortest_through_its_first_step() -> None:
    found = cycles(_chained({"a": ["c", "b"], "b": ["a"], "c": ["d"], "d": ["a"]}))
    assert found[0] == ["a", "b"]
    assert ["a", "d", "c"] in found


def test_separate_cycles_are_all_found_in_declared_order() -> None:
    assert cycles(_chained({"x": ["y"], "y": ["x"], "a": ["b"], "b": ["a"]})) == [["x", "y"], ["a", "b"]]


def test_a_dense_knot_gives_a_bounded_number_of_cycles() -> None:
    names = [f"s{index}" for index in range(40)]
    assert len(cycles(_chained(dict.fromkeys(names, names)))) == 10


@given(st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7), max_size=3), min_size=1))
def test_breaking_every_cycle_listed_gives_a_dag(given_edges: dict[int, set[int]]) -> None:
    edges = {
        f"s{name}": [f"s{other}" for other in sorted(after) if other in given_edges]
        for name, after in given_edges.items()
    }
    found = cycles(_chained(edges))
    assert bool(found) == (len(compiled(_chained(edges)).order) < len(edges))
    for cycle in found:
        for name, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert name in edges[after]  # each listed edge is real
    if len(found) < 10:
        for cycle in found:
            edges[cycle[0]] = [name for name in edges[cycle[0]] if name != cycle[-1]]
        assert cycles(_chained(edges)) == []


def test_the_critical_path_is_the_slowest_chain_and_not_the_longest() -> None:
    definition = _chained({"a": [], "b": ["a"], "c": ["b"], "slow": [], "end": ["c", "slow"]})
    path, duration = critical_path(compiled(definition), [1, 1, 1, 10, 1])
    assert [definition.steps[index].name for index in path] == ["slow", "end"]
    assert duration == 11


def test_a_plain_plan_never_loads_networkx() -> None:
    code = (
        "import sys\nfrom llmorch.workflow import Workflow\nfrom llmorch.models.payload import Payload\n"
        "from llmorch.planner.plan import make_plan\nfrom llmorch.planner.checks import check\n"
        "wf = Workflow.of(Payload('a', 'x'), Payload('b', '{{ a }}'), name='w').freeze()\n"
        "assert not check(wf, None).faults\nprint(len(str(make_plan(wf, None))) > 0, 'networkx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "False"]
