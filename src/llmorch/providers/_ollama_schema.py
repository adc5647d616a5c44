"""JSON schemas as Ollama reads them.

Source: https://github.com/ollama/ollama/blob/main/api/types.go (`ToolFunction`, 2026-11) for tools, where a property's
`$ref` is not read; https://github.com/ollama/ollama/issues/8325 (2025-01) for answers, where most patterns are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import _json
from ..models.values import Data
from ._loose_json import is_list, is_object

__all__ = ["answer_schema", "tool_schema"]

_MAX_NODES = 5000
_HOMES = ("$defs", "definitions")
_NAMED = (*_HOMES, "properties", "patternProperties", "dependentSchemas")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")


class _TooLarge(Exception):
    pass


def answer_schema(schema: Mapping[str, Data]) -> dict[str, Any]:
    """The `format` of a request.

    Patterns are left out, because the grammar Ollama makes of a schema has few of them and refuses the request for the
    rest; the answer is checked against the whole schema when it is here.
    """
    made: dict[str, Any] = _without_patterns(_own(schema))
    return made


def tool_schema(schema: Mapping[str, Data]) -> dict[str, Any]:
    """The `parameters` of a tool: what a `$ref` names stands in its place, unless it holds itself."""
    own = _own(schema)
    definitions = {key: own[key] for key in _HOMES if key in own}
    try:
        made: dict[str, Any] = _Inliner(own).node({key: own[key] for key in own if key not in definitions}, ())
    except _TooLarge:
        return own
    made.setdefault("type", "object")
    made.setdefault("properties", {})
    return made | definitions if '"$ref"' in _json.dumps(made) else made


def _own(schema: Mapping[str, Data]) -> dict[str, Any]:
    plain: dict[str, Any] = _json.loads(_json.dumps(schema))
    return plain


def _with_inner(schema: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:  # Any: a schema, or true/false
    """The schema with each schema directly inside it changed; constants, defaults and examples are left alone."""
    made: dict[str, Any] = {}
    for key, item in schema.items():
        if key in _NAMED and is_object(item):
            made[key] = {name: change(inner) for name, inner in item.items()}
        elif (key in _LISTED or key == "items") and is_list(item):
            made[key] = [change(inner) for inner in item]
        else:
            made[key] = change(item) if key in _SINGLE else item
    return made


def _without_patterns(schema: Any) -> Any:  # Any: a schema, or true/false
    if not is_object(schema):
        return schema
    return _with_inner({key: item for key, item in schema.items() if key != "pattern"}, _without_patterns)


class _Inliner:
    """Puts what references name in their place."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def node(self, schema: Any, inside: tuple[str, ...]) -> Any:  # Any: a schema, or true/false
        """The schema without references; `inside` are the references it stands in."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _TooLarge
        if not is_object(schema):
            return schema
        name = schema.get("$ref")
        if not isinstance(name, str):
            return _with_inner(schema, lambda inner: self.node(inner, inside))
        found = self._named(name)
        if found is None or name in inside:
            return schema
        beside = {key: item for key, item in schema.items() if key != "$ref"}
        return self.node({**found, **beside}, (*inside, name))

    def _named(self, name: str) -> dict[str, Any] | None:
        for home in _HOMES:
            prefix = f"#/{home}/"
            if name.startswith(prefix) and is_object(self._root.get(home)):
                found = self._root[home].get(name.removeprefix(prefix))
                return found if is_object(found) else None
        return None
