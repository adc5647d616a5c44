"""Whether a step's `when` lets it run."""

from __future__ import annotations

from typing import Any, Literal

from ...planner.compile import Guard
from ...planner.resolve import LOST, SKIPPED

__all__ = ["is_open"]


def is_open(guard: Guard, values: list[Any]) -> Literal[True] | str:
    """True, or the reason why the step is skipped.

    Raises:
        TemplateError: The expression fails on these values.
        StepError: A reference names a part that the value does not have.
    """
    names: dict[str, Any] = {}
    for name, resolve in guard.args:
        value = resolve(values)
        if value is SKIPPED or value is LOST:
            return "a name in its condition was skipped"
        names[name] = value
    if guard.expression is None:
        return True if names[""] else "its condition was not met"
    return True if guard.expression.evaluate(names) else f"its condition was not met: {guard.text}"
