"""Progress of a run as plain lines of text."""

from __future__ import annotations

import sys
from typing import TextIO

from ..events import (
    CallFinished,
    CheckFinished,
    Event,
    MapExpanded,
    RunFinished,
    RunStarted,
    StepCancelled,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Warned,
)

__all__ = ["Progress"]


class Progress:
    """Prints a line when a step starts, ends or is tried again, and a summary at the end.

    Args:
        stream: Where to; default standard error, so that output can be piped.

    Example:
        >>> import io
        >>> Progress(io.StringIO()).stream.getvalue()
        ''
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._began_us: dict[tuple[str, str], int] = {}
        self._tokens: dict[tuple[str, str], int] = {}
        self._waits: dict[str, int] = {}

    async def on_event(self, event: Event) -> None:
        """Print what is worth a line."""
        line = self._line(event)
        if line is not None:
            began = self._waits.get(event.run_id, event.at_us)
            print(f"{(event.at_us - began) / 1e6:7.2f}s  {line}", file=self.stream, flush=True)
        if isinstance(event, RunFinished):
            self._forget(event.run_id)

    def _line(self, event: Event) -> str | None:
        match event:
            case RunStarted(workflow=workflow, run_id=run_id):
                self._waits[run_id] = event.at_us
                return f"run      {workflow}  ({run_id})"
            case StepStarted(step=step):
                self._began_us[event.run_id, step] = event.at_us
                return f"start    {step}"
            case MapExpanded(step=step, items=items):
                return f"items    {step}: {items}"
            case CallFinished(step=step, error=error) if error is not None:
                return f"retry?   {step}: {error.type}: {error.text}"
            case CallFinished(step=step, usage=usage) if usage is not None:
                key = event.run_id, step
                self._tokens[key] = self._tokens.get(key, 0) + usage.total_tokens
                return None
            case StepSucceeded(step=step):
                return f"done     {step}{self._took(event, step)}"
            case StepFailed(step=step, error=error):
                return f"FAILED   {step}{self._took(event, step)}: {error.text}"
            case _:
                return _rare(event)

    def _took(self, event: Event, step: str) -> str:
        key = event.run_id, step
        began, tokens = self._began_us.pop(key, None), self._tokens.pop(key, 0)
        words = [] if began is None else [f"{(event.at_us - began) / 1e6:.2f} s"]
        if tokens:
            words.append(f"{tokens} tokens")
        return f"  ({', '.join(words)})" if words else ""

    def _forget(self, run_id: str) -> None:
        self._waits.pop(run_id, None)
        for known in (self._began_us, self._tokens):
            for key in [key for key in known if key[0] == run_id]:
                del known[key]


def _rare(event: Event) -> str | None:
    match event:
        case StepSkipped(step=step, reason=reason):
            return f"skipped  {step}: {reason}"
        case StepCancelled(step=step):
            return f"stopped  {step}"
        case Warned(step=step, text=text):
            return f"warning  {step + ': ' if step else ''}{text}"
        case CheckFinished(check=check, passed=passed, detail=detail):
            return f"check    {check}: {'passed' if passed else 'FAILED'}{f' ({detail})' if detail else ''}"
        case RunFinished(status=status, usage=usage, cost=cost):
            money = "cost unknown" if cost is None else f"${cost:.4f}"
            return f"{status}  {usage.requests} calls, {usage.input_tokens} + {usage.output_tokens} tokens, {money}"
        case _:
            return None
