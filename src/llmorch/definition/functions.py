"""Python functions as actions: what their signature says about binding, threads and retries."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast, overload

from ..models.context import RunContext
from ..models.policy import Retry
from ..models.tool import Tool
from ..schema import check_type
from .actions import FunctionAction, Param

__all__ = ["RunContext", "StepOptions", "function_action", "step"]

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__llmorch_step__"
_PLAIN = (str, int, float, bool, list, dict)


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What `@step` says about a function."""

    retry: Retry | None = None
    version: str | None = None
    pure: bool = False
    inline: bool = False


@overload
def step(function: F, /) -> F: ...
@overload
def step(
    *, retry: Retry | None = None, version: str | None = None, pure: bool = False, inline: bool = False
) -> Callable[[F], F]: ...
def step(
    function: F | None = None,
    /,
    *,
    retry: Retry | None = None,
    version: str | None = None,
    pure: bool = False,
    inline: bool = False,
) -> F | Callable[[F], F]:
    """Say how a function behaves as a step; the function itself is unchanged.

    Args:
        retry: Run it again when it raises; without it, it runs once.
        version: Stands for the source in the fingerprint: change it when the meaning changes.
        pure: It has no effect but its value, so its start need not be recorded before it runs.
        inline: Run a plain `def` on the event loop instead of a worker thread (it must be quick).

    Example:
        >>> @step(pure=True, inline=True)
        ... def words(text: str) -> int:
        ...     return len(text.split())
        >>> words("one two")
        2
    """

    def mark(target: F) -> F:
        setattr(target, _MARK, StepOptions(retry=retry, version=version, pure=pure, inline=inline))
        return target

    return mark if function is None else mark(function)


def function_action(function: Callable[..., Any]) -> FunctionAction:
    """The function as an action.

    Raises:
        TypeError: It cannot be inspected, or has positional-only parameters without a default.
    """
    if isinstance(function, Tool):
        function = cast("Tool[..., Any]", function).function  # a tool is called by its own signature here
    try:
        return _cached(function)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _inspected(function)


@lru_cache(maxsize=4096)
def _cached(function: Callable[..., Any]) -> FunctionAction:
    return _inspected(function)


def _inspected(function: Callable[..., Any]) -> FunctionAction:
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise TypeError(f"{function!r} has no signature to bind by; wrap it in a def") from error
    hints = _hints(function)
    params: list[Param] = []
    context: str | None = None
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY:
            if required:
                raise TypeError(f"{_name(function)} takes {name!r} by position only; steps are called by name")
            continue
        if hints.get(name) is RunContext:
            context = name
            continue
        params.append(Param(name, _checkable(hints.get(name)), required))
    options: StepOptions = getattr(function, _MARK, StepOptions())
    return FunctionAction(
        function=function,
        params=tuple(params),
        is_async=_is_async(function),
        typed=tuple(param for param in params if param.annotation not in (None, Any)),
        returns=_checkable(hints.get("return")),
        context=context,
        inline=options.inline,
        pure=options.pure,
        retry=options.retry,
        version=options.version,
    )


def _checkable(annotation: Any) -> Any:  # Any: a type, a union, anything an annotation can be
    """The annotation, or None when values cannot be checked against it."""
    if annotation is None or annotation is Any or annotation in _PLAIN:
        return annotation
    try:
        return check_type(annotation)
    except TypeError:
        return None


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  # the method itself is asked, for callable objects
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(_target(function))
    except (NameError, TypeError):  # a name that exists only for type checkers: bind without validation
        raw = getattr(_target(function), "__annotations__", {})
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


def _target(function: Callable[..., Any]) -> Any:  # Any: a function, or a callable object's method
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
