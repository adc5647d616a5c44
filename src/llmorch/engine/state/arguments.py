"""What a step is run with, worked out from the slots of its frame; and what a map gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...definition.actions import CHOICE, OTHERWISE, DispatchAction, called
from ...definition.branches import branch_input
from ...definition.names import did_you_mean
from ...definition.node import refs_in
from ...definition.workflow import InputSpec, WorkflowDef
from ...errors import StepError
from ...models.policy import Default
from ...models.values import Data, copy_data, to_data
from ...planner.resolve import LOST, SKIPPED, Mark
from ...schema import describe, validate
from .step import StepState

__all__ = [
    "arguments",
    "child_inputs",
    "default_data",
    "item_count",
    "map_result",
    "opened_inputs",
    "resolved",
    "skipped_binding",
]

_SIMPLE = (str, int, float, bool, list, dict)


def resolved(state: StepState) -> dict[str, Data] | Mark:
    """Argument -> value for a step, each a copy of its own; a mark when a binding is skipped.

    Raises:
        StepError: A binding names a part that the value does not have.
    """
    values = state.frame.values
    worst: Mark | None = None
    args: dict[str, Data] = {}
    for name, slot, resolve in state.step.args:
        value = values[slot] if resolve is None else resolve(values)
        kind: object = value.__class__
        if kind is Mark:
            worst = LOST if value is LOST or worst is LOST else SKIPPED
        elif kind is list or kind is dict:
            args[name] = copy_data(value)
        else:
            args[name] = value
    return args if worst is None else worst


def skipped_binding(state: StepState) -> str:
    """The first binding without a value, in words: what it is called and what it reads."""
    values = state.frame.values
    for name, slot, resolve in state.step.args:
        if type(values[slot] if resolve is None else resolve(values)) is Mark:
            sources = dict.fromkeys(ref.source for ref in refs_in(state.step.definition.bindings[name]))
            return f"{called(name)} (from {', '.join(map(repr, sources))})"
    return "something it reads"


def arguments(state: StepState) -> dict[str, Any]:
    """What a started step or item is run with."""
    if state.args is None:
        if state.owner is not None:
            give = _item_arguments if state.owner.loop is None else _iteration_arguments
            state.args = give(state.owner, state.item or 0)
        else:
            found = resolved(state)
            assert not isinstance(found, Mark), "a started step has all its bindings"
            state.args = found
    return state.args


def item_count(args: Mapping[str, Data], names: tuple[str, ...], path: str) -> int:
    """How many items a map has.

    Raises:
        StepError: One of the lists is no list, or they differ in length.
    """
    for name in names:
        if not isinstance(args[name], list):
            raise StepError(f"Step {path!r} maps over {name!r}, which is {type(args[name]).__name__}, not a list")
    counts = {name: len(args[name]) for name in names}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        raise StepError(f"Step {path!r} maps over lists of different length: {shown}; make them equal")
    return next(iter(counts.values()))


def _item_arguments(owner: StepState, index: int) -> dict[str, Data]:
    assert owner.map is not None
    if owner.map.args is None:
        owner.map.args = arguments(owner)
    each = owner.step.each
    args: dict[str, Data] = {}
    for name, value in owner.map.args.items():
        given = value[index] if name in each else value
        args[name] = given if given.__class__ is str else copy_data(given)
    return args


def _iteration_arguments(owner: StepState, index: int) -> dict[str, Data]:
    """What the loop is run with; after the first iteration, with what was carried over."""
    assert owner.loop is not None
    carried: Mapping[str, Data] = owner.loop.carried[index - 1] if index else {}
    return {name: copy_data(value) for name, value in {**arguments(owner), **carried}.items()}


def opened_inputs(state: StepState, definition: WorkflowDef) -> dict[str, Data]:
    """The inputs of the workflow that a step opens: a nested one, or the branches of a dispatch.

    Raises:
        StepError: A value does not fit, or no branch has the key that was chosen.
    """
    args, action = arguments(state), state.step.definition.action
    if isinstance(action, DispatchAction):
        chosen = _chosen(action, args[CHOICE], state.path)
        args = {branch_input(name): value for name, value in args.items() if name != CHOICE}
        args[CHOICE] = chosen
    return child_inputs(definition, args)


def _chosen(action: DispatchAction, choice: Data, path: str) -> str:
    """The key of the branch that is taken; what is no text counts as its JSON."""
    key = choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False)
    known = [name for name, _ in action.branches]
    if key in known:
        return key
    if action.otherwise is None:
        raise StepError(
            f"Step {path!r} chose {key[:80]!r}, which is no key of among={{...}}{did_you_mean(key, known)}; "
            "give it otherwise=, or see that the choice is one of the keys"
        )
    return OTHERWISE


def child_inputs(definition: WorkflowDef, args: Mapping[str, Data]) -> dict[str, Data]:
    """The inputs of a nested workflow: what is bound, validated to its type, and defaults for the rest.

    Raises:
        StepError: A value does not fit.
    """
    return {
        name: _fitted(definition, name, args[name]) if name in args else default_data(spec)
        for name, spec in definition.inputs.items()
        if name in args or not spec.is_required
    }


def _fitted(definition: WorkflowDef, name: str, value: Data) -> Data:
    kind = definition.inputs[name].type
    given: object = value.__class__
    if kind is Any or (kind in _SIMPLE and given is kind):
        return value
    try:
        return to_data(validate(kind, value), where=f"input {name!r}")
    except ValueError as error:
        raise StepError(f"input {name!r} of workflow {definition.name!r} is no {describe(kind)}: {error}") from None


def default_data(spec: InputSpec) -> Data:
    """An input's default, in a copy of its own."""
    return copy_data(spec.default)


def map_result(state: StepState) -> list[Data]:
    """The values of a map's items in item order: skipped ones left out, failed ones by the policy."""
    assert state.map is not None
    default = state.on_error if isinstance(state.on_error, Default) else None
    values: list[Data] = []
    for item in state.map.items:
        if item is None:
            continue
        if item.status == "succeeded":
            values.append(item.value)
        elif item.status == "failed" and default is not None:
            values.append(to_data(default.value))
    return values
