"""A run as plain JSON data."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ._clock import from_us
from .events import StepWaiting
from .models.message import Message
from .models.usage import Usage
from .models.values import Data, to_data
from .report_view import StepView, check_views, output_data, step_views
from .step_result import CallSummary

if TYPE_CHECKING:
    from .run import Run

__all__ = ["as_dict"]


def as_dict(run: Run[Any]) -> dict[str, Data]:
    """Everything a run tells, as JSON data, nothing shortened.

    Moments are ISO 8601 in UTC, durations seconds, money text in US dollars (None when a price is unknown), steps in
    plan order by path.

    Example:
        >>> run = Workflow.of(Payload("hi", "Say hi.", model="offline:echo"), name="greet").run_sync()
        >>> as_dict(run)["steps"]["hi"]["text"]
        'Say hi.'
    """
    return {
        "id": run.id,
        "workflow": run.workflow,
        "status": run.status,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        "duration_s": _seconds(run.duration),
        "inputs": run.inputs,
        "output": output_data(run),
        "error": _error(run.error),
        "usage": _usage(run.usage),
        "cost": _money(run.cost),
        "priced_cost": _money(run.priced_cost),
        "unpriced_calls": run.unpriced_calls,
        "tags": list(run.tags),
        "metadata": run.metadata,
        "steps": {view.result.path: _step(view) for view in step_views(run)},
        "checks": {found.name: {"passed": found.passed, "detail": found.detail} for found in run.checks.values()},
        "asked": {view.result.path: _step(view) for view in check_views(run)},
        "questions": [_question(asked) for asked in run.questions],
        "failures": {path: _error(error) for path, error in run.failures.items()},
        "warnings": [{"step": found.step, "code": found.code, "text": found.text} for found in run.warnings],
    }


def _question(asked: StepWaiting) -> dict[str, Data]:
    return {
        "step": asked.step,
        "question": asked.question,
        "schema": to_data(asked.schema),
        "deadline": None if asked.deadline is None else _moment(from_us(asked.deadline)),
        "about": asked.about,
    }


def _step(view: StepView) -> dict[str, Data]:
    result = view.result
    return {
        "kind": view.kind,
        "status": result.status,
        "reason": result.reason,
        "messages": [_message(message) for message in view.messages],
        "text": view.text,
        "question": view.question,
        "value": view.value if view.value is not None else view.text,
        "error": _error(result.error),
        "failures": {str(index): _error(error) for index, error in result.failures.items()},
        "calls": [_call(call) for call in result.calls],
        "usage": _usage(result.usage),
        "cost": _money(result.cost),
        "started_at": _moment(result.started_at),
        "finished_at": _moment(result.finished_at),
        "duration_s": _seconds(result.duration),
        "cached": result.cached,
    }


def _call(call: CallSummary) -> dict[str, Data]:
    return {
        "call": call.call,
        "model": call.model,
        "usage": _usage(call.usage) if call.usage is not None else None,
        "cost": _money(call.cost),
        "error": _error(call.error),
        "duration_s": _seconds(call.duration),
        "tools": [
            {
                "tool": used.tool,
                "arguments": used.arguments,
                "result": used.result,
                "error": _error(used.error),
                "duration_s": _seconds(used.duration),
            }
            for used in call.tools
        ],
    }


def _message(message: Message) -> Data:
    return message.model_dump(mode="json", exclude_defaults=True, exclude={"vendor"})


def _usage(usage: Usage) -> dict[str, Data]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "requests": usage.requests,
    }


def _error(error: BaseException | None) -> dict[str, Data] | None:
    if error is None:
        return None
    cause = error.__cause__
    return {
        "type": type(error).__name__,
        "text": str(error),
        "step": getattr(error, "step", None),
        "cause": _error(cause) if cause is not error else None,
    }


def _money(cost: object) -> str | None:
    return None if cost is None else str(cost)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
