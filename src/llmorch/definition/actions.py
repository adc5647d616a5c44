"""What a step can do: a closed union. Adding a kind touches document, checks, estimate, draw and engine/steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..models.payload import Payload
from ..models.policy import Retry

if TYPE_CHECKING:
    from .workflow import WorkflowDef

__all__ = ["ActionDef", "FunctionAction", "Param", "PayloadAction", "WorkflowAction"]


@dataclass(frozen=True, slots=True)
class PayloadAction:
    """One LLM call."""

    payload: Payload[Any]


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a function step that binds by name.

    Attributes:
        annotation: Its type, or None where it has none.
        required: It has no default.
    """

    name: str
    annotation: Any  # Any: a type, a union, anything an annotation can be
    required: bool


@dataclass(frozen=True, slots=True)
class FunctionAction:
    """A Python function.

    Attributes:
        typed: The parameters whose annotation asks for a type.
        is_async: `async def` runs on the loop, `def` in a worker thread unless `inline`.
        context: Parameter that receives the RunContext, if any.
        returns: The return annotation, or None.
        pure: Its start need not be recorded before it runs.
        version: Stands for the source in the fingerprint, if given.
    """

    function: Callable[..., Any]
    params: tuple[Param, ...]
    is_async: bool
    typed: tuple[Param, ...] = ()
    returns: Any = None  # Any: a type, a union, anything an annotation can be
    context: str | None = None
    inline: bool = False
    pure: bool = False
    retry: Retry | None = None
    version: str | None = None

    @property
    def address(self) -> str:
        """Module and qualified name."""
        return f"{getattr(self.function, '__module__', '?')}:{getattr(self.function, '__qualname__', '?')}"

    @property
    def is_portable(self) -> bool:
        """Whether another process can find the function by its address."""
        return "<" not in self.address and not self.address.startswith("__main__:") and not _is_bound(self.function)


def _is_bound(function: Callable[..., Any]) -> bool:
    owner = getattr(function, "__self__", None)  # a built-in function's is its module
    return not inspect.isroutine(function) or not (owner is None or inspect.ismodule(owner))


@dataclass(frozen=True, slots=True)
class WorkflowAction:
    """A workflow as a step of another."""

    definition: WorkflowDef


ActionDef = PayloadAction | FunctionAction | WorkflowAction
