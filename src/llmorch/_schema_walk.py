"""Walking JSON schemas by path, without any library: what stands where, and which field is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

__all__ = ["is_schema", "kinds_of", "missing_field", "path_text", "resolve", "schema_at"]

Schema = Mapping[str, Any]  # Any: JSON data
Path = Sequence[str | int]

_MAX_REFS: Final = 50
_BRANCHES: Final = ("anyOf", "oneOf", "allOf")
_OBJECT: Final = frozenset(("object",))
_ARRAY: Final = frozenset(("array",))
_STRING: Final = frozenset(("string",))
_WORDS: Final = {"string": "text", "boolean": "true or false", "integer": "a number", "number": "a number"}


def is_schema(value: object) -> TypeGuard[Schema]:
    """True for a mapping, which a schema is (`true` and `false` are schemas too, and say nothing here)."""
    return isinstance(value, Mapping)


def _listed(value: object) -> list[Any]:  # Any: JSON data
    """The items of a JSON list, frozen or not; none of anything else."""
    return [*value] if isinstance(value, list | tuple) else []


def schema_at(schema: Schema, path: Path) -> dict[str, Any] | None:  # Any: JSON data
    """The schema of what stands at a path, self-contained; None where the schema does not say.

    Args:
        path: Keys and indices; `*` is any item of a list.
    """
    places = _places(schema, path)
    if not places:
        return None
    found = dict(places[0]) if len(places) == 1 else {"anyOf": [dict(place) for place in places]}
    for name in ("$defs", "definitions"):
        if name in schema and name not in found:
            found[name] = schema[name]
    return found


def _places(schema: Schema, path: Path) -> list[Schema]:
    places: list[Schema] = [schema]
    for key in path:
        places = [child for place in places for one in _branches(place, schema) for child in _children(one, key)]
    return places


def missing_field(schema: Schema, path: Path, *, root: str = "") -> str | None:
    """Why nothing can stand at a path, as `'facts' has no field 'titel'; it has ...`; None if it can, or is unknown.

    Args:
        root: What the whole value is called.
    """
    for index, key in enumerate(path):
        branches = [one for place in _places(schema, path[:index]) for one in _branches(place, schema)]
        reasons = [_reason(one, key) for one in branches if one.get("type") != "null"]
        if not reasons or None in reasons:
            if any(_children(one, key) for one in branches):
                continue
            return None
        known = sorted({name for one in branches for name in one.get("properties", ())})
        subject = repr(path_text([root, *path[:index]] if root else path[:index])) if index or root else "the value"
        return f"{subject} {reasons[0]}{_names(key, known)}"
    return None


def _reason(schema: Schema, key: str | int) -> str | None:
    """Why a key cannot be in values of a schema without branches, or None when it may be."""
    kinds = kinds_of(schema) - {"null"}
    if key == "*" or not kinds:
        return None
    if kinds == _OBJECT:
        is_closed = (
            "properties" in schema and not schema.get("additionalProperties") and "patternProperties" not in schema
        )
        return f"has no field {key!r}" if is_closed and key not in schema["properties"] else None
    if kinds == _ARRAY:
        return f"is a list and has no field {key!r}; take an item or use a filter" if isinstance(key, str) else None
    if "object" in kinds or "array" in kinds:
        return None
    if kinds == _STRING and isinstance(key, int):
        return None
    words = " or ".join(sorted({_WORDS.get(kind, kind) for kind in kinds}))
    return f"is {words} and has no {'field' if isinstance(key, str) else 'item'} {key!r}"


def _names(key: str | int, known: list[str]) -> str:
    if not known:
        return ""
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
    listed = ", ".join(map(repr, known[:12])) + (" ..." if len(known) > 12 else "")
    return f"; it has {listed}" + (f"; did you mean {near[0]!r}?" if near else "")


def kinds_of(schema: Schema, root: Schema | None = None) -> frozenset[str]:
    """The JSON types a value may have; empty where the schema does not say for every branch."""
    kinds: set[str] = set()
    for branch in _branches(schema, schema if root is None else root):
        found = _own_kinds(branch)
        if not found:
            return frozenset()
        kinds |= found
    return frozenset(kinds)


def _own_kinds(schema: Schema) -> set[str]:
    given = schema.get("type")
    if isinstance(given, str):
        return {given}
    if given is not None:
        return {str(kind) for kind in _listed(given)}
    if "properties" in schema:
        return {"object"}
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return {_kind_of_value(value) for value in values}


def _kind_of_value(value: object) -> str:
    if value is None:
        return "null"
    for kinds, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (Mapping, "object")):
        if isinstance(value, kinds):
            return name
    return "array"


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema that local references (`#/$defs/Facts`) lead to, with what stands beside them; empty if nowhere."""
    for _ in range(_MAX_REFS):
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**_pointed_at(root, target), **beside}
    return {}


def _pointed_at(root: Schema, target: str) -> Schema:
    if not target.startswith("#"):
        return {}
    place: Any = root  # Any: JSON data
    for step in target[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not is_schema(place) or name not in place:
            return {}
        place = place[name]
    return place if is_schema(place) else {}


def _branches(schema: object, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """The schema's alternatives without references; `allOf` is merged into one."""
    if not is_schema(schema) or depth > _MAX_REFS:
        yield {}
        return
    resolved = resolve(schema, root)
    if resolved.get("allOf"):
        yield from _branches(_merged(resolved, root), root, depth + 1)
        return
    alternatives = resolved.get("anyOf") or resolved.get("oneOf")
    if not alternatives:
        yield resolved
        return
    for alternative in alternatives:
        yield from _branches(alternative, root, depth + 1)


def _merged(schema: Schema, root: Schema) -> Schema:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}  # Any: JSON data
    for part in schema["allOf"]:
        for key, value in resolve(part, root).items() if is_schema(part) else ():
            if key == "properties":
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "allOf":
                merged[key] = [*merged.get(key, ()), *value]
            else:
                merged.setdefault(key, value)
    return merged


def _children(schema: Schema, key: str | int) -> list[Schema]:
    """Schemas of what stands under a key; none where a schema without branches does not say."""
    found: object
    if isinstance(key, int) or key == "*":
        fixed = _listed(schema.get("prefixItems"))
        beyond = None if fixed else schema.get("items")
        found = fixed[key] if isinstance(key, int) and 0 <= key < len(fixed) else beyond
    elif is_schema(properties := schema.get("properties")) and key in properties:
        found = properties[key]
    else:
        found = schema.get("additionalProperties")
    return [found] if is_schema(found) else []


def path_text(path: Path) -> str:
    """A path as it is written in a template: `facts.claims[0]`."""
    text = ""
    for key in path:
        if isinstance(key, int) or key == "*":
            text += f"[{key}]"
        else:
            text += f".{key}" if text else key
    return text
