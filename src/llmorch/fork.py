"""A new run out of an old one: what is unchanged is adopted, the rest is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ._clock import now_us
from .definition.names import did_you_mean
from .definition.value_types import step_type
from .definition.workflow import WorkflowDef
from .engine.adoption import Adoption, adopted
from .engine.state.resume import folded
from .engine.state.run import RunState
from .errors import InputInvalid, WorkflowInvalid
from .events import RunStarted
from .inputs import prepare_inputs
from .launch import Launcher
from .live import LiveRun
from .models.policy import Budget
from .models.values import Data, to_data
from .planner.checks import check
from .queries import Queries
from .run_options import checked_budget
from .runid import new_run_id
from .schema import describe, validate
from .workflow import Workflow

__all__ = ["adoption_of", "forked"]


async def forked(
    run_id: str,
    *,
    launcher: Launcher,
    queries: Queries,
    workflow: Workflow[Any] | None,
    replace: Mapping[str, Any] | None,
    budget: Budget | None,
) -> LiveRun:
    """The new run, in the store with all it adopts, ready to be carried on; see `Orchestrator.fork`."""
    launcher.bind()
    budget = checked_budget(budget)
    row = await queries.store.load(run_id)
    if workflow is None:
        definition = former_definition = await queries.definition_of(row)
        faults = check(definition, launcher.catalog).faults
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)
    else:  # of the old one only what it gave is wanted, so code that is gone is not missed
        definition = launcher.checked(workflow)
        former_definition = await queries.definition_of(row, needs_code=False, given=definition)
    former = folded(former_definition, await queries.log(run_id))
    spend = None if budget is None else budget.model_dump()
    if budget is None and former.ledger is not None:
        budget = former.ledger.budget
        spend = budget.model_dump()
    elif budget is None and launcher.budget is not None:
        budget = launcher.budget
        spend = budget.model_dump()
    if budget is not None:
        launcher.refuse_unpriced(definition, budget)
    made = adoption_of(definition, former, replace=replace or {}, budget=spend, scripts=launcher.scripts)
    live = await launcher.put(definition, made.events)
    assert isinstance(live, LiveRun), "a run without a key is always a new one"
    live.executor.adopt_from(made.results)
    return live


def adoption_of(
    definition: WorkflowDef,
    former: RunState,
    *,
    replace: Mapping[str, Any],
    budget: Mapping[str, Data] | None = None,
    scripts: Sequence[Path] = (),
) -> Adoption:
    """What a run of the definition would adopt of the former one.

    Args:
        replace: Path of a step or name of an input -> its value.
        scripts: Folders in which scripts are looked for.

    Raises:
        InputInvalid: A value does not fit, or there is no such step or input.
        TypeError: What is to be replaced is not named.
    """
    _refuse_unnamed(replace)
    given, steps = dict[str, Any](), dict[str, Data]()
    for name, value in replace.items():
        if name in definition.inputs:
            given[name] = value
        else:
            steps[name] = _step_value(definition, name, value)
    known = {name: value for name, value in former.inputs.items() if name in definition.inputs and name not in given}
    inputs = prepare_inputs(definition, {**known, **given}, keywords={}, options={})
    started = RunStarted(
        definition.name,
        inputs=inputs,
        forked_from=former.run_id,
        budget=budget,
        timeout=former.timeout,
        tags=former.tags,
        metadata=dict(former.metadata),
        run_id=new_run_id(),
        at_us=now_us(),
    )
    try:
        return adopted(started, RunState(definition), former, replaced=steps, scripts=scripts)
    except KeyError as error:
        raise InputInvalid(
            f"replace: {error.args[0]!r} cannot be replaced: there is no such step, or the map or workflow around it "
            "has to be asked for again first; replace that as a whole"
        ) from None


def _refuse_unnamed(replace: object) -> None:
    names = cast("Mapping[object, object]", replace) if isinstance(replace, Mapping) else [None]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"replace= takes a mapping: path of a step or name of an input -> value, not {replace!r}")


def _step_value(definition: WorkflowDef, path: str, value: Any) -> Data:  # Any: whatever the user gives
    """The value as data, validated to the step's type where the path names a step of the top workflow."""
    value = to_data(value, where=f"replace: {path!r}")
    if any(mark in path for mark in "/[@"):
        return value
    try:
        step = definition.step(path)
    except KeyError:
        names = [*definition.inputs, *(step.name for step in definition.steps)]
        raise InputInvalid(
            f"replace: workflow {definition.name!r} has no step or input {path!r}{did_you_mean(path, names)}"
        ) from None
    kind = step_type(step)
    if kind in (None, Any):
        return value
    try:
        return to_data(validate(kind, value), where=f"replace: {path!r}")
    except ValueError as error:
        raise InputInvalid(f"replace: {path!r} gives {describe(kind)}, and the value does not fit: {error}") from None
