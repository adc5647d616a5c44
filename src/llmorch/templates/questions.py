"""The tests of templates (`x is defined`, `n is odd`), on data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jinja2 import Undefined

from ..errors import TemplateError
from .bounds import Data, Work
from .operators import compare
from .values import is_number, kind_of

__all__ = ["QUESTIONS"]


def _whole(value: Data, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TemplateError(f"'is {name}' asks about whole numbers, not {kind_of(value)}")
    return value


def _divisible(work: Work, value: Data, num: int) -> bool:
    divisor = _whole(num, "divisibleby")
    if not divisor:
        raise TemplateError("'is divisibleby' needs a divisor that is not 0")
    return _whole(value, "divisibleby") % divisor == 0


def _cased(check: Callable[[str], bool]) -> Callable[[Work, Data], bool]:
    def ask(work: Work, value: Data) -> bool:
        if not isinstance(value, str):
            return False
        work.copied(len(value))
        return check(value)

    return ask


def _is(check: Callable[[Data], bool]) -> Callable[[Work, Data], bool]:
    return lambda work, value: check(value)


def _comparing(sign: str) -> Callable[[Work, Data, Data], bool]:
    def ask(work: Work, value: Data, other: Data) -> bool:
        return compare(work, value, sign, other)

    return ask


_COMPARING: Final = {
    "eq": ("==", "eq", "equalto"),
    "ne": ("!=", "ne"),
    "gt": (">", "gt", "greaterthan"),
    "gteq": (">=", "ge"),
    "lt": ("<", "lt", "lessthan"),
    "lteq": ("<=", "le"),
    "in": ("in",),
}

QUESTIONS: Final[dict[str, Callable[..., bool]]] = {
    "boolean": _is(lambda value: isinstance(value, bool)),
    "defined": _is(lambda value: not isinstance(value, Undefined)),
    "divisibleby": _divisible,
    "even": _is(lambda value: _whole(value, "even") % 2 == 0),
    "false": _is(lambda value: value is False),
    "float": _is(lambda value: isinstance(value, float)),
    "integer": _is(lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "iterable": _is(lambda value: isinstance(value, str | list | tuple | dict)),
    "lower": _cased(str.islower),
    "mapping": _is(lambda value: isinstance(value, dict)),
    "none": _is(lambda value: value is None),
    "number": _is(is_number),
    "odd": _is(lambda value: _whole(value, "odd") % 2 == 1),
    "sequence": _is(lambda value: isinstance(value, str | list | tuple | dict)),
    "string": _is(lambda value: isinstance(value, str)),
    "true": _is(lambda value: value is True),
    "undefined": _is(lambda value: isinstance(value, Undefined)),
    "upper": _cased(str.isupper),
    **{name: _comparing(sign) for sign, names in _COMPARING.items() for name in names},
}
