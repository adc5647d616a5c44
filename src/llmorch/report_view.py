"""What every form of a report is made of: steps with their prompts, and figures as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .definition.actions import (
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from .definition.workflow import WorkflowDef
from .engine.state.arguments import arguments
from .errors import LLMOrchError, RunFailed, RunNotFinished
from .models.message import Message, Text
from .models.values import Data, to_data
from .planner.draw import to_mermaid
from .planner.ranges import usd
from .step_result import StepResult

if TYPE_CHECKING:
    from .run import Run

__all__ = [
    "StepView",
    "chain",
    "check_views",
    "clock_time",
    "content_of",
    "diagram",
    "output_data",
    "shortened",
    "span",
    "spent",
    "step_views",
    "tokens",
]


@dataclass(frozen=True, slots=True)
class StepView:
    """A step as a report shows it.

    Attributes:
        kind: `payload`, `function`, `script`, `question`, `workflow`, `map`, `loop` or `dispatch`.
        messages: The prompt as sent; empty for what is no payload or never started.
        text: The answer of a payload as the model wrote it.
        value: What the step gave, as data; None for containers, whose children hold it.
    """

    result: StepResult
    kind: str
    messages: tuple[Message, ...] = ()
    text: str | None = None
    value: Data = None

    @property
    def question(self) -> str | None:
        """What a person was asked last about the step."""
        state = self.result.state
        return None if state is None or state.question is None else state.question.question

    @property
    def model(self) -> str:
        """The model of its last call or of the answer in the cache, or nothing."""
        if self.result.calls:
            return self.result.calls[-1].model
        response = self.result.response if self.result.cached else None
        return response.model if response is not None else ""


def step_views(run: Run[Any]) -> Iterator[StepView]:
    """Every step of a run in plan order, nested steps and map items after the step that holds them."""
    return (_view(result) for result in run.steps.values())


def check_views(run: Run[Any]) -> Iterator[StepView]:
    """The calls that judged checks made, in the order of the checks."""
    return (_view(found.asked) for found in run.checks.values() if found.asked is not None)


def _view(result: StepResult) -> StepView:
    state = result.state
    if state is None:
        return StepView(result, "step")
    if state.map is not None:
        return StepView(result, "map")
    match state.step.definition.action:
        case PayloadAction():
            response = result.response
            if response is not None:
                value = None if isinstance(response.value, str) else to_data(response.value)
                return StepView(result, "payload", response.messages, response.text, value)
            return StepView(result, "payload", _prompt(result), value=to_data(result.value))
        case FunctionAction():
            return StepView(result, "function", value=to_data(result.value))
        case WorkflowAction():
            return StepView(result, "workflow")
        case ScriptAction() | QuestionAction() as leaf:
            kind = "script" if isinstance(leaf, ScriptAction) else "question"
            return StepView(result, kind, value=to_data(result.value))
        case LoopAction() | DispatchAction() as container:
            return StepView(result, "loop" if isinstance(container, LoopAction) else "dispatch")


def _prompt(result: StepResult) -> tuple[Message, ...]:
    """The prompt of a payload that has no response, as far as it can be rendered."""
    state = result.state
    if state is None or state.started_us is None:
        return ()
    action = state.step.definition.action
    if not isinstance(action, PayloadAction):
        return ()
    try:
        return tuple(action.payload.render_data(arguments(state)))
    except LLMOrchError:  # the step failed on this very template, and its error says so
        return ()


def output_data(run: Run[Any]) -> Data:
    """The run's output as data; None when it has none."""
    try:
        return to_data(run.output)
    except (RunFailed, RunNotFinished):
        return None


def diagram(run: Run[Any]) -> str:
    """The run's workflow as a mermaid flowchart."""
    definition: WorkflowDef = run._state.definition  # pyright: ignore[reportPrivateUsage]  # no other face needs it
    return to_mermaid(definition)


def content_of(message: Message) -> str:
    """A message as text; parts that are no text are named, and tool calls written as `name(arguments)`."""
    if isinstance(message.content, str):
        lines = [message.content] if message.content or not message.tool_calls else []
    else:
        lines = [
            part.text if isinstance(part, Text) else f"[{type(part).__name__}: {part.media_type}]"
            for part in message.content
        ]
    lines += [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(lines)


def chain(error: BaseException) -> list[str]:
    """An error and its causes, each as `Type: text`, without what was said before."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        line = f"{type(current).__name__}: {current}"
        if not any(line in known for known in lines):
            lines.append(line)
        current = current.__cause__
    return lines


def shortened(text: str, most: int | None) -> tuple[str, int]:
    """The beginning of a text and how many characters are left out of it; `most` None leaves nothing out."""
    if most is None or len(text) <= most:
        return text, 0
    return text[:most], len(text) - most


def span(duration: timedelta | None) -> str:
    """A duration for people: `12 ms`, `3.4 s`, `2 min 5 s`, or nothing."""
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def spent(cost: Decimal | None) -> str:
    """US dollars for people; `unknown` for None."""
    return "unknown" if cost is None else f"${usd(cost)}"


def tokens(used_in: int, used_out: int) -> str:
    """Tokens in and out, or nothing when none were used."""
    return f"{used_in:,} + {used_out:,}" if used_in or used_out else ""


def clock_time(moment: datetime | None) -> str:
    """A moment to the second, UTC, or a dash."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
