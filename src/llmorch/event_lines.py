"""Events as lines of JSON, for files and pipes, and the way back."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, cast, get_args, get_origin

from . import events
from ._json import quoted
from .events import Answer, Event
from .models.failure import Failure
from .models.message import ToolCall
from .models.usage import Usage

__all__ = ["from_line", "own_fields", "to_line"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HEAD = ("run_id", "at_us", "seq")
_LIVE_ONLY = frozenset({"exception"})
_EVENTS: dict[str, type[Event]] = {
    name: kind
    for name, kind in vars(events).items()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}


def to_line(event: Event) -> str:
    """The event as one JSON object on one line, without a line break at its end.

    It holds `event` (the class name), `run_id`, `seq`, `at` (ISO 8601, UTC), then the event's own fields. Amounts of
    money are text, so that no digit is lost. What only the live process has, such as an exception's traceback, is
    left out.

    Raises:
        ValueError: A value of the event is no JSON data.

    Example:
        >>> to_line(StepStarted("draft", run_id="r1", at_us=1_500_000, seq=2))
        '{"event":"StepStarted","run_id":"r1","seq":2,"at":"1970-01-01T00:00:01.500000Z","step":"draft","fingerprint":null}'
    """
    moment = event.at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = f'"event":"{type(event).__name__}","run_id":{_json_of(event.run_id)},"seq":{_json_of(event.seq)}'
    own = own_fields(event)
    return f'{{{head},"at":"{moment}"{"}" if own == "{}" else "," + own[1:]}'


def own_fields(event: Event) -> str:
    """What the line holds behind its head (kind, run, seq, time), as a JSON object in ASCII.

    Raises:
        ValueError: A value of the event is no JSON data.

    Example:
        >>> own_fields(StepStarted("draft", run_id="r1", seq=2))
        '{"step":"draft","fingerprint":null}'
    """
    try:
        return _record_of(event)
    except TypeError as error:
        raise ValueError(f"this {type(event).__name__} cannot be written as JSON: {error}") from error


def from_line(text: str) -> Event:
    """The event that `to_line` wrote, equal to the original.

    Raises:
        ValueError: The line is no JSON object, names no known event, or has a field that is missing, unknown or of
            the wrong type; the text says which.

    Example:
        >>> from_line(to_line(StepStarted("draft", run_id="r1", seq=2))).step
        'draft'
    """
    line = _parsed(text)
    name = line.pop("event", None)
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"there is no event {name!r}; known are {', '.join(sorted(_EVENTS))}")
    if "at" not in line or "at_us" in line:
        raise ValueError(f"{kind.__name__} has no field 'at', which says when the event happened, or also 'at_us'")
    line["at_us"] = _moment(line.pop("at"), f"{kind.__name__}.at")
    return cast("Event", _record(kind, line, kind.__name__))


_SHAPES: dict[type[Any], dict[str, tuple[Any, bool]]] = {}  # record -> its fields, as `_shape` finds them


# Writing


class _Form:
    """The JSON object of a class with gaps for its values: names and order are worked out once."""

    __slots__ = ("gaps", "names", "values")

    def __init__(self, kind: type[Any]) -> None:  # Any: one of several dataclasses
        self.names = [field.name for field in fields(kind) if field.name not in _HEAD and _is_kept(field)]
        self.gaps = "{" + ",".join(f'"{name}":%s' for name in self.names) + "}"
        self.values = _taker(self.names)


def _taker(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:  # Any: a record; its values
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)  # attrgetter gives a single value bare


_FORMS: dict[type[Any], _Form] = {}  # record -> its form


def _form(kind: type[Any]) -> _Form:  # Any: as above
    return _FORMS.get(kind) or _FORMS.setdefault(kind, _Form(kind))


def _record_of(record: Any) -> str:  # Any: one of several dataclasses
    form = _FORMS.get(record.__class__) or _form(record.__class__)
    return form.gaps % tuple([_WRITERS.get(value.__class__, _any_of)(value) for value in form.values(record)])


def _json_of(value: Any) -> str:  # Any: a field of an event
    return _WRITERS.get(value.__class__, _any_of)(value)


def _items_of(items: tuple[Any, ...]) -> str:  # Any: as above
    return f"[{','.join(map(_json_of, items))}]"


def _plain(value: Any) -> Any:  # Any: what JSON does not have, as what it has
    match value:
        case Decimal():
            return str(value)
        case Failure() | Usage() | Answer() | ToolCall():
            form = _form(value.__class__)
            return dict(zip(form.names, form.values(value), strict=True))
        case Mapping():
            return dict(cast("Mapping[str, Any]", value))
        case _:
            raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_any_of = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_plain).encode

# Most fields are one of these and need no encoder made for them; `_any_of` writes the same, and all the rest.
_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    str: quoted,
    int: int.__repr__,
    bool: {True: "true", False: "false"}.__getitem__,
    NoneType: {None: "null"}.__getitem__,
    Decimal: lambda amount: f'"{amount}"',
    tuple: _items_of,
    Usage: _record_of,
    Failure: _record_of,
    Answer: _record_of,
    ToolCall: _record_of,
}


# Reading


def _parsed(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("the line is nested too deeply for an event") from error
    except ValueError as error:
        raise ValueError(f"the line is no JSON: {error}") from error
    if not isinstance(line, dict):
        raise ValueError(f"the line is a JSON {_json_name(line)}; an event is an object")
    return cast("dict[str, Any]", line)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which JSON does not have")


def _record(kind: type[Any], given: object, where: str) -> Any:  # Any: an instance of `kind`
    values = _object(given, where)
    shape = _SHAPES.get(kind) or _SHAPES.setdefault(kind, _shape(kind))
    unknown = next((name for name in values if name not in shape), None)
    if unknown is not None:
        raise ValueError(f"{where} has an unknown field {unknown!r}; it has {', '.join(shape)}")
    made: dict[str, Any] = {}
    for name, (hint, is_required) in shape.items():
        if name in values:
            made[name] = _value(hint, values[name], f"{where}.{name}")
        elif is_required:
            raise ValueError(f"{where} has no field {name!r}")
    return kind(**made)


def _shape(kind: type[Any]) -> dict[str, tuple[Any, bool]]:  # Any: a type form
    """Field -> its type, and whether it must be given."""
    if kind is ToolCall:
        return dict.fromkeys(("id", "name", "arguments"), (str, True))
    hints = typing.get_type_hints(kind)
    return {field.name: (hints[field.name], _is_required(field)) for field in fields(kind) if _is_kept(field)}


def _is_kept(field: Field[Any]) -> bool:
    return field.name not in _LIVE_ONLY


def _is_required(field: Field[Any]) -> bool:
    return field.name in _HEAD or (field.default is MISSING and field.default_factory is MISSING)


def _value(hint: Any, given: Any, where: str) -> Any:  # Any: a type form; a value of that type
    reader = _READERS.get(hint)
    if reader is not None:
        return reader(given, where)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if given is None else _one_of(inner, given, where)
    if origin is Literal:
        return given if given in inner else _refuse(where, " or ".join(map(repr, inner)), given)
    if origin is tuple:
        return tuple(_value(inner[0], item, f"{where}[{at}]") for at, item in enumerate(_list(given, where)))
    if origin in (dict, Mapping):
        return {key: _value(inner[1], item, f"{where}.{key}") for key, item in _object(given, where).items()}
    return _record(hint, given, where)


def _one_of(kinds: tuple[Any, ...], given: Any, where: str) -> Any:  # Any: type forms; a value of one of them
    """Unions of these records hold one type beside None, or plain types that exclude each other."""
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return _value(kinds[0], given, where)
    if type(given) in kinds:
        return given
    return _refuse(where, " or ".join(kind.__name__ for kind in kinds), given)


def _object(given: object, where: str) -> dict[str, Any]:
    return cast("dict[str, Any]", given) if isinstance(given, dict) else _refuse(where, "an object", given)


def _list(given: object, where: str) -> list[object]:
    return cast("list[object]", given) if isinstance(given, list) else _refuse(where, "a list", given)


def _as_is(given: Any, where: str) -> Any:  # Any: JSON data of any shape
    return given


def _text(given: object, where: str) -> str:
    return given if isinstance(given, str) else _refuse(where, "text", given)


def _flag(given: object, where: str) -> bool:
    return given if isinstance(given, bool) else _refuse(where, "true or false", given)


def _whole(given: object, where: str) -> int:
    return given if isinstance(given, int) and not isinstance(given, bool) else _refuse(where, "a whole number", given)


def _number(given: object, where: str) -> float:
    return (
        given if isinstance(given, int | float) and not isinstance(given, bool) else _refuse(where, "a number", given)
    )


def _money(given: object, where: str) -> Decimal:
    try:
        amount = Decimal(given) if isinstance(given, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        _refuse(where, 'an amount as text, such as "0.0012"', given)
    return amount


_READERS: dict[Any, Callable[[Any, str], Any]] = {
    Any: _as_is,
    str: _text,
    bool: _flag,
    int: _whole,
    float: _number,
    Decimal: _money,
}


def _moment(given: object, where: str) -> int:
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        _refuse(where, "a moment in ISO 8601 with its offset, such as 2026-01-31T12:00:00.000000Z", given)
    return (moment - _EPOCH) // _MICROSECOND


def _refuse(where: str, wanted: str, given: object) -> NoReturn:
    shown = repr(given)
    raise ValueError(f"{where} must be {wanted}, not {shown if len(shown) <= 60 else shown[:57] + '...'}")


def _json_name(value: object) -> str:
    return {"NoneType": "null", "list": "array", "str": "text", "bool": "boolean"}.get(type(value).__name__, "number")
