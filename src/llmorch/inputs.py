"""What a run is given, checked against what its workflow takes before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .definition.names import did_you_mean
from .definition.workflow import InputSpec, WorkflowDef, plain_name
from .errors import InputInvalid, ValueRefused
from .models.values import Data, to_data
from .schema import describe, validate

__all__ = ["prepare_inputs"]

_NAMES = "plain names of the inputs"  # worked out once for a definition, not for each of its runs


def prepare_inputs(
    definition: WorkflowDef,
    values: Mapping[str, Any] | None,
    *,
    keywords: Mapping[str, Any],
    options: Mapping[str, object],
) -> dict[str, Data]:
    """Every input by name, validated to its type as pydantic does in lax mode, as data.

    Args:
        values: Inputs given as a mapping.
        keywords: Inputs given by keyword.
        options: Options of `run()` that were used, to notice one that was meant as an input.

    Raises:
        InputInvalid: An input is missing, unknown, given twice or does not fit; all mistakes are named.
    """
    if values is not None and not isinstance(values, Mapping):
        raise TypeError(f"inputs are given by keyword or as one mapping, not as {type(values).__name__}")
    mistakes: list[str] = []
    given = _by_name(definition, (values or {}, keywords), mistakes)
    for option, value in options.items():
        if value is not None and option in definition.inputs:
            mistakes.append(
                f"{option!r} is both an option of run() and an input; pass it in the mapping: {{{option!r}: ...}}"
            )
    inputs: dict[str, Data] = {}
    for name, spec in definition.inputs.items():
        if name in given:
            inputs[name] = _fitted(name, spec, given[name], mistakes)
        elif spec.is_required:
            mistakes.append(f"input {name!r} is missing{f' ({spec.description})' if spec.description else ''}")
        else:
            inputs[name] = to_data(spec.default)
    if mistakes:
        raise InputInvalid(f"Workflow {definition.name!r} was not started: {'; '.join(mistakes)}")
    return inputs


def _by_name(definition: WorkflowDef, sources: Iterable[Mapping[str, Any]], mistakes: list[str]) -> dict[str, Any]:
    """What was given, under the inputs' own names; the underscore form of a hyphenated name is taken too."""
    names = definition.memo.get(_NAMES)
    if names is None:
        names = definition.memo[_NAMES] = {plain_name(name): name for name in definition.inputs}
    given: dict[str, Any] = {}
    for source in sources:
        for key, value in source.items():
            name = names.get(key) or names.get(plain_name(key))
            if name is None:
                mistakes.append(f"there is no input {key!r}{did_you_mean(key, definition.inputs)}")
            elif name in given:
                mistakes.append(f"input {name!r} is given twice; give it once")
            else:
                given[name] = value
    return given


def _fitted(name: str, spec: InputSpec, value: Any, mistakes: list[str]) -> Data:
    try:
        if spec.type is Any or (type(value) is spec.type and spec.type in (str, int, bool)):
            return to_data(value, where=f"input {name!r}")
        return to_data(validate(spec.type, value), where=f"input {name!r}")
    except ValueRefused as error:
        mistakes.append(str(error))
    except ValueError as error:
        mistakes.append(f"input {name!r} is no {describe(spec.type)}: {error}")
    return None
