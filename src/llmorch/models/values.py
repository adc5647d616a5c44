"""The data rule: what may be recorded, and how anything becomes it.

Data is None, bool, int, float (finite), str (no lone surrogate), list and dict with str keys: what JSON can hold.
Everything a step returns is turned into data before it is recorded, so a live run and a resumed one see the same.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeVar, cast

from ..errors import ValueRefused

__all__ = ["Data", "FrozenDict", "copy_data", "freeze", "freeze_mappings", "to_data"]

Data = Any  # JSON data; a recursive alias slows every checker down and narrows nothing that callers may rely on

K = TypeVar("K")
V = TypeVar("V")

_MAX_DEPTH = 100
_AnyMapping = Mapping[Any, Any]


class FrozenDict(dict[K, V]):
    """A dict that refuses change and can be hashed, so that the values that hold it can be."""

    def __hash__(self) -> int:  # type: ignore[override]  # dict says None; this one never changes
        return hash(frozenset((key, _hashable(value)) for key, value in self.items()))

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping is frozen; make a changed copy with .using()")

    # Every way to change a dict, one refusal. Any: the overloads of dict cannot be repeated by one method.
    __setitem__: Any = _refuse
    __delitem__: Any = _refuse
    __ior__: Any = _refuse
    clear: Any = _refuse
    pop: Any = _refuse
    popitem: Any = _refuse
    setdefault: Any = _refuse
    update: Any = _refuse

    def __copy__(self) -> FrozenDict[K, V]:
        return self

    def __deepcopy__(self, memo: object) -> FrozenDict[K, V]:
        return self

    def __reduce__(self) -> tuple[type[FrozenDict[K, V]], tuple[dict[K, V]]]:
        return (type(self), (dict(self),))


def _hashable(value: object) -> object:
    return tuple(_hashable(item) for item in cast("list[object]", value)) if isinstance(value, list) else value


def _frozen(mapping: dict[Any, Any]) -> FrozenDict[Any, Any]:
    return FrozenDict(mapping)


def freeze_mappings(value: Any) -> Any:  # Any: data in, data out
    """The value with every mapping frozen, at any depth; lists stay lists."""
    if isinstance(value, Mapping):
        return _frozen({key: freeze_mappings(item) for key, item in cast("_AnyMapping", value).items()})
    if isinstance(value, list):
        return [freeze_mappings(item) for item in cast("list[Any]", value)]
    return value


def freeze(value: Any) -> Any:  # Any: data in, data out
    """The value with every mapping frozen and every list a tuple, at any depth."""
    if isinstance(value, Mapping):
        return _frozen({key: freeze(item) for key, item in cast("_AnyMapping", value).items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in cast("list[Any]", value))
    return value


def to_data(value: Any, *, where: str = "value", step: str | None = None) -> Data:
    """The value as data, sharing no mutable part with it.

    pydantic models, dataclasses, dates, UUIDs, Decimals, enums and sets take the form pydantic dumps them in (JSON
    mode); tuples become lists; keys become str; ints keep any size.

    Args:
        where: Names the thing in the error, such as `input 'text'`.
        step: Names the step in the error instead (one argument less to build on the hot path).

    Raises:
        ValueRefused: NaN or infinity, bytes, a lone surrogate, nesting over 100 levels, or a type that is not data.
    """
    kind: object = value.__class__
    if kind is str:
        return (
            value if value.isascii() or not _has_surrogate(value) else _refuse(where, "", "text with a lone surrogate")
        )
    if value is None or kind is bool or kind is int:
        return value
    return _convert(value, where, "", 0)


def _convert(value: Any, where: str, path: str, depth: int) -> Data:
    if depth > _MAX_DEPTH:
        _refuse(where, path, f"nesting over {_MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = str.__str__(value) if type(value) is str else _plain_text(value)
        return (
            text if text.isascii() or not _has_surrogate(text) else _refuse(where, path, "text with a lone surrogate")
        )
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _refuse(where, path, str(value))
    if isinstance(value, list | tuple):
        return [
            _convert(item, where, f"{path}[{index}]", depth + 1) for index, item in enumerate(cast("list[Any]", value))
        ]
    if isinstance(value, Mapping):
        return _convert_mapping(cast("_AnyMapping", value), where, path, depth)
    return _convert(_dumped(value, where, path), where, path, depth + 1)


def _plain_text(value: str) -> str:
    member = getattr(value, "value", value)  # a str enum dumps as its value
    return str.__str__(member) if isinstance(member, str) else str.__str__(value)


def _convert_mapping(value: Mapping[Any, Any], where: str, path: str, depth: int) -> dict[str, Data]:
    converted: dict[str, Data] = {}
    for key, item in value.items():
        name = _key(key, where, path)
        if name in converted:
            _refuse(where, path, f"two keys that are both {name!r} as text")
        converted[name] = _convert(item, where, f"{path}.{name}", depth + 1)
    return converted


def _key(key: object, where: str, path: str) -> str:
    if key is None:
        return "None"  # as pydantic writes it
    converted = _convert(key, where, path, 0)
    if isinstance(converted, list | dict):
        _refuse(where, path, f"a key of type {type(key).__name__}")
    return str(converted).lower() if isinstance(converted, bool) else str(converted)


def _dumped(value: Any, where: str, path: str) -> Data:
    if isinstance(value, bytes | bytearray | memoryview):
        _refuse(where, path, "bytes (decode or base64 them first)")
    if isinstance(value, complex | re.Pattern | Iterator) or (isinstance(value, Decimal) and not value.is_finite()):
        _refuse(where, path, _named(cast("object", value)))
    if isinstance(value, set | frozenset):
        return sorted(cast("set[Any]", value), key=repr)  # one order in every process
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    from pydantic import BaseModel
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        if isinstance(value, BaseModel):
            plain = value.model_dump(mode="python")
            dumped = value.model_dump(mode="json")
            _refuse_hidden(plain, where, path)
            return dumped
        return to_jsonable_python(value)
    except PydanticSerializationError:
        _refuse(where, path, f"a {type(value).__module__}.{type(value).__qualname__}")
    except UnicodeError:
        _refuse(where, path, "text that is no valid Unicode")


def _named(value: object) -> str:
    return repr(value) if isinstance(value, Decimal | complex) else f"a {type(value).__name__}"


def _refuse_hidden(plain: Any, where: str, path: str) -> None:
    """pydantic's JSON mode turns NaN into null and bytes into text; both would be lost silently."""
    if isinstance(plain, float) and not math.isfinite(plain):
        _refuse(where, path, str(plain))
    if isinstance(plain, bytes | bytearray):
        _refuse(where, path, "bytes (decode or base64 them first)")
    if isinstance(plain, Mapping):
        for key, item in cast("_AnyMapping", plain).items():
            _refuse_hidden(item, where, f"{path}.{key}")
    elif isinstance(plain, list | tuple | set | frozenset):
        for index, item in enumerate(cast("list[Any]", plain)):
            _refuse_hidden(item, where, f"{path}[{index}]")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _refuse(where: str, path: str, what: str) -> NoReturn:
    spot = f" at {path.lstrip('.')!r}" if path else ""
    raise ValueRefused(
        f"{where} holds {what}{spot}, which cannot be recorded as JSON data; "
        "use str, int, finite float, bool, None, list, dict, or a pydantic model of these"
    )


def copy_data(value: Data) -> Data:
    """The same data in fresh containers: every reader gets its own."""
    kind: object = value.__class__
    if kind is list:
        return [item if item.__class__ is str else copy_data(item) for item in value]  # lists of text are the long ones
    if kind is dict:
        return {key: copy_data(item) for key, item in value.items()}
    return value
