"""A JSON schema in the dialect of Claude's structured outputs and strict tools.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs (2026-11): every object closed, no
recursion, no bounds of numbers and texts, `minItems` 0 or 1, unions as `anyOf`; 24 optional properties, 16 unions and
20 strict tools in one request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import _json
from ..models.values import Data
from ._loose_json import is_list, is_object

__all__ = ["MAX_OPTIONAL", "MAX_STRICT_TOOLS", "MAX_UNIONS", "Closed", "closed"]

MAX_OPTIONAL = 24
MAX_UNIONS = 16
MAX_STRICT_TOOLS = 20

_MAX_LEVELS = 50
_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"],
)
_SCALARS = frozenset(["string", "integer", "number", "boolean", "null"])
_SILENT = frozenset(["$schema", "$id", "$comment", "$defs", "definitions", "discriminator", "deprecated"])
_REMARKS = frozenset(
    """
    default examples example minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern
    minItems maxItems uniqueItems minProperties maxProperties format readOnly writeOnly contentEncoding contentMediaType
    """.split()  # noqa: SIM905
)
"""Said in the description: the model reads it, and the answer is checked against the whole schema when it is here."""


class _CannotBeSaid(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Closed:
    """A schema in the dialect, and what it counts against the limits of a request."""

    schema: dict[str, Any]  # Any: JSON data
    optional: int
    unions: int


def closed(schema: Mapping[str, Data]) -> Closed | None:
    """The schema in the dialect; None when it cannot be said there: free keys, recursion, anything at all."""
    try:
        plain: dict[str, Any] = _json.loads(_json.dumps(schema))  # own, and plain lists and dicts all through
        rewriter = _Rewriter(plain)
        return Closed(rewriter.root(), rewriter.optional, rewriter.unions)
    except (_CannotBeSaid, TypeError, ValueError, RecursionError):
        return None


class _Rewriter:
    """Rewrites one schema, or raises `_CannotBeSaid`."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._made: dict[str, dict[str, Any]] = {}
        self.optional = 0
        self.unions = 0

    def root(self) -> dict[str, Any]:
        made = self._node(self._schema, 1)
        if "$ref" in made:
            made = dict(self._made[made["$ref"].rpartition("/")[2]])
        return made | {"$defs": self._made} if self._made else made

    def _node(self, schema: Any, level: int) -> dict[str, Any]:  # Any: JSON data
        if not is_object(schema) or level > _MAX_LEVELS:
            raise _CannotBeSaid
        if "$ref" in schema:
            return self._reference(schema["$ref"], level)
        alone = schema.get("allOf")
        if is_list(alone) and len(alone) == 1 and is_object(alone[0]):
            return self._node({**alone[0], **{key: item for key, item in schema.items() if key != "allOf"}}, level)
        rest = {key: item for key, item in schema.items() if key not in _SILENT}
        made = self._kind(rest, level)
        for key in ("description", "title"):
            if key in rest:
                made[key] = rest.pop(key)
        if not rest.keys() <= _REMARKS:
            raise _CannotBeSaid
        if "default" in rest and rest["default"] is None:
            del rest["default"]
        if rest:
            remark = _json.dumps(rest)
            made["description"] = f"{made['description']}\n\n{remark}" if made.get("description") else remark
        return made

    def _reference(self, given: Any, level: int) -> dict[str, Any]:  # Any: JSON data
        where, _, name = str(given).rpartition("/")
        definitions = self._schema.get(where.removeprefix("#/"))
        if where not in ("#/$defs", "#/definitions") or not is_object(definitions):
            raise _CannotBeSaid  # it stands elsewhere
        if name not in self._made:
            self._made[name] = self._node(definitions.get(name), level + 1)  # too deep, when it holds itself
        return {"$ref": f"#/$defs/{name}"}  # nothing may stand beside a reference

    def _kind(self, rest: dict[str, Any], level: int) -> dict[str, Any]:
        """What decides of a value's form; takes from `rest` what it has said."""
        kind = rest.pop("type", None)
        for key in ("anyOf", "oneOf"):
            if key in rest:
                return self._union([self._node(choice, level + 1) for choice in rest.pop(key)])
        literals: dict[str, Any] = {key: rest.pop(key) for key in ("enum", "const") if key in rest}  # Any: JSON data
        if literals:
            return _literal(literals)
        if is_list(kind):
            around = {key: rest.pop(key) for key in tuple(rest) if key not in ("description", "title", "default")}
            return self._union([self._node({"type": one, **_fitting(one, around)}, level + 1) for one in kind])
        if kind == "object":
            return self._object(rest, level)
        if kind == "array":
            return self._array(rest, level)
        if kind not in _SCALARS:
            raise _CannotBeSaid  # anything at all
        made = {"type": kind}
        if kind == "string" and rest.get("format") in _FORMATS:
            made["format"] = rest.pop("format")
        return made

    def _union(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        if not choices:
            raise _CannotBeSaid
        self.unions += 1
        return {"anyOf": choices}

    def _object(self, rest: dict[str, Any], level: int) -> dict[str, Any]:
        free = rest.pop("additionalProperties", None)
        properties = rest.pop("properties", {} if free is False else None)
        required = rest.pop("required", [])
        if free not in (None, False) or not is_object(properties) or not is_list(required):
            raise _CannotBeSaid  # a mapping with free keys
        self.optional += len(properties.keys() - set(required))
        return {
            "type": "object",
            "properties": {name: self._node(item, level + 1) for name, item in properties.items()},
            "required": required,
            "additionalProperties": False,
        }

    def _array(self, rest: dict[str, Any], level: int) -> dict[str, Any]:
        made = {"type": "array", "items": self._node(rest.pop("items", None), level + 1)}
        if rest.get("minItems") in (0, 1):
            made["minItems"] = rest.pop("minItems")
        return made


def _literal(literals: dict[str, Any]) -> dict[str, Any]:
    values = [literals["const"]] if "const" in literals else literals["enum"]
    if not is_list(values) or not values or any(is_list(value) or is_object(value) for value in values):
        raise _CannotBeSaid
    return {"const": literals["const"]} if "const" in literals else {"enum": values}


def _fitting(kind: Any, around: dict[str, Any]) -> dict[str, Any]:  # Any: JSON data
    """The keywords that say something of one of several types."""
    if kind == "object":
        return {key: around[key] for key in ("properties", "required", "additionalProperties") if key in around}
    if kind == "array":
        return {key: around[key] for key in ("items", "minItems", "maxItems", "uniqueItems") if key in around}
    if kind == "string":
        return {key: around[key] for key in ("format", "pattern", "minLength", "maxLength") if key in around}
    return {key: item for key, item in around.items() if key.endswith(("inimum", "aximum")) and kind != "null"}
