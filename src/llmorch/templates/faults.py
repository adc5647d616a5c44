"""What a template would get wrong on values of known schemas, found without rendering it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._schema_walk import kinds_of, missing_field, path_text, schema_at
from .bounds import Data
from .list_filters import LIST_FILTERS
from .paths import Read
from .text_filters import TEXT_FILTERS

__all__ = ["find_faults"]

_TEXT_ONLY = frozenset(TEXT_FILTERS) - {"d", "default", "float", "int", "round", "abs", "string", "urlencode"} | {
    "between",
    "truncate_tokens",
}
_LIST_ONLY = frozenset(LIST_FILTERS) - {"first", "last", "length", "count", "list", "reverse", "items", "dictsort"} | {
    "bullets",
    "map",
    "numbered",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
}
_CONTAINERS = frozenset(("array", "object"))
_SCALARS = frozenset(("string", "integer", "number", "boolean"))
_WORDS = {"array": "a list", "object": "an object", "string": "text", "boolean": "true or false"}


def find_faults(reads: Iterable[Read], schemas: Mapping[str, Mapping[str, Data]]) -> list[str]:
    """One sentence for each read that cannot work; names without a schema are not checked."""
    found: dict[str, None] = {}
    for read in sorted(reads, key=lambda read: read.line):
        root = read.path[0]
        if isinstance(root, str) and root in schemas:
            sentence = _field_fault(read, schemas[root]) or _filter_fault(read, schemas[root])
            if sentence is not None:
                found[sentence] = None
    return list(found)


def _field_fault(read: Read, schema: Mapping[str, Data]) -> str | None:
    missing = missing_field(schema, read.path[1:], root=str(read.path[0]))
    return None if missing is None else f"line {read.line} reads {path_text(read.path)!r}, but {missing}"


def _filter_fault(read: Read, schema: Mapping[str, Data]) -> str | None:
    if read.filter is None:
        return None
    part = schema_at(schema, read.path[1:])
    kinds = (kinds_of(part) if part is not None else frozenset[str]()) - {"null"}
    if not kinds:
        return None
    what = f"{path_text(read.path)!r}, {' or '.join(sorted(_WORDS.get(kind, 'a number') for kind in kinds))},"
    if read.filter in _TEXT_ONLY and kinds <= _CONTAINERS:
        remedy = "join it first: | join(', ')" if "object" not in kinds else "take a field, or write | json"
        return f"line {read.line} passes {what} to the filter {read.filter!r}, which takes text; {remedy}"
    if read.filter in _LIST_ONLY and kinds <= _SCALARS:
        return f"line {read.line} passes {what} to the filter {read.filter!r}, which takes a list; put it in one: [x]"
    return None
