"""The fingerprint of a step that has all its bindings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..definition.actions import (
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from ..definition.document import action_document, to_document
from ..definition.fingerprint import (
    action_codes,
    action_fingerprint,
    code_of,
    function_fingerprint,
    payload_fingerprint,
    question_fingerprint,
    script_fingerprint,
    workflow_fingerprint,
)
from ..models.values import Data
from ..scripts.identity import script_fingerprint_parts
from .state.arguments import arguments
from .state.step import StepState
from .steps.output import output_spec
from .steps.tools import tool_specs

__all__ = ["fingerprint_of", "fingerprint_or_none"]


def fingerprint_of(state: StepState, scripts: Sequence[Path] = ()) -> str:
    """Hash of everything that determines the value of a step or item.

    Args:
        scripts: Folders in which scripts are looked for; they are read, not run.

    Raises:
        LLMOrchError: Its prompt cannot be rendered.
        LookupError: Its script is not there.
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
        case QuestionAction(question=question):
            return question_fingerprint(question.render_data(args), question.schema_data)
        case ScriptAction(script=script):
            return script_fingerprint(script_fingerprint_parts(script, scripts), args)
        case LoopAction() | DispatchAction():
            return action_fingerprint(action_document(action), args, code=dict(action_codes(action, "")))


def fingerprint_or_none(state: StepState, scripts: Sequence[Path] = ()) -> str | None:
    """The fingerprint; None where it cannot be worked out, which the step itself will say when it runs."""
    try:
        return fingerprint_of(state, scripts)
    except Exception:  # templates and user types may raise anything
        return None
