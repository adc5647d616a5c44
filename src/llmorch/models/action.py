"""The common base of everything a step can do."""

from __future__ import annotations

from typing import Any, Generic

from typing_extensions import TypeVar

__all__ = ["Action", "T_co"]

T_co = TypeVar("T_co", covariant=True, default=Any)


class Action(Generic[T_co]):
    """Something that can be placed in a workflow as a step and gives a `T`.

    Example:
        >>> isinstance(Payload("hello", "Say hello."), Action)
        True
    """
