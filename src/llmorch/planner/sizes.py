"""How many tokens a value will probably have, before it exists.

Assumptions, in tokens (least, likely, most):

- known text: its characters / 5, / 4 and / 3, the last as budgets reserve it;
- an answer in text: `ANSWER`; in a structured type: `STRUCTURE`; a number, a bool or a Literal: `SCALAR`;
- what a function or an input gives that is not known: `UNKNOWN`;
- a part of a value, such as `facts.title`: a quarter of it, at most all of it;
- an item of a list of unknown length: a fifth of it, at most all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .._json import dumps
from ..definition.node import Binding, DictOf, Each, Filled, FirstN, FirstOf, ListOf, Literal, Optional, Ref
from ..models.values import Data
from ..templates.bounds import is_list
from .ranges import Range

__all__ = [
    "ABSENT", "ANSWER", "SCALAR", "STRUCTURE", "UNKNOWN", "WIDTH", "Size", "Values", "known_value", "of_chars",
    "of_value", "size_of", "width_of",
]  # fmt: skip


class Size(NamedTuple):
    """Tokens: the least, the likely and the most."""

    low: float
    likely: float
    high: float


ANSWER: Final = Size(50, 500, 2000)
STRUCTURE: Final = Size(20, 300, 2000)
SCALAR: Final = Size(1, 3, 10)
UNKNOWN: Final = Size(10, 300, 3000)
WIDTH: Final = Range(0, 5, 50)
ABSENT: Final = object()
_ZERO: Final = Size(0, 0, 0)


class Values(NamedTuple):
    """What is known of a workflow's inputs and steps so far.

    Attributes:
        known: Name -> the value itself.
        sizes: Name -> its estimated size.
        widths: Name of a map -> how many items it will have.
    """

    known: Mapping[str, Data]
    sizes: Mapping[str, Size]
    widths: Mapping[str, Range[int]]


def of_chars(count: int) -> Size:
    """The size of text of that many characters."""
    return Size(math.ceil(count / 5), math.ceil(count / 4), math.ceil(count / 3))


def of_value(value: Data) -> Size:
    """The size of a value as a template would write it."""
    return of_chars(len(value) if isinstance(value, str) else len(dumps(value)))


def known_value(binding: Binding, known: Mapping[str, Data]) -> Data:
    """The binding's value when it is known already, else `ABSENT`; `each` gives the whole list."""
    match binding:
        case Literal(value=value):
            return value
        case Ref(source=source, path=path):
            return _part(known.get(source, ABSENT), path)
        case Optional(source=source) | Each(source=source):
            return known_value(source, known)
        case ListOf(items=items):
            listed = [known_value(item, known) for item in items]
            return ABSENT if any(item is ABSENT for item in listed) else listed
        case DictOf(items=pairs):
            mapped = {name: known_value(item, known) for name, item in pairs}
            return ABSENT if any(item is ABSENT for item in mapped.values()) else mapped
        case FirstOf() | FirstN() | Filled():
            return ABSENT


def _part(value: Data, path: tuple[str | int, ...]) -> Data:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return ABSENT
    return value


def size_of(binding: Binding, values: Values) -> Size:
    """Tokens of what a binding gives; for `each`, of one item."""
    if isinstance(binding, Each):
        return _item(binding, values)
    value = known_value(binding, values.known)
    if value is not ABSENT:
        return of_value(value)
    match binding:
        case Ref(source=source, path=path):
            size = values.sizes.get(source, UNKNOWN)
            return Size(min(1, size.low), size.likely / 4, size.high) if path else size
        case FirstOf(refs=refs):
            return _spread([size_of(ref, values) for ref in refs])
        case FirstN(refs=refs, n=n):
            one = _spread([size_of(ref, values) for ref in refs])
            return Size(one.low * n, one.likely * n, one.high * n)
        case Optional(source=source, default=default):
            size = size_of(source, values)
            return size._replace(low=min(size.low, of_value(default).low))
        case ListOf(items=items):
            return _sum([size_of(item, values) for item in items])
        case DictOf(items=pairs):
            return _sum([size_of(item, values) for _, item in pairs])
        case Filled(text=text, refs=named):
            return _sum([of_chars(len(text)), *(size_of(ref, values) for _, ref in named)])
        case _:
            return _ZERO


def _item(binding: Each[Any], values: Values) -> Size:
    items = known_value(binding.source, values.known)
    if is_list(items) and items:
        sizes = [of_value(item) for item in items]
        return Size(min(s.low for s in sizes), sum(s.likely for s in sizes) / len(sizes), max(s.high for s in sizes))
    if isinstance(binding.source, ListOf):
        return _spread([size_of(item, values) for item in binding.source.items])
    whole = size_of(binding.source, values)
    return Size(min(1, whole.low), whole.likely / WIDTH.likely, whole.high)


def _sum(sizes: list[Size]) -> Size:
    return Size(sum(s.low for s in sizes), sum(s.likely for s in sizes), sum(s.high for s in sizes))


def _spread(sizes: list[Size]) -> Size:
    """One of these, nobody knows which; most likely the first."""
    return Size(min(s.low for s in sizes), sizes[0].likely, max(s.high for s in sizes))


def width_of(bindings: Mapping[str, Binding], values: Values) -> Range[int]:
    """How many items a map over these bindings has: exact where a list is known, else `WIDTH`."""
    for binding in bindings.values():
        if not isinstance(binding, Each):
            continue
        source = binding.source
        items = known_value(source, values.known)
        if is_list(items):
            return Range(len(items), len(items), len(items))
        if isinstance(source, ListOf):
            return Range(len(source.items), len(source.items), len(source.items))
        if isinstance(source, FirstN):
            return Range(source.n, source.n, source.n)
        if isinstance(source, Ref) and not source.path and source.source in values.widths:
            return values.widths[source.source]
    return WIDTH
