"""Jinja's list filters, on data and within bounds: each gives a list, never an iterator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ..errors import TemplateError
from .bounds import MAX_ITEMS, Data, Work, check_size, is_list, is_object
from .operators import arithmetic
from .values import (
    Group,
    Missing,
    MissingKey,
    as_items,
    as_text,
    is_number,
    json_text,
    kind_of,
    look_up_path,
    require_given,
    whole_number,
)

__all__ = ["LIST_FILTERS"]

Key = tuple[int, Data]  # kind first, so that null, numbers and texts never meet in a comparison


def _items(work: Work, value: Data, name: str) -> list[Data]:
    items = as_items(value, what=repr(name))
    work.visited(len(items))
    return items


def _rank(value: Data, case_sensitive: bool, name: str) -> Key:
    require_given(value)
    if isinstance(value, str):
        return (2, value if case_sensitive else value.lower())
    if isinstance(value, int | float):
        return (1, value)
    if value is None:
        return (0, 0)
    raise TemplateError(f"{name!r} orders texts and numbers, not {kind_of(value)}; name a field: attribute='title'")


def _one_kind(keys: Iterable[Key], name: str) -> None:
    kinds = {kind for kind, _ in keys}
    if len(kinds) > 1:
        raise TemplateError(f"{name!r} cannot order texts, numbers and null together; use items of one kind")


def _keys(work: Work, values: list[Data], case_sensitive: bool, name: str) -> list[Key]:
    size = sum(len(value) for value in values if isinstance(value, str))
    work.transformed(size)
    work.copied(size * len(values).bit_length())  # what comparing them may read
    work.spend(len(values) * (6 + len(values).bit_length() // 2))
    keys = [_rank(value, case_sensitive, name) for value in values]
    _one_kind(keys, name)
    return keys


def _picked(work: Work, items: list[Data], attribute: Data) -> list[Data]:
    return items if attribute is None else [look_up_path(work, item, attribute=attribute) for item in items]


def _order(keys: list[list[Key]], reverse: bool) -> list[int]:
    return sorted(range(len(keys[0])), key=lambda index: [column[index] for column in keys], reverse=reverse)


def _sort(
    work: Work, value: Data, reverse: bool = False, case_sensitive: bool = False, attribute: str | int | None = None
) -> list[Data]:
    items = _items(work, value, "sort")
    if not items:
        return []
    names: list[Data] = attribute.split(",")[:8] if isinstance(attribute, str) else [attribute]
    columns = [_keys(work, _picked(work, items, name), case_sensitive, "sort") for name in names]
    return [items[index] for index in _order(columns, bool(reverse))]


def _dictsort(
    work: Work, value: Data, case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> list[Data]:
    pairs = _items_of(work, value)
    if by not in ("key", "value"):
        raise TemplateError("dictsort sorts by='key' or by='value'")
    if not pairs:
        return []
    keys = _keys(work, [pair[0 if by == "key" else 1] for pair in pairs], case_sensitive, "dictsort")
    return [pairs[index] for index in _order([keys], bool(reverse))]


def _items_of(work: Work, value: Data) -> list[Data]:
    """The fields of an object as [key, value] pairs."""
    if not is_object(value):
        raise TemplateError(f"this filter takes an object, not {kind_of(value)}")
    work.visited(len(value))
    return [[key, item] for key, item in value.items()]


def _unique(work: Work, value: Data, case_sensitive: bool = False, attribute: str | int | None = None) -> list[Data]:
    items = _items(work, value, "unique")
    work.spend(10 * len(items))
    seen: set[Data] = set()
    kept: list[Data] = []
    for item, key in zip(items, _picked(work, items, attribute), strict=True):
        if isinstance(key, str):
            work.transformed(len(key))
            mark: Data = key if case_sensitive else key.lower()
        elif is_list(key) or is_object(key):
            mark = (json_text(work, key),)
        else:
            mark = (key, isinstance(key, bool))
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept


def _groupby(
    work: Work, value: Data, attribute: str | int, default: Data = None, case_sensitive: bool = False
) -> list[Data]:
    """Groups in the order of their key; each unpacks as (key, items)."""
    items = _items(work, value, "groupby")
    fallback = {} if default is None else {"default": default}
    values = [look_up_path(work, item, attribute=attribute, **fallback) for item in items]
    if not items:
        return []
    keys = _keys(work, values, case_sensitive, "groupby")
    work.spend(8 * len(items))
    groups: list[Data] = []
    last: Key | None = None
    for index in _order([keys], reverse=False):
        if keys[index] != last:
            last = keys[index]
            groups.append(Group([values[index], []]))
        groups[-1][1].append(items[index])
    return groups


def _first(work: Work, value: Data) -> Data:
    return _end(work, value, "first", 0)


def _last(work: Work, value: Data) -> Data:
    return _end(work, value, "last", -1)


def _end(work: Work, value: Data, name: str, index: int) -> Data:
    if is_object(value):
        value = list(value)
        work.visited(len(value))
    if not isinstance(value, str) and not is_list(value):
        raise TemplateError(f"{name!r} takes a list or text, not {kind_of(value)}")
    return value[index] if value else Missing(f"{name} item", value, index, MissingKey)


def _length(work: Work, value: Data) -> int:
    if not isinstance(value, str) and not is_list(value) and not is_object(value):
        raise TemplateError(f"'length' takes a list, an object or text, not {kind_of(value)}")
    return len(value)


def _as_list(work: Work, value: Data) -> list[Data]:
    items = list(as_items(value, what="'list'", text=True))
    work.visited(len(items))
    return items


def _reverse(work: Work, value: Data) -> Data:
    if isinstance(value, str):
        work.copied(len(value))
        return value[::-1]
    return _items(work, value, "reverse")[::-1]


def _join(work: Work, value: Data, d: str = "", attribute: str | int | None = None) -> str:
    items = _items(work, value, "join")
    work.spend(4 * len(items))
    texts: list[str] = []
    size = 0
    for item in _picked(work, items, attribute):
        texts.append(as_text(work, item))
        size += len(texts[-1])
        check_size(size)
    between = as_text(work, d)
    size += len(between) * max(len(texts) - 1, 0)
    check_size(size)
    work.copied(size)
    return between.join(texts)


def _batch(work: Work, value: Data, linecount: int, fill_with: Data = None) -> list[Data]:
    """Rows of `linecount` items; with `fill_with` the last row is filled up."""
    items = _items(work, value, "batch")
    size = whole_number(linecount, what="the count of batch", low=1, high=MAX_ITEMS)
    work.spend(4 * (len(items) // size))
    rows = [items[start : start + size] for start in range(0, len(items), size)]
    if rows and fill_with is not None:
        work.visited(size)
        rows[-1] = rows[-1] + [fill_with] * (size - len(rows[-1]))
    return rows


def _sliced(work: Work, value: Data, slices: int, fill_with: Data = None) -> list[Data]:
    """The items in `slices` columns of nearly equal length."""
    items = _items(work, value, "slice")
    count = whole_number(slices, what="the count of slice", low=1, high=MAX_ITEMS)
    work.spend(4 * count)
    each, longer = divmod(len(items), count)
    columns: list[Data] = []
    start = 0
    for index in range(count):
        stop = start + each + (1 if index < longer else 0)
        column = items[start:stop]
        if fill_with is not None and longer and index >= longer:
            column = [*column, fill_with]
        columns.append(column)
        start = stop
    return columns


def _total(work: Work, value: Data, attribute: str | int | None = None, start: Data = 0) -> Data:
    items = _items(work, value, "sum")
    result = start
    if not is_number(start):
        raise TemplateError(f"'sum' adds numbers, not {kind_of(start)}; use join for texts")
    work.spend(12 * len(items))
    for item in _picked(work, items, attribute):
        result = arithmetic(work, "+", left=result, right=item)
    return result


def _least(work: Work, value: Data, case_sensitive: bool = False, attribute: str | int | None = None) -> Data:
    return _extreme(work, value, case_sensitive, attribute, "min")


def _greatest(work: Work, value: Data, case_sensitive: bool = False, attribute: str | int | None = None) -> Data:
    return _extreme(work, value, case_sensitive, attribute, "max")


def _extreme(work: Work, value: Data, case_sensitive: bool, attribute: Data, name: str) -> Data:
    items = _items(work, value, name)
    if not items:
        return Missing(f"{name} item", items, 0, MissingKey)
    keys = _keys(work, _picked(work, items, attribute), case_sensitive, name)
    pick = min if name == "min" else max
    return items[pick(range(len(items)), key=keys.__getitem__)]


LIST_FILTERS: Final[dict[str, Callable[..., Data]]] = {
    "batch": _batch,
    "count": _length,
    "dictsort": _dictsort,
    "first": _first,
    "groupby": _groupby,
    "items": _items_of,
    "join": _join,
    "last": _last,
    "length": _length,
    "list": _as_list,
    "max": _greatest,
    "min": _least,
    "reverse": _reverse,
    "slice": _sliced,
    "sort": _sort,
    "sum": _total,
    "unique": _unique,
}
