"""Makes the plan of a workflow: what will run in which order, what it will take, and what it still needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ..definition.actions import (
    CHOICE,
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
    nested_of,
)
from ..definition.document import is_portable
from ..definition.node import Node, Ref
from ..definition.workflow import StepDef, WorkflowDef, plain_name
from ..errors import ValueRefused
from ..models.values import Data, to_data
from .catalog import Catalog
from .checks import nested_warnings
from .compile import Compiled, compiled
from .estimate import Forecast, StepForecast, forecast
from .graph import critical_path, edges_of, levels
from .planned import Plan, PlannedStep
from .ranges import Range

__all__ = ["Plan", "PlannedStep", "Range", "make_plan"]

# Seconds assumed for the critical path; only their proportion matters.
_CALL: Final = 1.0
_FUNCTION: Final = 0.01


def make_plan(definition: WorkflowDef, catalog: Catalog | None, values: Mapping[str, object] | None = None) -> Plan:
    """The plan of a workflow; faults do not stop it (`checks.check` finds them).

    Args:
        catalog: Knows models and prices; without it costs are unknown.
        values: Inputs of the run, as far as they are known; they make the estimate exact.
    """
    known, given = _known(definition, values or {})
    estimate = forecast(definition, catalog, known)
    made = compiled(definition)
    found = levels(made)
    generations: list[list[str]] = [[] for _ in range(max(found, default=-1) + 1)]
    for index in made.order:
        generations[found[index]].append(definition.steps[index].name)
    path, _ = critical_path(made, _durations(made, estimate))
    plan = Plan(
        steps=tuple(_rows(made, estimate, found, "", Range(1, 1, 1))),
        generations=tuple(tuple(names) for names in generations),
        critical_path=tuple(definition.steps[index].name for index in path),
        calls=estimate.calls,
        tokens=estimate.tokens,
        cost=estimate.cost,
        inputs=definition.inputs,
        warnings=nested_warnings(definition),
        portable=is_portable(definition),
        name=definition.name,
        given=given,
    )
    if not definition.checks:
        return plan
    from .assertions import planned_checks  # most workflows have none, and none of its cost

    rows, taken = planned_checks(definition, catalog, estimate, known=known)
    return replace(
        plan,
        checks=rows,
        calls=plan.calls + taken.calls,
        tokens=plan.tokens + taken.tokens,
        cost=None if plan.cost is None or taken.cost is None else plan.cost + taken.cost,
    )


def _known(definition: WorkflowDef, values: Mapping[str, object]) -> tuple[dict[str, Data], frozenset[str]]:
    """Input name -> value, defaults included; and the names that were given."""
    known = {name: spec.default for name, spec in definition.inputs.items() if not spec.is_required}
    given: set[str] = set()
    for name in definition.inputs:
        spelling = name if name in values else plain_name(name)
        if spelling in values:
            given.add(name)
            try:
                known[name] = to_data(values[spelling], where=f"input {name!r}")
            except ValueRefused:
                known.pop(name, None)  # the run will refuse it; here its size is just not known
    return known, frozenset(given)


def _rows(made: Compiled, estimate: Forecast, found: list[int], prefix: str, factor: Range[int]) -> list[PlannedStep]:
    rows: list[PlannedStep] = []
    once = factor == Range(1, 1, 1)
    in_order = sorted(made.order, key=found.__getitem__)  # stable: generation by generation, then as they were added
    for index in in_order if len(in_order) == len(made.steps) else range(len(made.steps)):
        step, taken = made.definition.steps[index], estimate.steps[index]
        calls, tokens, cost = taken.calls, taken.tokens, taken.cost
        if not once:
            calls, tokens = calls.times(factor), tokens.times(factor)
            cost = None if cost is None else cost.times(factor)
        row = PlannedStep(
            prefix + step.name,
            _kind(step.action),
            taken.model,
            _reads(step),
            found[index] + 1,
            calls,
            tokens,
            cost,
            None if step.when is None else _condition(step),
            taken.width,
        )
        rows.append(row)
        rows += _inner(made, index, estimate, row.path, factor)
    return rows


def _inner(made: Compiled, index: int, estimate: Forecast, path: str, factor: Range[int]) -> list[PlannedStep]:
    """The rows of a nested workflow, of what a loop repeats if that is one, and of the branches of a dispatch."""
    step, taken = made.steps[index], estimate.steps[index]
    child = step.child if step.body is None else step.body.child
    if child is None:
        return []
    inner = taken.inner or forecast(child.definition, None, {})
    mark = "@*" if step.body is not None else "[*]" if step.definition.map is not None else ""
    inside = f"{path}{mark}/"
    repeated = Range(
        factor.low * taken.factor.low, factor.likely * taken.factor.likely, factor.high * taken.factor.high
    )
    return _rows(child, inner, levels(child), inside, repeated)


def _kind(action: ActionDef) -> str:
    match action:
        case FunctionAction():
            return "function"
        case PayloadAction():
            return "payload"
        case WorkflowAction():
            return "workflow"
        case ScriptAction():
            return "script"
        case QuestionAction():
            return "question"
        case LoopAction():
            return "loop"
        case DispatchAction():
            return "dispatch"


def _reads(step: StepDef) -> tuple[str, ...]:
    sources: list[str] = []
    for binding in step.bindings.values():
        if type(binding) is Ref or type(binding) is Node:
            sources.append(binding.source.removeprefix(CHOICE))
        else:
            break
    else:
        if step.when is None and not step.after:
            return tuple(dict.fromkeys(sources))
    named = (source.removeprefix(CHOICE) for source, _ in edges_of(step))  # as a branch, under another name
    return tuple(dict.fromkeys(source for source in named if source))


def _condition(step: StepDef) -> str:
    assert step.when is not None
    if step.when.expression is not None:
        return step.when.expression
    return " and ".join(repr(binding)[4:-1] for binding in step.when.bindings.values())


def _durations(made: Compiled, estimate: Forecast) -> list[float]:
    return [_duration(made, index, taken) for index, taken in enumerate(estimate.steps)]


def _duration(made: Compiled, index: int, taken: StepForecast) -> float:
    step = made.definition.steps[index]
    one = _of_action(step.action, taken)
    if step.map is None or step.map.concurrency is None or taken.width is None:
        return one
    return one * math.ceil(taken.width.likely / max(1, step.map.concurrency))


def _of_action(action: ActionDef, taken: StepForecast) -> float:
    match action:
        case FunctionAction() | ScriptAction() | QuestionAction():  # nobody knows how long a person takes
            return _FUNCTION
        case PayloadAction():
            return _CALL
        case WorkflowAction() | DispatchAction():
            inner = nested_of(action)
            assert inner is not None
            child = compiled(inner)
            steps = (taken.inner.steps if taken.inner is not None else None) or [StepForecast()] * len(child.steps)
            return critical_path(child, [_duration(child, at, item) for at, item in enumerate(steps)])[1]
        case LoopAction(body=body):
            return _of_action(body, taken) * min(2, action.max_iterations)
