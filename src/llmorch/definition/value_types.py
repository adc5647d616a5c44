"""The Python type of what a step or workflow gives, where one is declared."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ..models.policy import Default
from .actions import ActionDef, FunctionAction, PayloadAction, WorkflowAction
from .node import Binding, Ref
from .workflow import StepDef, WorkflowDef

_first_that_fits = Field(union_mode="left_to_right")

__all__ = ["action_type", "output_type", "step_type"]


def action_type(action: ActionDef) -> Any:
    """The declared type of one run of an action; None when there is none."""
    match action:
        case PayloadAction(payload=payload):
            return None if isinstance(payload.output, Mapping) else payload.output
        case FunctionAction(returns=returns):
            return returns
        case WorkflowAction(definition=definition):
            return output_type(definition)


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
    if not isinstance(binding, Ref) or binding.path:
        return None
    if binding.source in definition.inputs:
        return definition.inputs[binding.source].type
    return next((step_type(step) for step in definition.steps if step.name == binding.source), None)
