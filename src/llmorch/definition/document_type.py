"""Types in documents.

| form | type |
|---|---|
| `str`, `int`, `float`, `bool`, `any`, `null`, `list`, `dict` | Python's own (`any`: anything, `null`: None) |
| `{list: T}`, `{dict: T}` | list of T, dict with text keys and T values |
| `{union: [T, ...]}`, `{literal: [value, ...]}` | one of these types, one of these values |
| `{python: "module:qualname"}` | a type of a module, looked up, never imported |
| `{schema: {...}}` | whatever satisfies the JSON schema |

Other types (`Annotated`, sets, tuples), and those that hold them, are written as their JSON schema and read back as
that.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from ..models.values import Data, freeze, to_data
from ..schema import json_schema
from ..templates.bounds import is_object
from .document_read import Reader
from .names import did_you_mean

__all__ = ["address_of", "is_portable_type", "type_from", "type_to"]

_PLAIN: Final[Mapping[str, Any]] = {  # Any: types, and Any itself
    "str": str, "int": int, "float": float, "bool": bool, "any": Any, "null": type(None), "list": list, "dict": dict,
}  # fmt: skip
_NAMES: Final = {kind: name for name, kind in _PLAIN.items()}
_HOLDERS: Final = (list, dict, typing.Union, types.UnionType)
_FORMS: Final = ("list", "dict", "union", "literal", "python", "schema")


def address_of(kind: type) -> str:
    """Module and qualified name."""
    return f"{kind.__module__}:{kind.__qualname__}"


def is_portable_type(kind: Any) -> bool:  # Any: a type, a union, a JSON schema
    """Whether another process can make the type from its document form."""
    if isinstance(kind, type) and kind not in _NAMES and not _is_generic(kind):
        return "<" not in kind.__qualname__ and kind.__module__ != "__main__"
    return all(is_portable_type(part) for part in typing.get_args(kind) if isinstance(part, type) or _is_generic(part))


def _is_generic(kind: Any) -> bool:  # Any: as above
    return typing.get_origin(kind) is not None


def type_to(kind: Any) -> Data:  # Any: as above
    """The type as it stands in a document."""
    if kind is None:
        return "null"
    if isinstance(kind, Mapping):
        return {"schema": to_data(kind)}
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is None:
        if kind in _NAMES:
            return _NAMES[kind]
        if isinstance(kind, type):
            return {"python": address_of(kind)}
        return {"schema": to_data(json_schema(kind))}
    if origin in _HOLDERS:
        return _holder_to(kind, origin, args)
    if origin is typing.Literal and all(part is None or isinstance(part, str | int) for part in args):
        return {"literal": to_data(list(args))}
    return {"schema": to_data(json_schema(kind))}


def _holder_to(kind: Any, origin: Any, args: tuple[Any, ...]) -> Data:  # Any: as above
    parts = [type_to(part) for part in args]
    is_dict = origin is dict
    if any(is_object(part) and "schema" in part for part in parts) or (is_dict and args[0] is not str):
        return {"schema": to_data(json_schema(kind))}  # a schema is no part of a type
    return {"list": parts[0]} if origin is list else {"dict": parts[1]} if is_dict else {"union": parts}


def type_from(reader: Reader, given: Data, at: str) -> Any:  # Any: as above
    """The type that stands in a document; a fault gives Any."""
    if isinstance(given, str):
        return _plain(reader, given, at)
    like = reader.type_like(given)
    return _formed(reader, given, at) if like is None else like


def _formed(reader: Reader, given: Data, at: str) -> Any:  # Any: as above
    fields = reader.mapping(given, at, known=_FORMS)
    if fields is None:
        return Any
    if len(fields) != 1:
        reader.fault(at, f"a type has exactly one of {', '.join(_FORMS)}")
        return Any
    (form, inner), at = next(iter(fields.items())), f"{at}.{next(iter(fields))}"
    match form:
        case "list":
            return list[_part(reader, inner, at)]  # type: ignore[misc]  # a type made from a document
        case "dict":
            return dict[str, _part(reader, inner, at)]  # type: ignore[misc]  # as above
        case "union":
            parts = [_part(reader, part, at) for part in reader.sequence(inner, at)]
            return _union(parts) if parts else Any
        case "literal":
            return _literal(reader, inner, at)
        case "python":
            found = reader.code_at({"python": inner}, at.rpartition(".")[0])
            return Any if found is None else found
        case "schema":
            return freeze(reader.mapping(inner, at) or {})
        case _:
            return Any  # an unknown key; noted already


def _part(reader: Reader, given: Data, at: str) -> Any:  # Any: as above
    kind = type_from(reader, given, at)
    if isinstance(kind, Mapping):
        reader.fault(at, "a JSON schema stands alone; write the whole type as one, such as {schema: {type: array}}")
        return Any
    return kind


def _union(parts: list[Any]) -> Any:  # Any: as above
    whole = parts[0]
    for part in parts[1:]:
        whole = whole | part
    return whole


def _plain(reader: Reader, name: str, at: str) -> Any:  # Any: as above
    if name not in _PLAIN:
        reader.fault(at, f"unknown type {name!r}{did_you_mean(name, _PLAIN)}; others: {', '.join(_FORMS)}")
    return _PLAIN.get(name, Any)


def _literal(reader: Reader, given: Data, at: str) -> Any:  # Any: as above
    values = reader.sequence(given, at)
    if not values or not all(value is None or isinstance(value, str | int) for value in values):
        reader.fault(at, "literal takes a list of texts, whole numbers, true, false or null")
        return Any
    return typing.Literal[tuple(values)]
