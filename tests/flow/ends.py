"""How things end in the reference interpreter, and what a value is in a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any


@dataclass(frozen=True)
class End:
    """How a step, binding or action ended: with a value or in one of the four ways below."""

    kind: str
    value: Any = None


SKIPPED = End("skipped")
LOST = End("skipped because of a failure")
FAILED = End("failed, or names what is missing")
NEVER = End("waits for what failed under 'fail'")


def gate_of(ends: Sequence[End]) -> End | None:
    """What stands in the way of the values of them all."""
    return next((mark for mark in (NEVER, LOST, SKIPPED, FAILED) if mark in ends), None)


def text_of(value: Any) -> str:
    """How a value stands in a text, and what it is as a choice."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def part_of(value: Any, keys: Sequence[str | int]) -> Any:
    """What stands in a value under one key after the other; raises `TypeError` or `LookupError` where nothing does."""
    return reduce(getitem, keys, value)
