"""Values as templates see them: their text, their kind in words, and looking into them by key, never by attribute."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard, cast

from jinja2 import StrictUndefined, Undefined, UndefinedError
from jinja2.runtime import LoopContext
from jinja2.utils import missing
from typing_extensions import override

from ..errors import TemplateError
from .bounds import MAX_BITS, MAX_ITEMS, Data, Work, check_size, is_list, is_object

__all__ = [
    "Group",
    "Missing",
    "MissingKey",
    "UnknownName",
    "as_items",
    "as_text",
    "did_you_mean",
    "is_number",
    "json_text",
    "kind_of",
    "look_up",
    "look_up_path",
    "loop_field",
    "not_given",
    "quoted",
    "require_given",
    "whole_number",
]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class UnknownName(UndefinedError):
    """A root name nothing was given for; the message is the bare name."""


class MissingKey(UndefinedError):
    """A key or index that is not there; the message is a whole sentence."""


class Missing(StrictUndefined):
    """What is not there: any use but `is defined` and `default` raises.

    The sentence is made when it is raised: a name that is only tested costs nothing.
    """

    __slots__ = ()

    @override
    def __init__(
        self,
        hint: str | None = None,
        obj: Data = missing,
        name: Data = None,
        exc: type[UndefinedError] = UndefinedError,
    ) -> None:
        unknown = exc is UndefinedError and obj is missing and name is not None
        super().__init__(hint, obj, name, UnknownName if unknown else exc)

    @property
    def _undefined_message(self) -> str:
        if self._undefined_obj is missing:
            return self._undefined_hint or self._undefined_name or ""
        return _not_found(self._undefined_hint or "the value", self._undefined_obj, self._undefined_name)


class Group(list[Data]):
    """One group of `groupby`: unpacks as (grouper, list), and has both as fields."""


def require_given(value: Data) -> None:
    """Raise when the value is an undefined one."""
    if isinstance(value, Undefined):
        str(value)


def kind_of(value: Data) -> str:
    """The kind of a value in words: `text`, `a list` ..."""
    if value is None:
        return "null"
    for types, words in _KINDS:
        if isinstance(value, types):
            return words
    return f"a {type(value).__name__}, which is no data"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    (bool, "true or false"),
    ((int, float), "a number"),
    ((list, tuple), "a list"),
    (dict, "an object"),
)


def is_number(value: Data) -> TypeGuard[int | float]:
    """True for int and float, which bool is not here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole_number(value: Data, *, what: str, low: int = 0, high: int = 1_000_000) -> int:
    """The value as an int within its bounds, or a TemplateError that names it."""
    require_given(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TemplateError(f"{what} must be a whole number from {low} to {high}, not {_shown(value)}")
    return int(value)


def _shown(value: Data) -> str:
    return repr(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1e18) else kind_of(value)


def quoted(names: Iterable[object]) -> str:
    """Up to a dozen names in quotes, separated by commas."""
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """`; did you mean 'title'?`, or nothing when no known name is near."""
    near = difflib.get_close_matches(name, [str(one) for one in known][:1000], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def not_given(name: str, values: Mapping[str, Data]) -> str:
    """The sentence for a name nothing was given for."""
    given = f"given are {quoted(sorted(values))}" if values else "nothing is given"
    return f"{name!r} is not given; {given}{did_you_mean(name, values)}"


def json_text(work: Work, value: Data, *, encode: Any = _encode) -> str:  # Any: an encoder's bound method
    """The value as JSON, charged for; see `as_text` for what encodes it."""
    check_size(work.weigh(value))  # before encoding: JSON is never shorter than the texts in it
    try:
        text: str = encode(value)
    except TypeError as error:
        raise TemplateError(f"{kind_of(value)} holds something that is no data; give templates plain data") from error
    except ValueError as error:
        raise TemplateError(f"{kind_of(value)} cannot be written as JSON ({error})") from error
    check_size(len(text))
    work.spend(40 + (len(text) >> 4))
    return text


def as_text(work: Work, value: Data) -> str:
    """How a value renders: text as itself, everything else as JSON."""
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    if type(value) is int and value.bit_length() <= MAX_BITS:
        return str(value)
    require_given(value)
    return json_text(work, value)


def as_items(value: Data, *, what: str, text: bool = False) -> list[Data]:
    """The items of a list, the keys of an object, and with `text` the characters of a text.

    Args:
        what: The filter or tag, in words, for the error.
    """
    require_given(value)
    if is_list(value):
        return value
    if text and isinstance(value, str):
        if len(value) > MAX_ITEMS:
            raise TemplateError(f"{what} takes texts of at most {MAX_ITEMS} characters apart; truncate it first")
        return list(value)
    if is_object(value):
        return list(value)
    remedy = "; put it in a list: [x]" if isinstance(value, str) else ""
    raise TemplateError(f"{what} takes a list, not {kind_of(value)}{remedy}")


def look_up(value: Data, key: Data, *, path: str = "") -> Data:
    """What stands under a key or index; never an attribute.

    Args:
        path: What the value is called in the template, for the error.
    """
    try:
        if isinstance(value, dict):
            return cast("dict[str, Data]", value)[key]
        if isinstance(key, int) and isinstance(value, list | tuple | str) and not isinstance(key, bool):
            return cast("list[Data]", value)[key]
    except (KeyError, IndexError, TypeError):
        pass
    if isinstance(value, Group) and key in _GROUP:
        return value[_GROUP.index(key)]
    require_given(value)
    require_given(key)
    return Missing(path, value, key, MissingKey)


_GROUP = ("grouper", "list")


def look_up_path(work: Work, value: Data, *, attribute: Data, default: Data = missing) -> Data:
    """What stands under a dotted path, as the `attribute` of list filters is written."""
    if isinstance(attribute, int) and not isinstance(attribute, bool):
        keys: list[str | int] = [attribute]
    elif isinstance(attribute, str):
        keys = [int(key) if key.isdecimal() and len(key) < 10 else key for key in attribute.split(".")]
    else:
        raise TemplateError(f"attribute must be a name such as 'title', not {kind_of(attribute)}")
    work.spend(8 + 6 * len(keys))
    for key in keys:
        value = look_up(value, key, path="the item")
        if isinstance(value, Missing):
            if default is not missing:
                return default
            require_given(value)
    return value


def loop_field(loop: Data, name: str) -> Data:
    """A field of `loop`; the names are checked when the template is read."""
    return getattr(loop, name) if isinstance(loop, LoopContext) else look_up(loop, name, path="loop")


def _not_found(path: str, value: Data, key: Data) -> str:
    key_text = repr(key) if isinstance(key, str | int | float | bool) and len(str(key)) < 200 else kind_of(key)
    if is_object(value):
        known = f"it has {quoted(value)}" if value else "it is empty"
        return f"{path!r} has no {key_text}; {known}{did_you_mean(str(key)[:200], value)}"
    if is_list(value):
        if isinstance(key, int):
            return f"{path!r} has no item {key_text}; it has {len(value)}, counted from 0"
        return (
            f"{path!r} is a list and has no field {key_text}; take an item ({path}[0]) or use a filter such as length"
        )
    if isinstance(value, str) and isinstance(key, int):
        return f"{path!r} has no character {key_text}; it has {len(value)}, counted from 0"
    return f"{path!r} is {kind_of(value)} and has no field {key_text}; use {{{{ {path} }}}} itself, or a filter"
