"""What the checks of a workflow take and how they are shown in its plan, and what their types make impossible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from ..definition.checks import CHECKS, judging
from ..definition.workflow import WorkflowDef
from ..errors import TemplateError
from ..models.check import AnyCheck, Assertion, Judged, RequiredFields, RequiredSteps, TimeBound
from ..models.values import Data
from ..schema import missing_field
from ..templates import compile_expression
from .catalog import Catalog
from .estimate import FREE, Forecast, forecast
from .planned import PlannedStep
from .types import Schema, schema_of, schemas

__all__ = ["faults_of_types", "planned_checks", "roots"]

_OPEN: Final[Schema] = {"type": "object", "additionalProperties": True}  # unknown names are faults of the wiring
_ORDER: Final[Schema] = {"type": "array", "items": {"type": "string"}}


def roots(definition: WorkflowDef) -> dict[str, Schema]:
    """Name that a check may read -> JSON schema of its value, where the type is known."""
    known = schemas(definition)
    steps = {step.name: known.get(step.name, {}) for step in definition.steps}
    inputs = {name: known.get(name, {}) for name in definition.inputs}
    found: dict[str, Schema] = {
        "results": {**_OPEN, "properties": steps},
        "inputs": {**_OPEN, "properties": inputs},
        "execution_order": _ORDER,
        "status": {"type": "string"},
        "duration": {"type": "number"},
    }
    output = None if definition.output is None else schema_of(definition.output, known)
    return found if output is None else {**found, "output": output}


def faults_of_types(definition: WorkflowDef) -> Iterator[str]:
    """A sentence for each part that a plain check reads and that the type it is read of does not have."""
    known = roots(definition)
    for check in definition.checks:
        if isinstance(check, RequiredFields):
            yield from _lacking(check, known)
        elif isinstance(check, Assertion):
            try:
                faults = compile_expression(check.expression).faults(known)
            except TemplateError:
                continue  # a fault of the wiring
            yield from (f"Check {check.name!r}: {fault}" for fault in faults)


def _lacking(check: RequiredFields, known: Mapping[str, Schema]) -> Iterator[str]:
    what = "the output" if check.step is None else repr(check.step)
    schema = known.get("output") if check.step is None else known["results"]["properties"].get(check.step)
    for field in check.fields if schema is not None else ():
        path = tuple(int(part) if part.isdecimal() else part for part in field.split("."))
        fault = missing_field(schema, path) if schema is not None else None
        if fault is not None:
            yield f"Check {check.name!r} wants {field!r} of {what}, but {fault}"


def planned_checks(
    definition: WorkflowDef, catalog: Catalog | None, estimate: Forecast, *, known: Mapping[str, Data]
) -> tuple[tuple[PlannedStep, ...], Forecast]:
    """A row for each check, and what all of them take.

    Args:
        estimate: What the workflow takes.
        known: Input name -> value, for inputs that are known.
    """
    hidden = judging(definition) or WorkflowDef("", (), {}, None)
    taken = forecast(hidden, catalog, {"inputs": dict(known)}, sizes={"output": estimate.output})
    of_step = {step.name: one for step, one in zip(hidden.steps, taken.steps, strict=True)}
    rows: list[PlannedStep] = []
    for check in definition.checks:
        one = of_step.get(check.name, FREE)
        rows.append(PlannedStep(CHECKS + check.name, _kind(check), one.model, (), 0, one.calls, one.tokens, one.cost))
    return tuple(rows), taken


def _kind(check: AnyCheck) -> str:
    match check:
        case RequiredSteps():
            return "required steps"
        case TimeBound():
            return "time bound"
        case RequiredFields():
            return "required fields"
        case Assertion():
            return "assertion"
        case Judged():
            return "judged"
        case _:
            assert_never(check)
