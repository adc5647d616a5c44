"""What one step did, read from a run's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from ._clock import from_us
from .definition.actions import FunctionAction, PayloadAction, WorkflowAction
from .definition.fingerprint import function_fingerprint, payload_fingerprint, workflow_fingerprint
from .definition.value_types import action_type, step_type
from .engine.state.arguments import arguments
from .engine.state.run import RunState
from .engine.state.step import CallRecord, StepState
from .engine.steps.output import output_spec
from .errors import LLMOrchError
from .events import StepStatus
from .models.policy import Default
from .models.response import Response
from .models.usage import Usage
from .models.values import Data, copy_data
from .schema import validate

__all__ = ["CallSummary", "StepResult", "step_result"]


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One request of a step.

    Attributes:
        model: Full id, `provider:model`.
        cost: US dollars; None when unknown.
        duration: None when the request never ended.
    """

    call: int
    provider: str
    model: str
    usage: Usage | None
    cost: Decimal | None
    error: LLMOrchError | None
    duration: timedelta | None


@dataclass(frozen=True)
class StepResult:
    """What one step, or one item of a map, did.

    Attributes:
        value: In its declared type; None unless it succeeded or has a default.
        failures: For a map: item index -> error.
        reason: Why it was skipped, cancelled, or never started.
        calls: Its requests, in order.
    """

    path: str
    status: StepStatus = "pending"
    reason: str = ""
    error: LLMOrchError | None = None
    failures: dict[int, LLMOrchError] = field(default_factory=dict[int, LLMOrchError])
    calls: tuple[CallSummary, ...] = ()
    usage: Usage = Usage()
    cost: Decimal | None = Decimal(0)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cached: bool = False
    choice: str | None = None
    iterations: int | None = None
    finished: bool | None = None
    state: StepState | None = field(default=None, repr=False, compare=False)

    @property
    def has_default(self) -> bool:
        """It failed, and its policy gives it a value."""
        state = self.state
        return state is not None and isinstance(state.on_error, Default) and (state.owner is not None or state.map is None)

    @property
    def duration(self) -> timedelta | None:
        """From start to end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at

    @property
    def value(self) -> Any:
        """The value in its declared type, in a copy of its own."""
        state = self.state
        if state is None or (self.status != "succeeded" and not (self.status == "failed" and self.has_default)):
            return None
        data = copy_data(state.value)
        definition = state.step.definition
        kind = action_type(definition.action) if state.owner is not None else step_type(definition)
        return data if self.status == "failed" or kind in (None, Any, str) or data is None else validate(kind, data)

    @cached_property
    def response(self) -> Response[Any] | None:
        """The answer of a payload step that succeeded."""
        state = self.state
        if state is None or self.status != "succeeded" or not state.calls:
            return None
        action = state.step.definition.action
        if not isinstance(action, PayloadAction):
            return None
        return _response(state, action, self)

    @cached_property
    def fingerprint(self) -> str | None:
        """Hash of everything that determines the value; None for a step that never started."""
        state = self.state
        if state is None or state.started_us is None or state.map is not None:
            return None
        return state.fingerprint or _fingerprint(state)


def step_result(run: RunState, path: str, state: StepState | None) -> StepResult:
    """The result of the step of that path; `state` is None when it has no event."""
    if state is None or state.status == "pending":
        failed = run.error.step if run.error is not None else None
        reason = f"not started, because {failed!r} failed" if failed and run.finished_us is not None else ""
        if run.status == "cancelled":
            reason = "not started, because the run was cancelled"
        return StepResult(path, reason=reason, state=state)
    calls = tuple(_summary(call) for call in state.calls)
    below = _calls_below(state)
    usage = sum((call.usage for call in below if call.usage is not None), Usage())
    unpriced = any(call.usage is not None and call.cost is None for call in below)
    return StepResult(
        path,
        status=state.status,
        reason=state.reason,
        error=state.error.rebuild() if state.error is not None else None,
        failures=_item_failures(state),
        calls=calls,
        usage=usage,
        cost=None if unpriced else sum((call.cost for call in below if call.cost is not None), Decimal(0)),
        started_at=from_us(state.started_us) if state.started_us is not None else None,
        finished_at=from_us(state.finished_us) if state.finished_us is not None else None,
        cached=state.cached,
        state=state,
    )


def _calls_below(state: StepState) -> list[CallRecord]:
    calls = list(state.calls)
    for inner in state.map.items if state.map is not None else ():
        calls += _calls_below(inner) if inner is not None else ()
    for inner in state.child.steps if state.child is not None else ():
        calls += _calls_below(inner) if inner is not None else ()
    return calls


def _item_failures(state: StepState) -> dict[int, LLMOrchError]:
    items = state.map.items if state.map is not None else []
    return {index: item.error.rebuild() for index, item in enumerate(items) if item is not None and item.error is not None}


def _summary(call: CallRecord) -> CallSummary:
    took = timedelta(microseconds=call.finished_us - call.started_us) if call.finished_us is not None else None
    error = call.error.rebuild() if call.error is not None else None
    return CallSummary(call.call, call.provider, f"{call.provider}:{call.model}", call.usage, call.cost, error, took)


def _response(state: StepState, action: PayloadAction, result: StepResult) -> Response[Any]:
    last = state.calls[-1]
    text = last.answer.text if last.answer is not None and last.answer.text is not None else state.value
    ended = last.finished_us or last.started_us
    return Response(
        value=result.value,
        text=text if isinstance(text, str) else str(text),
        messages=tuple(action.payload.render_data(arguments(state))),
        usage=result.usage,
        cost=result.cost,
        finish_reason=last.finish_reason or "stop",
        model=f"{last.provider}:{last.model}",
        provider=last.provider,
        duration=timedelta(microseconds=ended - state.calls[0].started_us),
        calls=len(state.calls),
        cached=state.cached,
    )


def _fingerprint(state: StepState) -> str | None:
    action = state.step.definition.action
    args: dict[str, Data] = arguments(state)
    match action:
        case PayloadAction(payload=payload):
            return payload_fingerprint(
                payload.render_data(args), payload.model, payload.settings, output_schema=output_spec(payload).schema
            )
        case FunctionAction():
            return function_fingerprint(action, args)
        case WorkflowAction(definition=definition):
            return workflow_fingerprint(definition, args)
