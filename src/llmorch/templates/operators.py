"""What the operators of templates do on data: bounded, and refused where they mean nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from ..errors import TemplateError
from .bounds import MAX_BITS, MAX_ITEMS, Data, Work, check_size, is_list, is_object
from .values import as_items, as_text, is_number, kind_of, look_up, loop_field, require_given

__all__ = ["OPERATORS", "arithmetic", "negate"]

_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {  # Any: numbers of either kind
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
    "%": lambda left, right: left % right,
    "**": lambda left, right: left**right,
}
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {  # Any: data of any kind
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "lt": lambda left, right: left < right,
    "lteq": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "gteq": lambda left, right: left >= right,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}


def arithmetic(work: Work, sign: str, *, left: Data, right: Data) -> Data:
    """`+ - * / // % **` on numbers, and `+` on two texts or two lists."""
    require_given(left)
    require_given(right)
    if is_number(left) and is_number(right):
        return _on_numbers(sign, left, right)
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        return concat(work, left, right)
    if sign == "+" and is_list(left) and is_list(right):
        count = len(left) + len(right)
        if count > MAX_ITEMS:
            raise TemplateError(f"the template makes a list of {count} items; at most {MAX_ITEMS} are allowed")
        work.visited(count)
        return [*left, *right]
    remedy = "; join with ~" if sign == "+" else "; numbers written as text need | int or | float"
    raise TemplateError(f"{sign!r} works on numbers, not on {kind_of(left)} and {kind_of(right)}{remedy}")


def _on_numbers(sign: str, left: int | float, right: int | float) -> int | float:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if sign == "**" else left.bit_length() + right.bit_length()
        if bits > MAX_BITS:
            raise TemplateError(f"{sign!r} would make a number of more than {MAX_BITS} bits; use smaller numbers")
    try:
        result = _ARITHMETIC[sign](left, right)
    except ZeroDivisionError:
        raise TemplateError(f"{sign!r} divides by zero; test the divisor with {{% if %}} first") from None
    except OverflowError:
        result = math.inf
    if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
        raise TemplateError(f"{sign!r} gives no finite number here; use smaller numbers")
    return cast("int | float", result)


def negate(sign: str, value: Data) -> Data:
    """`-x` and `+x`."""
    require_given(value)
    if not is_number(value):
        raise TemplateError(f"{sign!r} works on numbers, not on {kind_of(value)}")
    return -value if sign == "-" else value


def concat(work: Work, *parts: Data) -> str:
    """`a ~ b`: the texts in a row."""
    texts = [as_text(work, part) for part in parts]
    size = sum(map(len, texts))
    check_size(size)
    work.copied(size)
    return "".join(texts)


def _captured(work: Work, text: str) -> str:
    """The text of a block that is set or filtered."""
    work.copied(len(text))
    return text


def _cut(work: Work, value: Data, start: Data, stop: Data, step: Data) -> Data:
    """`x[a:b:c]` on text and lists."""
    require_given(value)
    if not isinstance(value, str) and not is_list(value):
        raise TemplateError(f"only text and lists can be sliced, not {kind_of(value)}")
    for bound in (start, stop, step):
        require_given(bound)
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int)):
            raise TemplateError(f"a slice takes whole numbers, not {kind_of(bound)}")
    if step == 0:
        raise TemplateError("the step of a slice cannot be 0")
    part = value[start:stop:step]
    if isinstance(part, str):
        work.copied(len(part))
        return part
    work.visited(len(part))
    return list(part)


def compare(work: Work, left: Data, *rest: Data) -> bool:
    """`a < b <= c`, `a in b`: sign, value, sign, value ..."""
    require_given(left)
    for sign, right in zip(rest[::2], rest[1::2], strict=True):
        require_given(right)
        _charge(work, left, right, search=sign in ("in", "notin"))
        try:
            if not _COMPARE[sign](left, right):
                return False
        except TypeError:
            raise TemplateError(_cannot_compare(sign, left, right)) from None
        left = right
    return True


def _charge(work: Work, left: Data, right: Data, *, search: bool) -> None:
    if isinstance(left, str) and isinstance(right, str):
        work.spend(1 + (len(right) >> 4) if search else 1 + (min(len(left), len(right)) >> 6))
    elif is_list(right) or (is_object(right) and (is_object(left) or is_list(left))):
        work.weigh(left)
        work.weigh(right)
        if search and isinstance(left, str):
            work.copied(len(left))


def _cannot_compare(sign: str, left: Data, right: Data) -> str:
    if sign in ("in", "notin"):
        return f"'in' cannot look for {kind_of(left)} in {kind_of(right)}"
    return f"{kind_of(left)} and {kind_of(right)} have no order; compare two numbers or two texts"


def _turns(work: Work, value: Data, cost: int) -> Iterator[Data]:
    """The items of a `{% for %}`, each turn charged for."""
    items = as_items(value, what="{% for %}", text=True)
    work.visited(0)
    return _counted(work, items, cost)


def _counted(work: Work, items: list[Data], cost: int) -> Iterator[Data]:
    for item in items:
        work.spend(cost)
        yield item


def _made_list(work: Work, value: list[Data]) -> list[Data]:
    """A list written in the template; nothing in it may be missing."""
    for item in value:
        require_given(item)
    return value


def _made_object(work: Work, value: dict[Data, Data]) -> dict[str, Data]:
    """An object written in the template; its keys are texts, as in JSON."""
    for key, item in value.items():
        require_given(key)
        require_given(item)
        if not isinstance(key, str):
            raise TemplateError(f"a key must be text, not {kind_of(key)}; write it in quotes")
    return value


def _dot(work: Work, value: Data, key: Data, path: str) -> Data:
    return look_up(value, key, path=path)


def _loop_dot(work: Work, loop: Data, name: str) -> Data:
    return loop_field(loop, name)


# Operators are compiled as filters under names that no template can spell, because only filters are handed the context
# that counts the work.
OPERATORS: Final[dict[str, Callable[..., Data]]] = {
    ".": _dot,
    ".loop": _loop_dot,
    "[:]": _cut,
    "~": concat,
    "<>": compare,
    "for": _turns,
    "[]": _made_list,
    "{}": _made_object,
    "<<": _captured,
}
