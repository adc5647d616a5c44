"""Answers that came after the claim was lost: paid for, so kept in the inbox for the run's new owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from .event_lines import from_line, to_line
from .events import CallFinished, Event, StepSucceeded
from .ports import InboxItem

__all__ = ["late_events", "late_items"]


def late_items(events: Sequence[Event], *, at: int = 0, by: str | None = None) -> list[InboxItem]:
    """What a store puts into the inbox of a run when it refuses this unit, one item per step.

    That is each success of a step with the ends of its calls that stand before it; a success without any is not kept,
    because it cost nothing. The item's `call` is the number of the last of these calls; its data are their lines.

    Args:
        at: When the unit was refused, in microseconds UTC.
        by: Who tried to write it.

    Example:
        >>> unit = [CallFinished("draft", 1, run_id="r1", seq=4), StepSucceeded("draft", "Tea.", run_id="r1", seq=5)]
        >>> [(item.kind, item.step, item.call) for item in late_items(unit)]
        [('late', 'draft', 1)]
    """
    ends: dict[str, list[CallFinished]] = {}
    items: list[InboxItem] = []
    for event in events:
        if isinstance(event, CallFinished):
            ends.setdefault(event.step, []).append(event)
        elif isinstance(event, StepSucceeded) and event.step in ends:
            calls = ends.pop(event.step)
            lines: list[Any] = [to_line(one) for one in (*calls, event)]  # Any: JSON data
            items.append(InboxItem("late", event.step, calls[-1].call, lines, at, by))
    return items


def late_events(item: InboxItem) -> list[Event]:
    """The events of an item that `late_items` made: ends of calls, then the success of their step.

    Raises:
        ValueError: The item's data are no such lines.

    Example:
        >>> unit = [CallFinished("draft", 1, run_id="r1", seq=4), StepSucceeded("draft", "Tea.", run_id="r1", seq=5)]
        >>> late_events(late_items(unit)[0]) == unit
        True
    """
    data: object = item.data
    if not isinstance(data, list):
        raise ValueError(f"the data of a late answer are {type(data).__name__}, not a list of lines")
    return [from_line(str(line)) for line in cast("list[object]", data)]
