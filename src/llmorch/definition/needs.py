"""What an action reads by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
from .workflow import plain_name

__all__ = ["Need", "needs_of", "takes_anything"]


class Need(NamedTuple):
    """A name that an action reads.

    Attributes:
        plain: The same without hyphens.
        required: It must be bound: the action has no default for it.
        kind: The type it is validated to.
    """

    name: str
    plain: str
    required: bool
    kind: Any  # Any: a type, a union, anything an annotation can be


def needs_of(action: ActionDef) -> Sequence[Need]:
    """What an action reads; of a dispatch, what any of its branches does."""
    match action:
        case FunctionAction(params=params):
            return [_need(p.name, p.required, Any if p.annotation is None else p.annotation) for p in params]
        case PayloadAction(payload=payload):
            return [_need(name, name not in payload.defaults, Any) for name in sorted(payload.variables)]
        case WorkflowAction(definition=definition):
            return [_need(name, spec.is_required, spec.type) for name, spec in definition.inputs.items()]
        case QuestionAction(question=question):
            return [_need(name, True, Any) for name in sorted(question.variables)]
        case ScriptAction():
            return [_need("input", False, Any)]
        case LoopAction(body=body):
            return needs_of(body)
        case DispatchAction():
            return list(_union(action))


def _union(action: DispatchAction) -> Iterator[Need]:
    found: dict[str, Need] = {}
    for _, branch in action.all_branches:
        for need in needs_of(branch):
            same = found.setdefault(need.name, need)
            kind = need.kind if need.kind == same.kind else Any
            found[need.name] = Need(need.name, need.plain, need.required or same.required, kind)
    yield from found.values()


def takes_anything(action: ActionDef) -> bool:
    """Whether it reads whatever it is given, as scripts do."""
    match action:
        case ScriptAction():
            return True
        case LoopAction(body=body):
            return takes_anything(body)
        case DispatchAction():
            return any(takes_anything(branch) for _, branch in action.all_branches)
        case PayloadAction() | FunctionAction() | WorkflowAction() | QuestionAction():
            return False


def _need(name: str, required: bool, kind: Any) -> Need:  # Any: as above
    return Need(name, plain_name(name), required, kind)
