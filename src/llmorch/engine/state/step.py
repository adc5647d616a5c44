"""The state of one step, map item or nested workflow's step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...definition.workflow import OnError
from ...events import Answer, CallFinished, CallStarted, StepStatus, StepWaiting
from ...models.failure import Failure
from ...models.values import Data
from ...planner.compile import CompiledStep

if TYPE_CHECKING:
    from anyio import CancelScope

    from .frame import Frame

__all__ = ["OVERDUE", "CallRecord", "LoopState", "MapState", "StepState", "Stop", "ToolRecord", "is_unknown"]

OVERDUE = "its container took too long"


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a step is being cancelled.

    Attributes:
        within: Path of the step around it that is being stopped, if it is not stopped alone.
    """

    reason: str
    within: str | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether it is a container whose time is up; what stands in it is only cancelled."""
        return self.within is None and self.reason == OVERDUE


@dataclass(slots=True)
class CallRecord:
    """One request of a step: the events of the log that tell it, not what they say once more.

    Attributes:
        finished: None while it runs.
        is_lost: Its end will never be known.
    """

    started: CallStarted
    finished: CallFinished | None = None
    is_lost: bool = False

    @property
    def number(self) -> int:
        """Counts the step's requests from 1."""
        return self.started.call

    @property
    def model(self) -> tuple[str, str]:
        """Provider and model that were asked."""
        return self.started.provider, self.started.model

    @property
    def answer(self) -> Answer | None:
        """What it brought back; None while it runs, and when it failed."""
        finished = self.finished
        return finished.answer if finished is not None and finished.error is None else None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None while it runs, and when it failed."""
        return None if self.finished is None else self.finished.finish_reason

    @property
    def is_unknown(self) -> bool:
        """Whether it may have been billed and nobody knows how much: no end, or cut before the answer was whole."""
        return is_unknown(self.finished)


def is_unknown(end: CallFinished | None) -> bool:
    """Whether nobody knows what a request cost that has this end, or none."""
    if end is None:
        return True
    return end.usage is None and end.error is not None and end.error.type in ("TimedOut", "StreamTruncated")


@dataclass(slots=True)
class ToolRecord:
    """One use of a tool, as the log tells it.

    Attributes:
        call: Number of the request whose answer asked for it.
        arguments: The JSON text the model wrote.
        result: The text the model is given; None while it runs, and when it failed the step.
        finished_us: None while it runs.
    """

    call: int
    id: str
    tool: str
    arguments: str
    started_us: int
    finished_us: int | None = None
    result: str | None = None
    error: Failure | None = None


@dataclass(slots=True)
class MapState:
    """The items of a map.

    Attributes:
        next: Index of the first item not yet handed out.
        active: Items that have started and not ended.
        closed: No further item starts.
        args: What the items are run with; worked out again from the frame when it is None.
    """

    items: list[StepState | None]
    limit: int | None
    next: int = 0
    active: int = 0
    done: int = 0
    failed: int = 0
    closed: bool = False
    failure: Failure | None = None
    args: dict[str, Data] | None = None


@dataclass(slots=True)
class LoopState:
    """The iterations of a loop.

    Attributes:
        items: Those that have begun.
        turned: How many have ended and been judged.
        finished: `until` was true.
        closed: No further iteration starts.
        carried: What the inputs are replaced by in each iteration after the first.
    """

    items: list[StepState] = field(default_factory=list["StepState"])
    turned: int = 0
    finished: bool = False
    closed: bool = False
    carried: list[Mapping[str, Data]] = field(default_factory=list[Mapping[str, Data]])


@dataclass(slots=True, eq=False)
class StepState:
    """A step of a frame, an item of a map or an iteration of a loop (`item` is then its index, `owner` what holds it).

    Attributes:
        ended: Seq of the event that ended it: several may end in one microsecond.
        asked: Its last request; `answered` is how that ended, `is_lost` says that its end will never be known. Most
            steps make one request or none, and a record of it would be one more object for each.
        former: The requests before the last.
        tools: Its uses of tools, once there is one.
        since: How many of its calls were made before the run was taken up again.
        args: What its action is run with, once worked out.
        child: The frame of a nested workflow.
        scope: Cancels the step alone; only where something may want to.
        stopping: Why it is being cancelled, once it is.
        question: The question it asks, or has asked last.
        granted: Request and id of a tool use -> what a person said to it; a model may give an id twice.
        people_us: How long people had its questions before they answered, in microseconds.
    """

    path: str
    step: CompiledStep
    frame: Frame
    item: int | None = None
    owner: StepState | None = None
    status: StepStatus = "pending"
    value: Data = None
    error: Failure | None = None
    reason: str = ""
    fingerprint: str | None = None
    started_us: int | None = None
    finished_us: int | None = None
    ended: int = 0
    cached: bool = False
    asked: CallStarted | None = None
    answered: CallFinished | None = None
    is_lost: bool = False
    former: tuple[CallRecord, ...] = ()
    tools: list[ToolRecord] | None = None
    since: int = 0
    map: MapState | None = None
    child: Frame | None = None
    args: dict[str, Any] | None = None
    scope: CancelScope | None = None
    stopping: Stop | None = None
    loop: LoopState | None = None
    question: StepWaiting | None = None
    granted: dict[tuple[int, str], Data] | None = None
    people_us: int = 0

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Its requests in order."""
        if self.asked is None:
            return ()
        return (*self.former, CallRecord(self.asked, self.answered, self.is_lost))

    @property
    def call_count(self) -> int:
        """How many requests it has made."""
        return 0 if self.asked is None else self.asked.call

    @property
    def is_asking(self) -> bool:
        """Whether it is in the middle of a request, as far as the log tells."""
        return self.asked is not None and self.answered is None

    @property
    def is_container(self) -> bool:
        """Whether it is only what stands inside it."""
        return self.map is not None or self.child is not None or self.loop is not None

    def tool_result(self, call: int, use: str) -> str | None:
        """What the tool use of that id gave the last time it ran, or None when that is not known."""
        for record in reversed(self.tools or ()):
            if record.call == call and record.id == use:
                return record.result
        return None

    @property
    def on_error(self) -> OnError:
        """The policy that decides what a failure of this step means."""
        return self.step.on_error

    @property
    def is_stoppable(self) -> bool:
        """Whether something may cancel it, or what runs inside it, alone."""
        step = self.step
        if step.cancellable or step.definition.timeout is not None or self.frame.stoppable:
            return True
        owner = self.owner
        return owner is not None and owner.step is not step and owner.is_stoppable  # an iteration of a loop
