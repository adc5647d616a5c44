"""Each event of a run as a line of the standard logging module."""

from __future__ import annotations

import logging

from .._redact import redact
from ..events import CallFinished, Event, RunFinished, StepFailed, Warned

__all__ = ["Logging"]


class Logging:
    """Logs events: failures as errors, warnings as warnings, ends of runs as info, the rest as debug.

    Args:
        logger: Where to; default the logger `llmorch.runs`.

    Example:
        >>> Logging(logging.getLogger("my.app")).logger.name
        'my.app'
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self.logger = logger or logging.getLogger("llmorch.runs")

    async def on_event(self, event: Event) -> None:
        """Log one event; its ids are in the record's `run_id`, `event` and `seq`."""
        level = _level(event)
        if self.logger.isEnabledFor(level):
            ids = {"run_id": event.run_id, "event": type(event).__name__, "seq": event.seq}
            self.logger.log(level, "%s", redact(describe(event)), extra=ids)


def _level(event: Event) -> int:
    if isinstance(event, StepFailed) or (isinstance(event, RunFinished) and event.status == "failed"):
        return logging.ERROR
    if isinstance(event, Warned) or (isinstance(event, CallFinished) and event.error is not None):
        return logging.WARNING
    return logging.INFO if isinstance(event, RunFinished) else logging.DEBUG


def describe(event: Event) -> str:
    """One line for an event: what, where, and the error if there is one; no prompt or answer text."""
    words = [type(event).__name__]
    for name in ("workflow", "step", "call", "items", "model", "status", "reason", "code", "text"):
        value = getattr(event, name, None)
        if value not in (None, ""):
            words.append(f"{name}={value}")
    error = getattr(event, "error", None)
    if error is not None:
        words.append(f"error={error.type}: {error.text}")
    return " ".join(words)
