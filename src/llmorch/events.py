"""One log for everything: the events of a run.

The same ordered log is the crash journal, the stream a caller iterates, the source of progress, traces and reports,
and the cost ledger. Events are plain slotted dataclasses, built once; the journal sets `run_id`, `at_us` and `seq`.
`StepDelta` is live only: it has `seq=None` and is never stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from ._clock import from_us
from .models.failure import Failure
from .models.message import ToolCall
from .models.usage import Usage
from .models.values import Data

__all__ = [
    "Answer",
    "CallFinished",
    "CallStarted",
    "CheckFinished",
    "Event",
    "LoopTurned",
    "MapExpanded",
    "RunCancelRequested",
    "RunFinished",
    "RunResumed",
    "RunStarted",
    "RunStatus",
    "RunWaiting",
    "StepAnswered",
    "StepCancelled",
    "StepDelta",
    "StepFailed",
    "StepSkipped",
    "StepStarted",
    "StepStatus",
    "StepSucceeded",
    "StepWaiting",
    "ToolFinished",
    "ToolStarted",
    "Warned",
]

RunStatus = Literal["running", "waiting", "interrupted", "succeeded", "partial", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "waiting", "succeeded", "failed", "skipped", "cancelled"]


@dataclass(slots=True, kw_only=True)
class Event:
    """What all events carry.

    Attributes:
        run_id: The run's id.
        at_us: When it happened, in microseconds UTC; `at` is the same as a datetime.
        seq: Place in the log, from 1 without gaps; None for what is live only.
    """

    run_id: str = ""
    at_us: int = 0
    seq: int | None = None

    @property
    def at(self) -> datetime:
        """When it happened, UTC."""
        return from_us(self.at_us)


@dataclass(slots=True)
class RunStarted(Event):
    """A run began. `definition` is the sha of the stored definition, `timeout` in seconds."""

    workflow: str
    definition: str | None = None
    inputs: Mapping[str, Data] = field(default_factory=dict[str, Any])
    forked_from: str | None = None
    budget: Mapping[str, Data] | None = None
    timeout: float | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Data] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class RunResumed(Event):
    """A process went on with a run; `reset` are the paths that run again."""

    epoch: int
    reset: tuple[str, ...] = ()
    budget: Mapping[str, Data] | None = None


@dataclass(slots=True)
class RunCancelRequested(Event):
    """Somebody asked the run to stop."""


@dataclass(slots=True)
class StepStarted(Event):
    """A step began."""

    step: str
    fingerprint: str | None = None


@dataclass(slots=True)
class CallStarted(Event):
    """A request is about to be sent; committed before its first byte.

    `estimate` (US dollars) and `reserved_tokens` are what a budget sets aside for it. `instructed` says that the output
    schema was put into the prompt in words, because the model has no structured output of its own, and
    `tools_in_words` that tools and their results are.
    """

    step: str
    call: int
    provider: str
    model: str
    estimate: Decimal | None = None
    instructed: bool = False
    reserved_tokens: int | None = None
    tools_in_words: bool = False


@dataclass(slots=True)
class Answer:
    """What a call brought back and the next round needs; `text` is None where `StepSucceeded.value` is that text."""

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    vendor: Mapping[str, Data] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class CallFinished(Event):
    """A request ended. `not_before` (microseconds UTC) says when the next try may start, after a failure."""

    step: str
    call: int
    error: Failure | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    finish_reason: str | None = None
    answer: Answer | None = None
    not_before: int | None = None


@dataclass(slots=True)
class ToolStarted(Event):
    """A tool is about to run; committed before it does."""

    step: str
    call: int
    id: str
    tool: str
    arguments: str


@dataclass(slots=True)
class ToolFinished(Event):
    """A tool ended; `result` is the text the model is given."""

    step: str
    call: int
    id: str
    tool: str
    result: str | None = None
    error: Failure | None = None


@dataclass(slots=True)
class StepDelta(Event):
    """A piece of an answer while it is written; live only, merged for slow readers.

    `offset` counts characters of this call's text before the piece. A higher `call` replaces the text of the former.
    """

    step: str
    call: int
    offset: int
    text: str


@dataclass(slots=True)
class MapExpanded(Event):
    """A map knows its width."""

    step: str
    items: int


@dataclass(slots=True)
class LoopTurned(Event):
    """An iteration of a loop ended."""

    step: str
    iteration: int
    finished: bool
    carried: Mapping[str, Data] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class StepWaiting(Event):
    """A question is open; `schema` is what its answer must satisfy, `deadline` in microseconds UTC.

    `about` says what is asked: `step`, the question that the step itself is; `tool`, whether the tool use of id `use`,
    which the request `call` asked for, may go on; `unknown`, what to do with a step that was in flight when its process
    ended.
    """

    step: str
    question: str
    schema: Mapping[str, Data] = field(default_factory=dict[str, Any])
    deadline: int | None = None
    about: Literal["step", "tool", "unknown"] = "step"
    call: int = 0
    use: str | None = None


@dataclass(slots=True)
class StepAnswered(Event):
    """A question has its answer."""

    step: str
    value: Data
    by: str | None = None


@dataclass(slots=True)
class StepSucceeded(Event):
    """A step has its value; containers record None, their children hold it."""

    step: str
    value: Data = None
    cached: bool = False
    copied_from: str | None = None


@dataclass(slots=True)
class StepSkipped(Event):
    """A step will not run; `reason` says why."""

    step: str
    reason: str = ""


@dataclass(slots=True)
class StepFailed(Event):
    """A step ended with an error."""

    step: str
    error: Failure


@dataclass(slots=True)
class StepCancelled(Event):
    """A step was stopped before it ended; `within` is the step around it whose stop it was part of, if any."""

    step: str
    reason: str = ""
    within: str | None = None


@dataclass(slots=True)
class Warned(Event):
    """Something the reader of the run should know; `code` is one of a fixed list."""

    step: str | None
    code: str
    text: str


@dataclass(slots=True)
class CheckFinished(Event):
    """An assertion over the run was asked."""

    check: str
    passed: bool
    detail: str = ""


@dataclass(slots=True)
class RunWaiting(Event):
    """Nothing can go on until somebody answers; `questions` are step paths."""

    questions: tuple[str, ...]


@dataclass(slots=True)
class RunFinished(Event):
    """The run ended. `cost` is None when a price is unknown."""

    status: RunStatus
    error: Failure | None = None
    usage: Usage = Usage()
    cost: Decimal | None = None
