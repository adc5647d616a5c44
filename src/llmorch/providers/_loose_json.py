"""JSON as servers send it, read leniently where a paid answer would be lost otherwise."""

from __future__ import annotations

import json
import math
from typing import Any, TypeGuard

from ..models.usage import Usage

__all__ = ["count_of", "is_list", "is_object", "mended", "parse", "part_of", "usage_of", "written"]

_MAX_DEPTH = 100
_MAX_TOKENS = 10**10


def is_object(given: Any) -> TypeGuard[dict[str, Any]]:  # Any: whatever JSON a server sent
    """Whether it is a JSON object."""
    return isinstance(given, dict)


def is_list(given: Any) -> TypeGuard[list[Any]]:  # Any: as above
    """Whether it is a JSON array."""
    return isinstance(given, list)


def parse(data: bytes) -> Any:  # Any: whatever JSON a server sent
    """The value; bytes that are no UTF-8 become U+FFFD.

    Raises:
        ValueError: It is no JSON, or is nested more than 100 levels deep.
    """
    problem = ""
    value = None
    try:
        value = _loads(data)
    except RecursionError:
        problem = "nested too deeply"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ValueError(problem)  # outside the handler: json's own error holds the whole text, which may echo a key
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and _depth(value) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    return value


def _loads(data: bytes) -> Any:  # Any: as above
    try:
        return json.loads(data)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        return json.loads(data.decode("utf-8", "replace"))
    except ValueError:  # an integer of thousands of digits
        return json.loads(data, parse_int=float)


def _depth(value: Any) -> int:  # Any: as above
    depth = 0
    level = [value]
    while depth <= _MAX_DEPTH:
        inner: list[Any] = []
        holders = 0
        for item in level:
            if is_object(item):
                inner += item.values()
                holders += 1
            elif is_list(item):
                inner += item
                holders += 1
        if not holders:
            break
        depth += 1
        level = inner
    return depth


def mended(text: str) -> str:
    """The text with halves of surrogate pairs joined, and lone halves as U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def written(value: Any) -> str:  # Any: as above
    """Text as it is, anything else as JSON again, NaN and all."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def usage_of(given: Any) -> Usage | None:  # Any: whatever JSON a server sent
    """The tokens of one call in the chat completions form; None when a count is missing or absurd."""
    if not is_object(given):
        return None
    read = count_of(given.get("prompt_tokens"))
    written = count_of(given.get("completion_tokens"))
    if read is None or written is None:
        return None
    cached = part_of(given.get("prompt_tokens_details"), "cached_tokens", read)
    reasoning = part_of(given.get("completion_tokens_details"), "reasoning_tokens", written)
    return Usage(read, written, cached, 0, reasoning, 1)


def count_of(given: Any) -> int | None:  # Any: as above
    """A number of tokens that a call could use; None for anything else."""
    if type(given) is int and 0 <= given <= _MAX_TOKENS:
        return given
    if not isinstance(given, float):
        return None
    if not math.isfinite(given) or given < 0 or given > _MAX_TOKENS or not given.is_integer():
        return None
    return int(given)


def part_of(given: Any, name: str, total: int) -> int:  # Any: as above
    """A part of a total; what is absurd counts as not told, because the total stands without it."""
    count = count_of(given.get(name)) if is_object(given) else None
    return count if count is not None and count <= total else 0
