"""Take fields out of JSON data.

Parameters:
    json_data (object or str): The data, or JSON text of it; the step's input unless given.
    fields (list of str): Names of fields, or dotted paths such as `author.name` and `tags.0`.

Returns:
    An object with `extracted`, `missing_fields`, `total_fields` and `extracted_count`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, cast

from llmorch._json import loads
from llmorch.scripts.contract import serve

__all__ = ["json_extract"]

_MISSING = object()


def json_extract(json_data: Any, fields: Iterable[str]) -> dict[str, Any]:  # Any: JSON data
    """Fields of JSON data, and the names of those that are not there.

    Args:
        json_data: The data, or JSON text of it.
        fields: Names of fields; one that is no field is read as a dotted path, such as `author.name` or `tags.0`.

    Returns:
        `extracted` (name to value), `missing_fields`, `total_fields` and `extracted_count`.

    Raises:
        ValueError: The text is no JSON, or the data no object or list.

    Example:
        >>> found = json_extract('{"title": "Bees", "author": {"name": "Ada"}}', ["title", "author.name", "year"])
        >>> found["extracted"], found["missing_fields"]
        ({'title': 'Bees', 'author.name': 'Ada'}, ['year'])
    """
    if isinstance(fields, str):
        raise ValueError(f"fields takes several: write [{fields!r}]")
    data = loads(json_data) if isinstance(json_data, str) else json_data
    if not isinstance(data, dict | list):
        raise ValueError(f"json_data must be a JSON object or list, and not {type(data).__name__}")
    names = list(fields)
    found = {name: _field(data, name) for name in names}
    extracted = {name: value for name, value in found.items() if value is not _MISSING}
    return {
        "extracted": extracted,
        "missing_fields": [name for name, value in found.items() if value is _MISSING],
        "total_fields": len(names),
        "extracted_count": len(extracted),
    }


def _field(data: Any, name: str) -> Any:  # Any: JSON data
    found = _part(data, name)
    if found is not _MISSING:
        return found
    for part in name.split("."):
        data = _part(data, part)
    return data


def _part(value: Any, part: str) -> Any:  # Any: JSON data
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).get(part, _MISSING)
    if isinstance(value, list) and part.isdecimal() and int(part) < len(cast("list[Any]", value)):
        return cast("list[Any]", value)[int(part)]
    return _MISSING


if __name__ == "__main__":
    sys.exit(serve(json_extract, input_as="json_data"))
