"""Text files that begin with YAML fields between two `---` lines."""

from __future__ import annotations

from typing import cast

from .values import Data

__all__ = ["split"]

_FENCE = "---"


def split(text: str, *, source: str) -> tuple[dict[str, Data], str]:
    """The fields and the text below them; no fields when the file does not begin with `---`.

    Args:
        source: Names the file in errors.

    Raises:
        ValueError: The fence is not closed, or holds no mapping.
    """
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != _FENCE:
        return {}, text
    for index in range(1, len(lines)):
        if lines[index].rstrip() == _FENCE:
            return _fields("".join(lines[1:index]), source), "".join(lines[index + 1 :])
    raise ValueError(f"{source}: the front matter opened by '---' on line 1 is never closed; add a line '---' below it")


def _fields(text: str, source: str) -> dict[str, Data]:
    from .. import _yaml

    fields = _yaml.loads(text, source=source)
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ValueError(f"{source}: the front matter must be fields like 'role: system', not {type(fields).__name__}")
    return cast("dict[str, Data]", fields)
