"""The fold: a run's state after each event of its log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from ...definition.workflow import WorkflowDef
from ...events import (
    CheckFinished,
    Event,
    RunCancelRequested,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStatus,
    StepCancelled,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepWaiting,
    Warned,
)
from ...models.failure import Failure
from ...models.policy import Budget, Default
from ...models.usage import Tally, Usage
from ...models.values import Data, to_data
from ...planner.compile import Compiled, compiled
from ...planner.resolve import LOST, SKIPPED, Mark
from ...policies.budget import Ledger
from ...policies.cache import Slots
from .arguments import map_result, opened_inputs
from .calls import CALL_FOLDS, lose_call, take_up
from .frame import Frame, Ready
from .loops import LOOP_FOLDS, end_iteration, loop_result, open_loop
from .maps import MAP_FOLDS, end_item
from .questions import QUESTION_FOLDS, close_question
from .step import StepState, Stop
from .stop import shut

__all__ = ["FOLDS", "RunState"]

_SEGMENT = re.compile(r"([^\[\]@]+)(?:\[(\d+)\]|@(\d+))?")


FOLDS: dict[type[Event], Callable[[Any, Any], None]] = {
    **CALL_FOLDS,
    **LOOP_FOLDS,
    **MAP_FOLDS,
    **QUESTION_FOLDS,
}  # Any: the state, and an event of the key's class
F = TypeVar("F", bound=Callable[..., None])


def _on(kind: type[Event]) -> Callable[[F], F]:
    """Register a method as the fold of one class of events."""

    def register(fold: F) -> F:
        FOLDS[kind] = fold
        return fold

    return register


class RunState:
    """What the log says so far.

    Attributes:
        ready: What can be done now: `(frame, step index)`, `(map, item index)`, or either with `END` when it is over.
        steps: Every step that has an event, by path.
        failed: How many steps have failed, at any depth.
        ledger: What the run has spent and set aside, when it has a budget.
        slots: How often each answer was asked of the cache, once one was.
        questions: Path -> the question that is open there, once there was one.
        spent_us: How long it was carried out before it last waited for people, in microseconds; `since_us` is when it
            went on.
        judges: The frame of the steps that ask models about the run, once one is needed.
        checks: What was found of each check, by its name, once one was asked.
    """

    __slots__ = (
        "cancel_requested", "checks", "definition", "error", "failed", "finished_us", "forked_from", "inputs", "judges",
        "ledger", "metadata", "priced_cost", "questions", "ready", "run_id", "since_us", "slots", "spent_us",
        "started_us", "status", "steps", "tags", "tally", "timeout", "top", "unpriced_calls", "warnings",
    )  # fmt: skip

    def __init__(self, definition: WorkflowDef, *, run_id: str = "") -> None:
        self.definition = definition
        self.run_id = run_id
        self.status: RunStatus = "running"
        self.inputs: Mapping[str, Data] = {}
        self.tags: tuple[str, ...] = ()
        self.metadata: Mapping[str, Data] = {}
        self.forked_from: str | None = None
        self.timeout: float | None = None
        self.started_us = 0
        self.finished_us: int | None = None
        self.ready = Ready()
        self.steps: dict[str, StepState] = {}
        self.top: Frame | None = None
        self.failed = 0
        self.tally = Tally()
        self.priced_cost = Decimal(0)
        self.unpriced_calls = 0
        self.warnings: list[Warned] | None = None  # most runs have none
        self.error: Failure | None = None
        self.cancel_requested = False
        self.ledger: Ledger | None = None
        self.slots: Slots | None = None
        self.questions: dict[str, StepWaiting] | None = None
        self.since_us = 0
        self.spent_us = 0
        self.judges: Frame | None = None
        self.checks: dict[str, CheckFinished] | None = None

    @property
    def frame(self) -> Frame:
        """The top workflow's frame."""
        assert self.top is not None, "the log has no RunStarted"
        return self.top

    @property
    def usage(self) -> Usage:
        """Tokens and requests so far; a call's request counts when it starts, so that one that fails counts too."""
        return self.tally.usage()

    @property
    def cost(self) -> Decimal | None:
        """US dollars so far; None when the price of a call is unknown."""
        return None if self.unpriced_calls else self.priced_cost

    def apply(self, event: Event) -> None:
        """Take one event in."""
        fold = FOLDS.get(type(event))
        if fold is not None:
            fold(self, event)

    def begin(self, frame: Frame, index: int) -> StepState:
        """The state of a step of a frame, made when it is first needed."""
        step = frame.compiled.steps[index]
        path = frame.prefix + step.name
        found = self.steps.get(path)
        if found is None:
            found = self.steps[path] = StepState(path, step, frame)
        return found

    def begin_iteration(self, owner: StepState, index: int) -> StepState:
        """The state of an iteration of a loop, made when it is first needed."""
        assert owner.loop is not None
        assert owner.step.body is not None
        items = owner.loop.items
        if index == len(items):
            items.append(StepState(f"{owner.path}@{index}", owner.step.body, owner.frame, index, owner))
            self.steps[items[index].path] = items[index]
        return items[index]

    def begin_item(self, owner: StepState, index: int) -> StepState:
        """The state of an item of a map, made when it is first needed."""
        assert owner.map is not None
        found = owner.map.items[index]
        if found is None:
            found = StepState(f"{owner.path}[{index}]", owner.step, owner.frame, index, owner)
            owner.map.items[index] = found
            self.steps[found.path] = found
        return found

    def at(self, path: str) -> StepState:
        """The state of the step of that path, made where the log names it for the first time.

        Raises:
            KeyError: The definition has no such step.
        """
        found = self.steps.get(path)
        return _placed(self, path) if found is None else found

    @_on(RunStarted)
    def _run_started(self, event: RunStarted) -> None:
        self.run_id = event.run_id
        self.inputs = event.inputs
        self.started_us = self.since_us = event.at_us
        self.timeout = event.timeout
        self.tags = event.tags
        self.metadata = event.metadata
        self.forked_from = event.forked_from
        self.top = Frame(compiled(self.definition), ready=self.ready, inputs=dict(event.inputs))
        if event.budget is not None:
            self.ledger = Ledger(Budget.model_validate(dict(event.budget)))

    @_on(RunResumed)
    def _run_resumed(self, event: RunResumed) -> None:
        self.status = "running"
        self.since_us = event.at_us
        take_up(self, event)

    @_on(StepStarted)
    def _step_started(self, event: StepStarted) -> None:
        state = self.steps.get(event.step) or self.at(event.step)  # most are there
        state.status = "running"
        state.started_us = event.at_us
        state.fingerprint = event.fingerprint
        if state.owner is None:
            state.frame.active += 1
        elif state.owner.map is not None:
            state.owner.map.active += 1
        step = state.step
        if step.body is not None:
            open_loop(self, state)
        elif step.child is not None and (step.definition.map is None or state.owner is not None):
            self._open(state, step.child)

    def _open(self, state: StepState, child: Compiled) -> None:
        inputs = opened_inputs(state, child.definition)
        state.child = Frame(child, ready=self.ready, inputs=inputs, prefix=state.path + "/", parent=state)

    @_on(StepSucceeded)
    def _step_succeeded(self, event: StepSucceeded) -> None:
        state = self.steps.get(event.step) or self.at(event.step)
        value = event.value
        if state.child is not None:
            value = state.child.result()
        elif state.map is not None:
            value = map_result(state)
        elif state.loop is not None:
            value = loop_result(state)
        elif state.status == "waiting":
            value = state.value  # it stands in StepAnswered
        state.value = value
        state.cached = event.cached
        self._end(state, event, "succeeded", value)

    @_on(StepSkipped)
    def _step_skipped(self, event: StepSkipped) -> None:
        state = self.at(event.step)
        state.reason = event.reason
        self._end(state, event, "skipped", self._mark_of(state))

    def _mark_of(self, state: StepState) -> Mark:
        """Whether it was skipped because something failed: one of its skipped bindings was, or a name in `when`."""
        if state.owner is not None or state.child is not None or state.loop is not None:
            return SKIPPED
        values, step = state.frame.values, state.step
        marks = [values[slot] if resolve is None else resolve(values) for _, slot, resolve in step.args]
        if step.guard is not None and not any(type(mark) is Mark for mark in marks):
            marks = [resolve(values) for _, resolve in step.guard.args]
        return LOST if any(mark is LOST for mark in marks) else SKIPPED

    @_on(StepFailed)
    def _step_failed(self, event: StepFailed) -> None:
        state = self.at(event.step)
        state.error = event.error
        self.failed += state.frame is not self.judges  # what was made of the run is not less whole for it
        policy = state.on_error
        is_map = state.step.definition.map is not None and state.owner is None
        shut(state, self.steps)
        if isinstance(policy, Default) and not is_map:  # the policy of a map is for its items
            state.value = to_data(policy.value)
            self._end(state, event, "failed", state.value)
            return
        if policy == "fail" and state.owner is None:
            state.frame.close(event.error, state.path)
        self._end(state, event, "failed", LOST)

    @_on(StepCancelled)
    def _step_cancelled(self, event: StepCancelled) -> None:
        state = self.at(event.step)
        state.reason = event.reason or "cancelled"
        shut(state, self.steps)
        if event.within is not None:
            around = self.at(event.within)
            around.stopping = around.stopping or Stop(event.reason)
        self._end(state, event, "cancelled", SKIPPED)

    def _end(self, state: StepState, event: Event, status: Any, content: Data | Mark) -> None:
        started = state.status in ("running", "waiting")
        if self.questions:
            close_question(self, state, event.at_us)
        if state.asked is not None and state.answered is None:
            lose_call(self, state)
        state.args = None  # worked out anew if asked for; hardly ever is it
        state.status = status
        state.finished_us = event.at_us
        state.ended = event.seq or 0
        if state.owner is not None:
            if state.owner.loop is not None:
                end_iteration(self, state.owner, status)
            else:
                end_item(self, state, status, started=started)
            return
        if started:
            state.frame.active -= 1
        state.frame.settle(state.step, content)

    @_on(Warned)
    def _record_warning(self, event: Warned) -> None:
        if self.warnings is None:
            self.warnings = []
        self.warnings.append(event)

    @_on(RunCancelRequested)
    def _cancel_requested(self, event: RunCancelRequested) -> None:
        self.cancel_requested = True

    @_on(CheckFinished)
    def _check_finished(self, event: CheckFinished) -> None:
        if self.checks is None:
            self.checks = {}
        self.checks[event.check] = event

    @_on(RunFinished)
    def _run_finished(self, event: RunFinished) -> None:
        self.status = event.status
        self.error = event.error
        self.finished_us = event.at_us


def _placed(run: RunState, path: str) -> StepState:
    if path.startswith("~"):
        from .judging import judge_at  # most workflows have no checks, and none of their cost

        return judge_at(run, path)
    frame: Frame | None = run.frame
    state: StepState | None = None
    for segment in path.split("/"):
        matched = _SEGMENT.fullmatch(segment)
        if matched is None or frame is None:
            raise KeyError(path)
        slot = frame.compiled.slots[matched[1]] - len(frame.compiled.definition.inputs)
        state = run.begin(frame, slot)
        if matched[2] is not None:
            state = run.begin_item(state, int(matched[2]))
        elif matched[3] is not None:
            state = run.begin_iteration(state, int(matched[3]))
        frame = state.child
    assert state is not None
    return state
