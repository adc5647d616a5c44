"""What one step did, read from a run's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, cast

from ._clock import from_us
from ._json import dumps
from .definition.actions import CHOICE, DispatchAction, PayloadAction
from .definition.value_types import action_type, step_type
from .engine.fingerprints import fingerprint_or_none
from .engine.state.arguments import arguments
from .engine.state.frame import Frame
from .engine.state.run import RunState
from .engine.state.step import CallRecord, StepState, ToolRecord
from .engine.steps.conversation import conversation, rounds_of, turns_of
from .engine.steps.output import output_spec
from .engine.steps.tool_words import told_in_words
from .engine.steps.tools import tool_specs
from .errors import LLMOrchError
from .events import StepStatus
from .models.message import Message
from .models.policy import Default
from .models.response import Response
from .models.usage import Usage
from .models.values import copy_data
from .schema import validate

__all__ = ["CallSummary", "StepResult", "ToolSummary", "step_result"]


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """One use of a tool.

    Attributes:
        arguments: The JSON text the model wrote.
        result: The text the model was given; None when the tool failed the step or never ended.
        error: What went wrong, also when the model was told.
        duration: None when it never ended.
    """

    tool: str
    arguments: str
    result: str | None
    error: LLMOrchError | None
    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One request of a step.

    Attributes:
        model: Full id, `provider:model`.
        cost: US dollars; None when unknown.
        duration: None when the request never ended.
        tools: The tools its answer asked for.
    """

    call: int
    provider: str
    model: str
    usage: Usage | None
    cost: Decimal | None
    error: LLMOrchError | None
    duration: timedelta | None
    tools: tuple[ToolSummary, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """What one step, or one item of a map, did.

    Attributes:
        value: In its declared type; None unless it succeeded or has a default.
        failures: For a map: item index -> error.
        choice: For a dispatch: the key of the branch that was taken.
        iterations: For a loop: how many have ended.
        finished: For a loop: whether `until` was true in the end.
        reason: Why it was skipped, cancelled, or never started.
        calls: Its requests, in order.

    Example:
        >>> run = Workflow.of(Payload("hi", "Say hi.", model="offline:echo"), name="greet").run_sync()
        >>> run.steps["hi"].status
        'succeeded'
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
        if state is None or not isinstance(state.on_error, Default):
            return False
        return state.owner is not None or state.step.definition.map is None  # a map's policy is for its items

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
    def messages(self) -> tuple[Message, ...]:
        """The prompt of a payload step's last call, also when it failed; empty for other steps."""
        state = self.state
        if state is None or state.started_us is None or state.map is not None:
            return ()
        action = state.step.definition.action
        return _as_sent(state, action) if isinstance(action, PayloadAction) else ()

    @cached_property
    def response(self) -> Response[Any] | None:
        """The answer of a payload step that succeeded."""
        state = self.state
        if state is None or self.status != "succeeded" or state.map is not None:
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
        return state.fingerprint or fingerprint_or_none(state)


def step_result(state: StepState | None, path: str, *, run: RunState, frame: Frame | None = None) -> StepResult:
    """The result of the step of that path.

    Args:
        state: None when it has no event.
        frame: The workflow instance it belongs to, where there is one.
    """
    if state is None or state.status == "pending":
        return StepResult(path, reason=_why_pending(run, frame), state=state)
    calls = tuple(_summary(call, state.tools or ()) for call in state.calls)
    below = _calls_below(state, run)
    ended = [call.finished for call in below if call.finished is not None]
    usage = sum((end.usage for end in ended if end.usage is not None), Usage())
    usage = replace(usage, requests=len(below))
    unpriced = any(call.is_unknown for call in below) or any(end.usage and end.cost is None for end in ended)
    return StepResult(
        path,
        status=state.status,
        reason=state.reason,
        error=state.error.rebuild() if state.error is not None else None,
        failures=_item_failures(state),
        calls=calls,
        usage=usage,
        cost=None if unpriced else sum((end.cost for end in ended if end.cost is not None), Decimal(0)),
        started_at=from_us(state.started_us) if state.started_us is not None else None,
        finished_at=from_us(state.finished_us) if state.finished_us is not None else None,
        cached=state.cached,
        choice=_choice(state),
        iterations=state.loop.turned if state.loop is not None else None,
        finished=state.loop.finished if state.loop is not None else None,
        state=state,
    )


def _choice(state: StepState) -> str | None:
    if state.child is None or not isinstance(state.step.definition.action, DispatchAction):
        return None
    return cast("str", state.child.values[state.child.compiled.slots[CHOICE]])


def _why_pending(run: RunState, frame: Frame | None) -> str:
    failed = frame.failed_step if frame is not None else None
    if failed is not None:
        return f"not started, because {failed!r} failed"
    if run.status == "cancelled":
        return "not started, because the run was cancelled"
    if run.finished_us is not None and run.error is not None:
        return f"not started, because the run failed: {run.error.text}"
    return "not started" if run.finished_us is not None else ""


def _calls_below(state: StepState, run: RunState) -> list[CallRecord]:
    calls = list(state.calls)
    for turn in state.loop.items if state.loop is not None else ():
        calls += _calls_below(turn, run)
    for inner in state.map.items if state.map is not None else ():
        calls += _calls_below(inner, run) if inner is not None else ()
    for inner in state.child.inside(run.steps) if state.child is not None else ():
        calls += _calls_below(inner, run)
    return calls


def _item_failures(state: StepState) -> dict[int, LLMOrchError]:
    items = state.map.items if state.map is not None else []
    return {
        index: item.error.rebuild() for index, item in enumerate(items) if item is not None and item.error is not None
    }


def _summary(call: CallRecord, tools: Sequence[ToolRecord]) -> CallSummary:
    number, started, finished = call.number, call.started, call.finished
    used = tuple(_tool_summary(record) for record in tools if record.call == number)
    model = ":".join(call.model)
    if finished is None:
        return CallSummary(number, started.provider, model, None, None, None, None, used)
    took = timedelta(microseconds=finished.at_us - started.at_us)
    error = finished.error.rebuild() if finished.error is not None else None
    return CallSummary(number, started.provider, model, finished.usage, finished.cost, error, took, used)


def _tool_summary(record: ToolRecord) -> ToolSummary:
    took = timedelta(microseconds=record.finished_us - record.started_us) if record.finished_us is not None else None
    error = record.error.rebuild() if record.error is not None else None
    return ToolSummary(record.tool, record.arguments, record.result, error, took)


def _response(state: StepState, action: PayloadAction, result: StepResult) -> Response[Any]:
    answered = (call for call in reversed(state.calls) if call.answer is not None)
    last = next(answered, None)  # None: a hook or cache answered, and nothing was sent
    text = last.answer.text if last is not None and last.answer is not None else None
    if text is None:
        text = state.value if isinstance(state.value, str) else dumps(state.value)
    model = ":".join(last.model) if last is not None else action.payload.model or ""
    ended = last.finished if last is not None else None
    took = ended.at_us - state.calls[0].started.at_us if ended is not None else 0
    return Response(
        value=result.value,
        text=text,
        messages=_as_sent(state, action),
        usage=result.usage,
        cost=result.cost,
        finish_reason=(last.finish_reason if last is not None else None) or "stop",
        model=model,
        provider=model.partition(":")[0],
        duration=timedelta(microseconds=took),
        calls=state.call_count,
        cached=state.cached,
    )


def _as_sent(state: StepState, action: PayloadAction) -> tuple[Message, ...]:
    """The prompt of the last call, with what was put in words, the tools it had used and the repairs it had."""
    messages = tuple(action.payload.render_data(arguments(state)))
    if state.asked is None:
        return messages
    last, output = state.asked, output_spec(action.payload)
    if last.instructed:
        messages = output.instructed(messages)
    turns = turns_of(state, before=last.call)
    if last.tools_in_words and rounds_of(turns) < action.payload.max_tool_rounds:
        messages = told_in_words(messages, tool_specs(action.payload))
    return conversation(
        messages,
        turns,
        output,
        model=(last.provider, last.model),
        path=state.path,
        in_words=last.tools_in_words,
    )
