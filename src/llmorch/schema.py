"""Types as JSON schemas, and data as values of types; pydantic and jsonschema are loaded when first needed.

A type is anything pydantic takes (a model, a dataclass, `list[str]`, a Literal, a union ...) or a JSON schema written
as a mapping.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from ._schema_typed_dict import modern
from ._schema_walk import is_schema, missing_field, resolve, schema_at

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "adapter",
    "check_type",
    "data_schema",
    "describe",
    "json_schema",
    "missing_field",
    "schema_at",
    "validate",
    "wrapped",
]

T = TypeVar("T")

_CACHED: Final = 512
_MAX_SHOWN: Final = 10
Mode = Literal["validation", "serialization"]


def check_type(tp: T) -> T:
    """The same type, when values can be checked against it.

    Raises:
        TypeError: pydantic cannot; with what to use instead.
    """
    form: Any = tp  # Any: a type form
    if form is not str and not is_schema(form):
        adapter(form)
    return tp


def adapter(tp: Any) -> TypeAdapter[Any]:  # Any: a type form, which has no type of its own
    """pydantic's adapter for a type, made once.

    Raises:
        TypeError: There is none.
    """
    try:
        return _adapter(tp, _order(tp))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _build(tp)  # a type whose metadata cannot be hashed, such as Annotated with a list


def _order(tp: Any) -> str:  # Any: a type form
    """Tells `int | str` from `str | int`, which are equal but have different schemas."""
    return "" if isinstance(tp, type) and not isinstance(tp, types.GenericAlias) else repr(tp)


@lru_cache(maxsize=_CACHED)
def _adapter(tp: Any, order: str) -> TypeAdapter[Any]:  # Any: a type form
    return _build(tp)


def _build(tp: Any) -> TypeAdapter[Any]:  # Any: a type form
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        if isinstance(tp, str | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
            raise TypeError("a name or a function is no type")  # pydantic would take both, for other uses
        return TypeAdapter(modern(tp))
    except (PydanticUserError, TypeError, NameError, AttributeError) as error:
        # unknown forms raise pydantic's own error, half-defined ones what Python raises on the way
        reason = str(error).partition("\n")[0]
        raise TypeError(
            f"{describe(tp)} cannot be used as a type of data ({reason}); use a pydantic model, a dataclass, "
            "TypedDict, Literal, str, int, float, bool, list[...], dict[str, ...], a union of these or a JSON schema"
        ) from error


def json_schema(tp: Any) -> dict[str, Any]:  # Any: a type form; JSON data
    """The JSON schema an answer of this type must satisfy; a schema is given back as plain data.

    Raises:
        TypeError: The type has none.
    """
    return _thawed(tp) if is_schema(tp) else _schema_of(tp, "validation")


def data_schema(tp: Any) -> dict[str, Any]:  # Any: a type form; JSON data
    """The JSON schema of the data a value of this type is recorded as: field names instead of aliases.

    Raises:
        TypeError: The type has none.
    """
    return _thawed(tp) if is_schema(tp) else _schema_of(tp, "serialization")


def _schema_of(tp: Any, mode: Mode) -> dict[str, Any]:  # Any: a type form; JSON data
    try:
        schema = _cached_schema(tp, _order(tp), mode)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        schema = _make_schema(tp, mode)
    return dict(_thawed(schema))


@lru_cache(maxsize=_CACHED)
def _cached_schema(tp: Any, order: str, mode: Mode) -> dict[str, Any]:  # Any: a type form; JSON data
    return _make_schema(tp, mode)


def _make_schema(tp: Any, mode: Mode) -> dict[str, Any]:  # Any: a type form; JSON data
    from pydantic.errors import PydanticUserError

    try:
        return adapter(tp).json_schema(mode=mode, by_alias=mode == "validation")
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise TypeError(f"{describe(tp)} has no JSON schema ({reason}); use types that JSON can hold") from error


def _thawed(value: Any) -> Any:  # Any: JSON data
    """A fresh copy in plain dicts and lists."""
    if is_schema(value):
        return {key: _thawed(item) for key, item in value.items()}
    return [_thawed(item) for item in _listed(value)] if isinstance(value, list | tuple) else value


def _listed(value: Any) -> list[Any]:  # Any: JSON data
    return list(value)


def validate(tp: Any, data: Any) -> Any:  # Any: a type form; JSON data; a value of the type
    """The data as a value of the type, read as pydantic reads JSON in lax mode; a JSON schema gives the data itself.

    Raises:
        ValueError: The data does not fit, as `claims: Field required; title: Input should be a valid string`.
        TypeError: The type is no type, or the schema no schema.
    """
    if tp is Any or (tp is str and type(data) is str):
        return data
    if is_schema(tp):
        return _validate_by_schema(tp, data)
    from pydantic import ValidationError

    reader = adapter(tp)
    try:
        return reader.validate_python(data, by_alias=True, by_name=True)  # recorded data has names, answers aliases
    except ValidationError as error:
        found = error
    try:
        return _validate_as_json(reader, data)
    except ValidationError as error:
        found = error
    except (TypeError, RecursionError):  # it is no JSON, so the first look says what is wrong
        pass
    details = found.errors(include_url=False, include_context=False, include_input=False)
    raise ValueError(_faults_text([(detail["loc"], detail["msg"]) for detail in details]))


def _validate_as_json(reader: TypeAdapter[Any], data: Any) -> Any:  # Any: as above
    """The slower second look: a strict model takes a date or a tuple from JSON only."""
    from . import _json

    return reader.validate_json(_json.dumps(data), by_alias=True, by_name=True)


def _validate_by_schema(schema: Mapping[str, Any], data: Any) -> Any:  # Any: JSON data
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    plain = _thawed(schema)
    kind = validator_for(plain, default=Draft202012Validator)
    try:
        kind.check_schema(plain)
        # an explicit registry: the default one would fetch references from the network
        checker = kind(plain, registry=EMPTY_REGISTRY)
        errors = sorted(checker.iter_errors(data), key=lambda error: list(map(str, error.path)))
    except SchemaError as error:
        place = _path_text(tuple(error.path)) or "the schema"
        raise TypeError(f"this is no valid JSON schema: {place}: {error.message}; correct it") from error
    except Unresolvable as error:
        raise TypeError(f"the JSON schema refers to {error.ref!r} and does not hold it; put it under $defs") from error
    if errors:
        raise ValueError(_faults_text([(tuple(error.absolute_path), _shortened(error.message)) for error in errors]))
    return data


def _shortened(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:200]} ... {message[-80:]}"


def _faults_text(found: Iterable[tuple[Sequence[str | int], str]]) -> str:
    texts = [f"{_path_text(path)}: {message}" if path else message for path, message in found]
    more = f"; and {len(texts) - _MAX_SHOWN} more" if len(texts) > _MAX_SHOWN else ""
    return "; ".join(texts[:_MAX_SHOWN]) + more


def _path_text(path: Sequence[str | int]) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def wrapped(tp: Any) -> tuple[dict[str, Any], bool]:  # Any: a type form; JSON data
    """The object schema to send to a provider, and whether the value stands in its field `value`.

    Providers take objects only, so a list, a text or a union is asked for as `{"value": ...}`.

    Raises:
        TypeError: The type has no schema.
    """
    schema = json_schema(tp)
    if "$ref" in schema:  # a recursive model; providers want the object itself at the top
        schema = {**_thawed(resolve(schema, schema)), **{key: item for key, item in schema.items() if key != "$ref"}}
    if schema.get("type") == "object":
        return schema, False
    kept = {name: schema.pop(name) for name in ("$schema", "$defs", "definitions") if name in schema}
    inner = _moved({"value": schema, **{name: item for name, item in kept.items() if name != "$schema"}})
    value = inner.pop("value")
    if "$schema" in kept:
        inner["$schema"] = kept["$schema"]
    made = {"type": "object", "properties": {"value": value}, "required": ["value"], "additionalProperties": False}
    return {**made, **inner}, True


def _moved(value: Any) -> Any:  # Any: JSON data
    """References that meant the old root (`#`, `#/properties/x`) lead to its new place."""
    if isinstance(value, list):
        return list(map(_moved, _listed(value)))
    if not is_schema(value):
        return value
    moved = {key: _moved(item) for key, item in value.items()}
    target = moved.get("$ref")
    if isinstance(target, str) and target.startswith("#") and not target.startswith(("#/$defs/", "#/definitions/")):
        moved["$ref"] = "#/properties/value" + target[1:]
    return moved


def describe(tp: Any) -> str:  # Any: a type form
    """A short name for people: `str`, `list[str]`, `Facts`."""
    if is_schema(tp):
        title = tp.get("title")
        return title if isinstance(title, str) else f"a JSON schema of type {tp.get('type', 'any')}"
    if tp is None or tp is type(None):
        return "None"
    if tp is Any:
        return "Any"
    origin, args = typing.get_origin(tp), typing.get_args(tp)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(describe, args))
    if origin is not None:
        inner = ", ".join("..." if arg is ... else "[...]" if isinstance(arg, list) else describe(arg) for arg in args)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return str(getattr(tp, "__name__", tp))
