"""A JSON schema in the dialect of OpenAI's structured outputs.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas (2026-02): every object closed and
all its properties required, no composition but `anyOf`, the root an object, at most 5 000 properties and 10 levels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import _json
from ..models.values import Data
from ._loose_json import is_object

__all__ = ["WRAPPED", "response_format", "strict_parameters"]

WRAPPED = "value"
"""The one property of the object that stands around a schema whose root is no object."""

_MAX_PROPERTIES = 5000
_MAX_LEVELS = 10
_KEPT = frozenset(
    """
    type description title enum const anyOf $ref pattern multipleOf minimum maximum exclusiveMinimum exclusiveMaximum
    minItems maxItems
    """.split()  # noqa: SIM905
)
_NARROWING = frozenset(
    "minLength maxLength uniqueItems default examples example deprecated readOnly $schema $id".split()  # noqa: SIM905
)
"""Left out: the answer is checked against the whole schema when it is here."""
_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])


class _CannotBeStrict(Exception):
    pass


def response_format(schema: Mapping[str, Data]) -> tuple[dict[str, Data], bool]:
    """The `response_format` of a request, and whether the answer will stand inside an object under `value`.

    `strict` is true where the schema can be said in the dialect; else the schema goes as it is, with strict false.
    """
    plain: dict[str, Any] = _json.loads(_json.dumps(schema))  # own, and plain lists and dicts all through
    wrapped = plain.get("type") != "object" and "$ref" not in plain
    if wrapped:
        plain = _inside_object(plain)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "answer"))[:64]
    try:
        sent, strict = _Strict().root(plain), True
    except _CannotBeStrict:
        sent, strict = plain, False
    return {"type": "json_schema", "json_schema": {"name": name, "schema": sent, "strict": strict}}, wrapped


def strict_parameters(schema: Mapping[str, Data]) -> dict[str, Data] | None:
    """The schema of a tool's arguments in the strict dialect; None where that would change what the tool is given.

    An argument that may be left out would have to be written, so a tool that has one is not strict.
    """
    plain: dict[str, Any] = _json.loads(_json.dumps(schema))
    try:
        return _Strict(keeps_optional=True).root(plain)
    except (_CannotBeStrict, TypeError, AttributeError, KeyError):  # a tool's schema may be anything at all
        return None


def _inside_object(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {key: item for key, item in schema.items() if key != "$defs"}
    around: dict[str, Any] = {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED]}
    if "$defs" in schema:
        around["$defs"] = schema["$defs"]
    return around | {"additionalProperties": False}


class _Strict:
    """Rewrites a schema, or raises `_CannotBeStrict`.

    Args:
        keeps_optional: Give up on a property that may be left out, instead of demanding it.
    """

    def __init__(self, *, keeps_optional: bool = False) -> None:
        self._properties = 0
        self._keeps_optional = keeps_optional

    def root(self, schema: dict[str, Any]) -> dict[str, Any]:
        definitions: dict[str, Any] = schema.get("$defs") or {}
        plain = {key: item for key, item in schema.items() if key != "$defs"}
        if "$ref" in plain:  # the root must be an object itself
            name = str(plain["$ref"]).removeprefix("#/$defs/")
            if name not in definitions:
                raise _CannotBeStrict
            plain = definitions[name]
        made = self._node(plain, 1)
        if made.get("type") != "object":
            raise _CannotBeStrict
        if definitions:
            made["$defs"] = {name: self._node(item, 1) for name, item in definitions.items()}
        return made

    def _node(self, schema: Any, level: int) -> dict[str, Any]:  # Any: JSON data
        if not is_object(schema) or not schema or level > _MAX_LEVELS:
            raise _CannotBeStrict
        if "$ref" in schema:  # nothing may stand beside a reference
            return {"$ref": schema["$ref"]}
        if len(schema.get("allOf", ())) == 1:
            rest = {key: item for key, item in schema.items() if key != "allOf"}
            return self._node({**schema["allOf"][0], **rest}, level)
        made: dict[str, Any] = {}
        for key, item in schema.items():
            self._keyword(made, key, item, level)
        if schema.get("type") == "object":
            self._object(made, schema, level)
        elif schema.get("type") == "array":
            made["items"] = self._node(schema.get("items"), level)
        elif not made.keys() & {"type", "enum", "const", "anyOf"}:
            raise _CannotBeStrict  # anything at all is not sayable
        return made

    def _keyword(self, made: dict[str, Any], key: str, item: Any, level: int) -> None:  # Any: JSON data
        if key in ("anyOf", "oneOf"):
            made["anyOf"] = [self._node(choice, level) for choice in item]
        elif key == "format":
            if item in _FORMATS:
                made[key] = item
        elif key in _KEPT:
            made[key] = item
        elif key not in _NARROWING and key not in _OF_CONTAINERS:
            raise _CannotBeStrict

    def _object(self, made: dict[str, Any], schema: dict[str, Any], level: int) -> None:
        if schema.get("additionalProperties") or "properties" not in schema:
            raise _CannotBeStrict  # a mapping with free keys
        properties = schema["properties"]
        if self._keeps_optional and not set(properties) <= set(schema.get("required") or ()):
            raise _CannotBeStrict
        self._properties += len(properties)
        if self._properties > _MAX_PROPERTIES:
            raise _CannotBeStrict
        made["properties"] = {name: self._node(item, level + 1) for name, item in properties.items()}
        made["required"] = list(properties)
        made["additionalProperties"] = False


_OF_CONTAINERS = frozenset(("properties", "required", "additionalProperties", "items", "discriminator"))
