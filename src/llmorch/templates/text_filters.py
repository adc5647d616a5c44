"""Jinja's text filters, on data and within bounds."""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from jinja2 import Undefined

from ..errors import TemplateError
from .bounds import Data, Work, check_size, is_list, is_object
from .values import as_text, is_number, kind_of, require_given, whole_number

__all__ = ["TEXT_FILTERS", "as_plain_text"]

_TAG = re.compile(r"<!--.*?-->|<[^<>]*>", re.DOTALL)
_WORD = re.compile(r"\w+")
_WORD_START = re.compile(r"([-\s({\[<]+)")  # where Jinja's title begins a new word
_MAX_DIGITS: Final = 4300  # Python's own bound for numbers read from text


def as_plain_text(work: Work, value: Data, *, name: str) -> str:
    """The text a text-only filter works on: lists and objects are refused, numbers are written out."""
    require_given(value)
    if is_list(value) or is_object(value):
        remedy = "join it first: x | join(', ')" if is_list(value) else "take a field, or write x | json"
        raise TemplateError(f"{name!r} takes text, not {kind_of(value)}; {remedy}")
    return as_text(work, value)


def _simple(name: str, change: Callable[[str], str], *, rate: float = 1 / 16) -> Callable[[Work, Data], str]:
    """A filter that changes the whole text, at `rate` units a character, twice that outside of ASCII."""

    def apply(work: Work, value: Data) -> str:
        text = as_plain_text(work, value, name=name)
        work.spend(1 + int(len(text) * rate * (1 if text.isascii() else 2)))
        changed = change(text)
        check_size(len(changed))
        return changed

    return apply


def _title(text: str) -> str:
    return "".join(part[:1].upper() + part[1:].lower() for part in _WORD_START.split(text) if part)


def _trim(work: Work, value: Data, chars: Data = None) -> str:
    text = as_plain_text(work, value, name="trim")
    work.copied(len(text))
    if chars is not None and (not isinstance(chars, str) or len(chars) > 100):
        raise TemplateError("trim takes the characters to cut off as one text, at most 100")
    work.spend(len(chars or "") * (len(text) >> 8))
    return text.strip(chars)


def _replace(work: Work, value: Data, old: str, new: str, count: int | None = None) -> str:
    text = as_plain_text(work, value, name="replace")
    old, new = as_plain_text(work, old, name="replace"), as_plain_text(work, new, name="replace")
    limit = -1 if count is None else whole_number(count, what="the count of replace")
    work.transformed(len(text))
    found = text.count(old)
    found = min(found, limit) if limit >= 0 else found
    check_size(len(text) + found * (len(new) - len(old)))
    return text.replace(old, new, limit)


def _center(work: Work, value: Data, width: int = 80) -> str:
    text = as_plain_text(work, value, name="center")
    width = whole_number(width, what="the width of center", high=10_000)
    work.copied(len(text) + width)
    return text.center(width)


