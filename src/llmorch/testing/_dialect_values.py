"""The plainest value that satisfies a JSON schema, in the simple cases a mock server meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._dialect_parts import entries, fields, is_list

__all__ = ["plain_value"]

_MAX_DEPTH = 8
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "nobody@example.invalid",
    "uri": "https://example.invalid/",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


def plain_value(schema: Mapping[str, Any]) -> Any:  # Any: JSON data
    """A value for the schema; patterns are not looked at.

    Example:
        >>> plain_value({"properties": {"n": {"type": "integer", "minimum": 3}, "s": {"enum": ["a"]}}})
        {'n': 3, 's': 'a'}
    """
    return _value(dict(schema), dict(schema), 0)


def _value(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:  # Any: JSON data
    schema = _chosen(schema, root)
    if "const" in schema:
        return schema["const"]
    if is_list(schema.get("enum")) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    if is_list(kind):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match str(kind).lower():  # Google's dialect has them in capitals
        case "object":
            return _object(schema, root, depth)
        case "array":
            count = max(int(schema.get("minItems") or 0), 0 if depth >= _MAX_DEPTH else 1)
            return [_value(fields(schema.get("items")), root, depth + 1) for _ in range(count)]
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema)


def _chosen(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema without references and alternatives."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target: Any = root
            for name in reference.lstrip("#/").split("/"):
                target = fields(target).get(name) if name else target
            schema = fields(target)
            continue
        ways = next((schema[name] for name in ("anyOf", "oneOf") if is_list(schema.get(name)) and schema[name]), None)
        if ways is not None:
            schema = next(way for way in [*entries(ways), fields(None)] if way.get("type") != "null")
            continue
        parts = schema.get("allOf")
        if not is_list(parts):
            break
        schema = {name: part for name, part in schema.items() if name != "allOf"}
        for part in parts:
            schema |= _chosen(fields(part), root)
    return schema


def _object(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth >= _MAX_DEPTH:  # a schema that holds itself
        return {}
    return {name: _value(fields(one), root, depth + 1) for name, one in fields(schema.get("properties")).items()}


def _number(schema: dict[str, Any]) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if isinstance(low, int | float):
        return low if "minimum" in schema else low + 1
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    return min(1, high - 1) if isinstance(high, int | float) else 1


def _text(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), "text")
    text = text.ljust(int(schema.get("minLength") or 0), "x")
    return text[: int(schema["maxLength"])] if schema.get("maxLength") is not None else text
