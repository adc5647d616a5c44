"""The fingerprint of a step that has all its bindings."""

from __future__ import annotations

from ..definition.actions import FunctionAction, PayloadAction, WorkflowAction
from ..definition.document import to_document
from ..definition.fingerprint import code_of, function_fingerprint, payload_fingerprint, workflow_fingerprint
from ..models.values import Data
from .state.arguments import arguments
from .state.step import StepState
from .steps.output import output_spec
from .steps.tools import tool_specs

__all__ = ["fingerprint_of", "fingerprint_or_none"]


def fingerprint_of(state: StepState) -> str:
    """Hash of everything that determines the value of a step or item.

    Raises:
        LLMOrchError: Its prompt cannot be rendered.
    """
    action = state.step.definition.action
    args: dict[str, Data] = arguments(state)
    match action:
        case PayloadAction(payload=payload):
            return payload_fingerprint(
                payload.render_data(args),
                payload.model or "",
                settings=payload.settings,
                extra=payload.extra,
                output_schema=output_spec(payload).schema,
                tools=tool_specs(payload),
            )
        case FunctionAction():
            return function_fingerprint(action, args)
        case WorkflowAction(definition=definition):
            return workflow_fingerprint(to_document(definition), args, code=code_of(definition))


def fingerprint_or_none(state: StepState) -> str | None:
    """The fingerprint; None where it cannot be worked out, which the step itself will say when it runs."""
    try:
        return fingerprint_of(state)
    except Exception:  # templates and user types may raise anything
        return None