def _indent(work: Work, value: Data, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = as_plain_text(work, value, name="indent")
    prefix = width if isinstance(width, str) else " " * whole_number(width, what="the width of indent", high=1000)
    check_size(len(text) + (text.count("\n") + 1) * len(prefix))
    work.transformed(len(text))
    lines = text.split("\n")
    indented = [prefix + line if line or blank else line for line in lines[1:]]
    head = prefix + lines[0] if first and (lines[0] or blank) else lines[0]
    made = "\n".join([head, *indented])
    work.copied(len(made))
    return made


def _wordwrap(
    work: Work,
    value: Data,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str = "\n",
    break_on_hyphens: bool = True,
) -> str:
    text = as_plain_text(work, value, name="wordwrap")
    width = whole_number(width, what="the width of wordwrap", low=1)
    between = as_plain_text(work, wrapstring, name="wordwrap")
    work.spend(1 + 2 * len(text) + 20 * (len(text) // width))  # textwrap: about 100 ns a character and 1 us a line
    check_size(len(text) + len(between) * (len(text) + 1 if width == 1 else 1 + 2 * len(text) // width))
    lines = [
        wrapped
        for line in text.splitlines()
        for wrapped in textwrap.wrap(
            line,
            width,
            expand_tabs=False,
            replace_whitespace=False,
            break_long_words=bool(break_long_words),
            break_on_hyphens=bool(break_on_hyphens),
        )
        or [""]
    ]
    check_size(sum(map(len, lines)) + len(between) * len(lines))
    return between.join(lines)


def _truncate(
    work: Work, value: Data, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5
) -> str:
    text = as_plain_text(work, value, name="truncate")
    end = as_plain_text(work, end, name="truncate")
    length = whole_number(length, what="the length of truncate", low=len(end), high=2**31)
    leeway = whole_number(leeway, what="the leeway of truncate")
    if len(text) <= length + leeway:
        return text
    work.copied(length)
    kept = text[: length - len(end)]
    return (kept if killwords else kept.rsplit(" ", 1)[0]) + end


def _striptags(work: Work, value: Data) -> str:
    text = as_plain_text(work, value, name="striptags")
    work.spend(1 + len(text))
    if text.count("<!--") > 1000 or text.count("<") > 100_000:  # an unclosed comment is searched to the end each time
        raise TemplateError("striptags: too many tags in one text; take them out in a Python step")
    work.spend(text.count("<!--") * (len(text) >> 5))
    return html.unescape(" ".join(_TAG.sub("", text).split()))


def _wordcount(work: Work, value: Data) -> int:
    text = as_plain_text(work, value, name="wordcount")
    work.spend(1 + (len(text) >> 1))
    return sum(1 for _ in _WORD.finditer(text))


def _urlencode(work: Work, value: Data) -> str:
    """Percent-encoded text; an object becomes `a=1&b=2`."""
    require_given(value)
    if not is_object(value):
        return _percent(work, as_plain_text(work, value, name="urlencode"))
    made = "&".join(f"{_percent(work, key)}={_percent(work, as_text(work, item))}" for key, item in value.items())
    check_size(len(made))
    return made


def _percent(work: Work, text: str) -> str:
    work.spend(1 + len(text))
    check_size(12 * len(text) if not text.isascii() else 3 * len(text))
    return quote(text, safe="/")


def _to_int(work: Work, value: Data, default: Data = 0, base: int = 10) -> Data:
    """A whole number, or the default when there is none in the value."""
    base = whole_number(base, what="the base of int", low=2, high=36)
    try:
        if isinstance(value, str):
            if len(value) > _MAX_DIGITS:
                return default
            try:
                return int(value, base)
            except ValueError:
                return int(float(value))
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _to_float(work: Work, value: Data, default: Data = 0.0) -> Data:
    """A finite number, or the default when there is none in the value."""
    try:
        number = float(value) if not isinstance(value, str) or len(value) <= _MAX_DIGITS else math.nan
    except (TypeError, ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def _number_round(work: Work, value: Data, precision: int = 0, method: str = "common") -> float:
    if not is_number(value):
        raise TemplateError(f"'round' takes a number, not {kind_of(value)}; write x | float | round")
    precision = whole_number(precision, what="the precision of round", low=-15, high=15)
    try:
        if method == "common":
            return float(round(value, precision))
        if method in ("ceil", "floor"):
            scale: float = 10.0**precision
            return float(math.ceil(value * scale) if method == "ceil" else math.floor(value * scale)) / scale
    except OverflowError:
        raise TemplateError("'round' takes numbers a float can hold") from None
    raise TemplateError("the method of round is 'common', 'ceil' or 'floor'")


def _number_abs(work: Work, value: Data) -> Data:
    if not is_number(value):
        raise TemplateError(f"'abs' takes a number, not {kind_of(value)}; write x | float | abs")
    return abs(value)


def _filesizeformat(work: Work, value: Data, binary: bool = False) -> str:
    """Bytes in words: `1.5 MB`, or `1.4 MiB` with `binary`."""
    size = _to_float(work, value, None)
    if size is None:
        raise TemplateError(f"'filesizeformat' takes a number of bytes, not {kind_of(value)}")
    base = 1024 if binary else 1000
    if abs(size) < base:
        return f"{int(size)} Byte{'' if size == 1 else 's'}"
    power = 0
    while abs(size) >= base and power < 8:
        size /= base
        power += 1
    letter = "kMGTPEZY"[power - 1]
    return f"{size:.1f} {letter.upper() if binary else letter}{'iB' if binary else 'B'}"


def _default(work: Work, value: Data, default_value: Data = "", boolean: bool = False) -> Data:
    """The value, or the default when nothing was given; with `boolean` also when the value is empty or false."""
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


_escape = _simple("escape", html.escape)

TEXT_FILTERS: Final[dict[str, Callable[..., Data]]] = {
    "abs": _number_abs,
    "capitalize": _simple("capitalize", str.capitalize),
    "center": _center,
    "d": _default,
    "default": _default,
    "e": _escape,
    "escape": _escape,
    "filesizeformat": _filesizeformat,
    "float": _to_float,
    "forceescape": _escape,
    "indent": _indent,
    "int": _to_int,
    "lower": _simple("lower", str.lower),
    "replace": _replace,
    "round": _number_round,
    "string": as_text,
    "striptags": _striptags,
    "title": _simple("title", _title, rate=2),
    "trim": _trim,
    "truncate": _truncate,
    "upper": _simple("upper", str.upper),
    "urlencode": _urlencode,
    "wordcount": _wordcount,
    "wordwrap": _wordwrap,
}
