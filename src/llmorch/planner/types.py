"""What is known of every value before it exists: the JSON schema of each input and step, None where unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from ..definition.actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from ..definition.node import Binding, DictOf, Each, Filled, FirstN, FirstOf, ListOf, Literal, Optional, Ref
from ..definition.workflow import StepDef, WorkflowDef
from ..models.values import Data
from ..schema import data_schema, schema_at
from ..templates.bounds import is_list, is_object

__all__ = ["Schema", "schema_of", "schema_of_action", "schemas"]

Schema = Mapping[str, Any]  # Any: JSON data

_MEMO = "schemas"
_TEXT: Schema = {"type": "string"}
_OF_SCALARS: Mapping[type, Schema] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: _TEXT,
}
_MOST_ITEMS = 50  # of a literal that are looked at
_DEEPEST = 6


def schemas(definition: WorkflowDef) -> Mapping[str, Schema]:
    """Name -> JSON schema of its value, for every input and step whose type is known."""
    found = definition.memo.get(_MEMO)
    if found is None:
        found = definition.memo[_MEMO] = _all(definition)
    return cast("Mapping[str, Schema]", found)


def _all(definition: WorkflowDef) -> dict[str, Schema]:
    of_type = _remembering()
    known: dict[str, Schema] = {}
    for name, spec in definition.inputs.items():
        if spec.type is not Any and (schema := of_type(spec.type)) is not None:
            known[name] = schema
    for step in definition.steps:
        if (schema := _step(step, of_type)) is not None:
            known[step.name] = schema
    return known


def _step(step: StepDef, of_type: Callable[[Any], Schema | None]) -> Schema | None:
    schema = _action(step.action, of_type)
    return schema if step.map is None else {"type": "array", "items": schema or {}}


def _action(action: ActionDef, of_type: Callable[[Any], Schema | None]) -> Schema | None:
    match action:
        case FunctionAction(returns=returns):
            return None if returns is None or returns is Any else of_type(returns)
        case PayloadAction(payload=payload):
            return _TEXT if payload.output is str else of_type(payload.output)
        case WorkflowAction(definition=inner):
            return None if inner.output is None else schema_of(inner.output, schemas(inner))
        case QuestionAction(question=question):
            return _TEXT if question.answer is str else of_type(question.answer)
        case ScriptAction():
            return None
        case LoopAction(body=body):
            return _action(body, of_type)
        case DispatchAction():
            found = [_action(branch, of_type) for _, branch in action.all_branches]
            return found[0] if found and all(schema == found[0] for schema in found) else None


def schema_of_action(action: ActionDef) -> Schema | None:
    """JSON schema of what one run of an action gives, where that is known."""
    return _action(action, _remembering())


def _remembering() -> Callable[[Any], Schema | None]:
    """`data_schema` that works each type out once and gives None for what has no schema."""
    seen: dict[object, Schema | None] = {}

    def of_type(kind: Any) -> Schema | None:  # Any: a type, a union, a JSON schema
        try:
            if kind in seen:
                return seen[kind]
        except TypeError:  # unhashable, such as Annotated with a list
            return _or_none(kind)
        seen[kind] = _or_none(kind)
        return seen[kind]

    return of_type


def _or_none(kind: Any) -> Schema | None:  # Any: as above
    try:
        return data_schema(kind)
    except TypeError:  # a type without a schema is one of which nothing is known
        return None


def schema_of(binding: Binding, known: Mapping[str, Schema]) -> Schema | None:
    """JSON schema of what a binding gives; for `each`, of one item."""
    match binding:
        case Ref(source=source, path=path):
            schema = known.get(source)
            return schema if schema is None or not path else schema_at(schema, path)
        case Literal(value=value):
            return _of_data(value, 0)
        case FirstOf(refs=refs):
            return _common(refs, known)
        case FirstN(refs=refs):
            return {"type": "array", "items": _common(refs, known) or {}}
        case Optional(source=source, default=default):
            return _optional(schema_of(source, known), default)
        case Each(source=source):
            schema = schema_of(source, known)
            return None if schema is None else schema_at(schema, (0,))
        case ListOf():
            return {"type": "array"}
        case DictOf(items=pairs):
            properties = {name: schema_of(item, known) or {} for name, item in pairs}
            return _closed(properties)
        case Filled():
            return _TEXT


def _common(refs: tuple[Ref[Any], ...], known: Mapping[str, Schema]) -> Schema | None:
    found = [schema_of(ref, known) for ref in refs]
    return found[0] if all(schema == found[0] for schema in found) else None


def _optional(schema: Schema | None, default: Data) -> Schema | None:
    """The value or its default; a default of None stands for absence, which templates test for themselves."""
    if schema is None or default is None:
        return schema
    other = _of_data(default, 0)
    return schema if other == schema else {"anyOf": [schema, other]}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _of_data(value: Data, depth: int) -> Schema:
    """What is known of a value that is written into the workflow."""
    if is_list(value):
        looked_at = value if depth < _DEEPEST and len(value) < _MOST_ITEMS else ()
        items = [_of_data(item, depth + 1) for item in looked_at]
        alike = bool(items) and all(item == items[0] for item in items)
        return {"type": "array", "items": items[0]} if alike else {"type": "array"}
    if is_object(value):
        if depth >= _DEEPEST or len(value) >= _MOST_ITEMS:
            return {"type": "object"}
        return _closed({name: _of_data(item, depth + 1) for name, item in value.items()})
    return _OF_SCALARS[type(value)]
