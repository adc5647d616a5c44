"""What a function is told about the run it works for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["RunContext"]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a function step or a tool is given for a parameter annotated with this class.

    Attributes:
        run_id: The run's id.
        step: The step's path.
        deps: What the orchestrator was given as `deps=`.

    Example:
        >>> async def shout(text: str, context: RunContext) -> str:
        ...     return f"{context.step}: {text.upper()}"
    """

    run_id: str
    step: str
    deps: Any = None  # Any: the application's own object
