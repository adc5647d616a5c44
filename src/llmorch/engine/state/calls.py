"""The fold of calls and tools: usage, cost, what a budget has left, and what the next round of a conversation needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...events import CallFinished, CallStarted, Event, RunResumed, ToolFinished, ToolStarted
from ...models.policy import Budget
from ...policies.budget import Ledger, Reservation
from .step import StepState, ToolRecord, is_unknown

if TYPE_CHECKING:
    from .run import RunState

__all__ = ["CALL_FOLDS", "lose_call", "take_up"]


def _call_started(run: RunState, event: CallStarted) -> None:
    state = run.steps.get(event.step) or run.at(event.step)
    if state.asked is not None:
        state.former = state.calls
        state.answered, state.is_lost = None, False
    state.asked = event
    run.tally.requests += 1
    if run.ledger is not None:
        run.ledger.start((event.step, event.call), Reservation(event.reserved_tokens or 0, event.estimate))


def _call_finished(run: RunState, event: CallFinished) -> None:
    state = run.steps.get(event.step) or run.at(event.step)
    last = state.asked
    if last is not None and event.call == last.call:
        was_lost, state.is_lost = state.is_lost, False
        state.answered = event
    else:
        record = state.former[event.call - 1]
        was_lost, record.is_lost = record.is_lost, False
        record.finished = event
    if was_lost:  # its answer came late, over the inbox
        run.unpriced_calls -= 1
    usage = event.usage
    if usage is not None:
        run.tally.add_tokens(usage)
        if event.cost is None:
            run.unpriced_calls += 1
        else:
            run.priced_cost += event.cost
    elif is_unknown(event):
        run.unpriced_calls += 1
    if run.ledger is not None:
        if is_unknown(event):
            run.ledger.give_up((event.step, event.call))
        else:
            used = usage.total_tokens if usage is not None else 0
            run.ledger.settle((event.step, event.call), Reservation(used, event.cost))


def lose_call(run: RunState, state: StepState) -> None:
    """A step ends or is left: if it was in the middle of a call, that was sent, and nobody knows what it cost."""
    if not state.is_asking or state.is_lost:
        return
    state.is_lost = True
    run.unpriced_calls += 1
    if run.ledger is not None:
        run.ledger.give_up((state.path, state.call_count))


def take_up(run: RunState, event: RunResumed) -> None:
    """The run goes on: calls in flight are lost, the steps that run again begin a conversation, a budget may change."""
    for state in run.steps.values():
        if state.asked is not None and state.status != "succeeded":
            state.since = state.call_count
            lose_call(run, state)
    if event.budget is not None:
        budget = Budget.model_validate(dict(event.budget))
        if run.ledger is None:
            spent = run.ledger = Ledger(budget)
            spent.calls, spent.usd = run.tally.requests, run.priced_cost
            spent.tokens = run.tally.input_tokens + run.tally.output_tokens
            for state in run.steps.values():
                for record in state.calls:
                    if record.is_lost:  # it counts when its bill comes after all
                        spent.miss((state.path, record.number))
        else:
            run.ledger = run.ledger.renewed(budget)


def _tool_started(run: RunState, event: ToolStarted) -> None:
    state = run.at(event.step)
    if state.tools is None:
        state.tools = []
    state.tools.append(ToolRecord(event.call, event.id, event.tool, event.arguments, event.at_us))


def _tool_finished(run: RunState, event: ToolFinished) -> None:
    for record in reversed(run.at(event.step).tools or ()):
        if record.call == event.call and record.id == event.id:
            record.finished_us, record.result, record.error = event.at_us, event.result, event.error
            return


CALL_FOLDS: Final[
    Mapping[type[Event], Callable[[Any, Any], None]]
] = {  # Any: the state, and an event of the key's class
    CallStarted: _call_started,
    CallFinished: _call_finished,
    ToolStarted: _tool_started,
    ToolFinished: _tool_finished,
}
