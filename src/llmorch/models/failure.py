"""An error as the log keeps it: type name, text, ids and cause; and the way back to an exception."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from .. import errors
from .._redact import redact
from ..errors import LLMOrchError, StepError

__all__ = ["Failure", "failure_of"]

_KEPT = ("retry_after", "status", "provider", "model", "line", "text", "spend_limit")
_MAX_CAUSES = 8


@dataclass(frozen=True, slots=True)
class Failure:
    """A recorded error.

    Attributes:
        type: Class name, such as `RateLimited`; for errors that are not llmorch's, module and qualified name.
        text: Its message, without secrets.
        step: Path of the step it happened in.
        details: Ids and numbers the class carries, such as `status`.
        cause: What it was raised from.
        exception: The live exception with its traceback, in the process that saw it; not recorded.
    """

    type: str
    text: str
    step: str | None = None
    details: dict[str, str | int | float | bool | None] = field(
        default_factory=dict[str, str | int | float | bool | None]
    )
    cause: Failure | None = None
    exception: BaseException | None = field(default=None, compare=False, repr=False)

    def rebuild(self) -> LLMOrchError:
        """The error as an exception: the live one where it is at hand, else one made from the record."""
        if isinstance(self.exception, LLMOrchError):
            return self.exception
        kind = getattr(errors, self.type, None)
        if not (isinstance(kind, type) and issubclass(kind, LLMOrchError)):
            kind = StepError
        error: LLMOrchError = kind(self.text)
        error.step = self.step
        for name, value in self.details.items():
            if hasattr(error, name):
                setattr(error, name, value)
        if self.cause is not None:
            error.__cause__ = self.cause.rebuild()
        return error


def failure_of(error: BaseException, *, step: str | None = None) -> Failure:
    """Record an exception; its text names the step.

    What is no llmorch error becomes the cause of a `StepError`.
    """
    if not isinstance(error, LLMOrchError):
        said = _said(error)
        wrapped = StepError(f"Step {step!r} raised {type(error).__name__}: {said}" if step else said, step=step)
        wrapped.__cause__ = error
        error = wrapped
    elif step is not None:
        error = _named(error, step)
    return _recorded(error, 0)


def _said(error: BaseException) -> str:
    """The error's text, whatever its `__str__` does, with nothing in it that a log cannot hold."""
    try:
        text = str(error)
    except Exception as inner:  # a foreign class may fail at anything
        text = f"(its text cannot be had: {type(inner).__name__})"
    return text.encode("utf-8", "replace").decode("utf-8")


def _named(error: LLMOrchError, step: str) -> LLMOrchError:
    """The error saying which step it happened in; a copy when the same instance was raised in another step before."""
    text = error.message
    if error.step is not None and error.step != step:
        text = text.removeprefix(f"Step {error.step!r}: ")
        original, error = error, copy.copy(error)
        error.__cause__, error.__traceback__ = original.__cause__, original.__traceback__
    error.step = step
    shown = f"Step {step!r}"
    if shown not in text:
        text = f"{shown}: {text}"
    error.args = (text, *error.args[1:])
    return error


def _recorded(error: BaseException, depth: int) -> Failure:
    known = isinstance(error, LLMOrchError)
    cause = error.__cause__
    return Failure(
        type=type(error).__name__ if known else f"{type(error).__module__}.{type(error).__qualname__}",
        text=redact(_said(error)),
        step=error.step if isinstance(error, LLMOrchError) else None,
        details={
            name: redact(value) if isinstance(value, str) else value
            for name in _KEPT
            if known
            and isinstance(value := getattr(error, name, None), str | int | float | bool)
            and value not in ("", False)
        },
        cause=_recorded(cause, depth + 1) if cause is not None and depth < _MAX_CAUSES else None,
        exception=error,
    )
