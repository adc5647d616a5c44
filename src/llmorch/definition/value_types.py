"""The Python type of what a step or workflow gives, where one is declared.

Any stands for a type form throughout: a class, a union, a Literal, whatever an annotation can be.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, TypeGuard, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field

from ..models.policy import Default
from .actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from .node import Binding, Ref
from .workflow import StepDef, WorkflowDef

_first_that_fits = Field(union_mode="left_to_right")

__all__ = ["action_type", "output_type", "part_type", "step_type"]


def action_type(action: ActionDef) -> Any:
    """The declared type of one run of an action; None when there is none."""
    match action:
        case PayloadAction(payload=payload):
            return None if isinstance(payload.output, Mapping) else payload.output
        case FunctionAction(returns=returns):
            return returns
        case WorkflowAction(definition=definition):
            return output_type(definition)
        case QuestionAction(question=question):
            return None if isinstance(question.answer, Mapping) else question.answer
        case ScriptAction():
            return None
        case LoopAction(body=body):
            return action_type(body)
        case DispatchAction():
            kinds = [action_type(branch) for _, branch in action.all_branches]
            return kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else None


def step_type(step: StepDef) -> Any:
    """The declared type of a step's value; a map gives a list."""
    inner = action_type(step.action)
    if inner is None:
        return None
    if isinstance(step.on_error, Default) and inner is not Any:
        inner = Annotated[inner | Any, _first_that_fits]  # a default need not be of the type
    return inner if step.map is None else types.GenericAlias(list, (inner,))


def output_type(definition: WorkflowDef) -> Any:
    """The declared type of a workflow's output; None for composed outputs and parts."""
    return _binding_type(definition, definition.output)


def _binding_type(definition: WorkflowDef, binding: Binding | None) -> Any:
    if not isinstance(binding, Ref):
        return None
    if binding.source in definition.inputs:
        return part_type(definition.inputs[binding.source].type, binding.path)
    step = next((step for step in definition.steps if step.name == binding.source), None)
    return None if step is None else part_type(step_type(step), binding.path)


def part_type(kind: Any, path: tuple[str | int, ...]) -> Any:
    """The declared type of a part of a value; None where nothing is declared."""
    for part in path:
        if kind in (None, Any):
            return None
        kind = _field_type(kind, part) if isinstance(part, str) else _item_type(kind)
    return kind


def _field_type(kind: Any, name: str) -> Any:
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if _is_model(kind):
        field = kind.model_fields.get(name)
        return None if field is None else field.annotation
    return _hints(kind).get(name)


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _hints(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass or TypedDict; none for anything else."""
    return get_type_hints(kind) if is_dataclass(kind) or hasattr(kind, "__required_keys__") else {}


def _item_type(kind: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    return args[0] if origin in (list, set, frozenset, Sequence) and args else None
