"""JSON schemas as Gemini takes them.

Source: https://ai.google.dev/api/generate-content#GenerationConfig (`responseJsonSchema`: the keywords it knows, and
nothing beside a `$ref`) and https://ai.google.dev/api/caching#FunctionDeclaration (`parametersJsonSchema`: any schema
of an object), 2026-10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _json
from .._schema_walk import resolve
from ..models.values import Data
from ._loose_json import is_list, is_object

__all__ = ["answer_schema", "tool_parameters"]

_SAID = frozenset(
    """
    type title description enum minItems maxItems minimum maximum required propertyOrdering $anchor $id
    """.split()  # noqa: SIM905
)
"""What an answer's schema may say besides what holds other schemas; the answer is checked against all of it here."""
_FORMATS = frozenset(("date-time", "date", "time", "int32", "int64", "float", "double"))
_OF_ONE = ("items", "additionalProperties")
_OF_LIST = ("anyOf", "oneOf", "prefixItems")
_OF_MAP = ("properties", "$defs")
_DEFINITIONS = "#/$defs/"


def answer_schema(schema: Mapping[str, Data]) -> dict[str, Data]:
    """The schema for `responseJsonSchema`; empty when nothing of it can be said."""
    return _Writer(_plain(schema), is_answer=True).root()


def tool_parameters(schema: Mapping[str, Data]) -> dict[str, Data] | None:
    """The schema for `parametersJsonSchema`; None for a function without parameters."""
    plain = _plain(schema)
    if not plain.get("properties") and not plain.get("additionalProperties") and "$ref" not in plain:
        return None
    return _Writer(plain, is_answer=False).root()


def _plain(schema: Mapping[str, Data]) -> dict[str, Any]:
    """An own copy of plain dicts and lists, its definitions under `$defs`."""
    text = _json.dumps(schema).replace('"$ref":"#/definitions/', f'"$ref":"{_DEFINITIONS}')
    plain: dict[str, Any] = _json.loads(text)
    plain.pop("$schema", None)
    old = plain.pop("definitions", None)
    if is_object(old):
        plain["$defs"] = {**old, **plain.get("$defs", {})}
    return plain


class _Writer:
    """Rewrites one schema."""

    def __init__(self, root: dict[str, Any], *, is_answer: bool) -> None:
        self._root = root
        self._is_answer = is_answer

    def root(self) -> dict[str, Any]:
        made: dict[str, Any] = self._node(self._root)
        return made if made.keys() - {"$defs"} else {}

    def _node(self, schema: Any) -> Any:  # Any: JSON data
        if not is_object(schema):
            return schema
        schema = self._merged(self._referred(schema))
        if set(schema) == {"$ref"}:
            return schema
        made: dict[str, Any] = {}
        for key, item in schema.items():
            if key in _OF_ONE:
                made[key] = self._node(item)
            elif key in _OF_LIST and is_list(item):
                made[key] = [self._node(choice) for choice in item]
            elif key in _OF_MAP and is_object(item):
                made[key] = {name: self._node(inner) for name, inner in item.items()}
            elif not self._is_answer or key in _SAID or (key == "format" and str(item) in _FORMATS):
                made[key] = item
        if self._is_answer:
            _say_values(made, schema)
        return made

    def _referred(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A reference alone stays, when it leads to a definition; what stands beside one is put into a copy."""
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        beside = {key: item for key, item in schema.items() if key not in ("$ref", "$defs")}
        is_named = target == "#" or target.startswith(_DEFINITIONS)
        if is_named and not beside and schema is not self._root:
            return {"$ref": target}
        found = resolve({**beside, "$ref": target}, self._root)
        copied: dict[str, Any] = {key: item for key, item in found.items() if key != "$defs"}
        if schema is self._root and "$defs" in schema:
            copied["$defs"] = schema["$defs"]
        return copied

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        """`allOf` as one schema, which answers cannot say otherwise."""
        parts = schema.get("allOf")
        if not self._is_answer or not is_list(parts):
            return schema
        made = {key: item for key, item in schema.items() if key != "allOf"}
        for part in parts:
            found: Mapping[str, Any] = resolve(part, self._root) if is_object(part) else {}
            for key, item in found.items():
                if key == "properties" and is_object(item):
                    made[key] = {**item, **made.get(key, {})}
                elif key == "required" and is_list(item):
                    made[key] = list(dict.fromkeys([*made.get(key, ()), *item]))
                elif key != "$defs":
                    made.setdefault(key, item)
        return made


def _say_values(made: dict[str, Any], schema: dict[str, Any]) -> None:
    """The values of `enum` or `const`, as far as they are text or numbers; others by their type, for want of better."""
    given = [schema["const"]] if "const" in schema else made.pop("enum", None)
    if not is_list(given):
        return
    sayable = [value for value in given if isinstance(value, str | int | float) and not isinstance(value, bool)]
    kinds = dict.fromkeys(
        "null" if value is None else "boolean" for value in given if value is None or isinstance(value, bool)
    )
    if len(sayable) == len(given):
        made["enum"] = sayable
    elif sayable and kinds and "anyOf" not in made:
        made.pop("type", None)
        made["anyOf"] = [{"enum": sayable}, *({"type": kind} for kind in kinds)]
    elif len(kinds) == 1:
        made.setdefault("type", next(iter(kinds)))
