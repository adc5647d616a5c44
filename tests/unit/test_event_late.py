"""Answers that came after the claim was lost, as items of an inbox."""

from __future__ import annotations

import pytest

from llmorch.event_late import late_events, late_items
from llmorch.events import CallFinished, Event, StepStarted, StepSucceeded
from llmorch.ports import InboxItem


def test_each_step_that_succeeded_is_an_item_with_the_ends_of_its_calls() -> None:
    first, second = CallFinished("a", 1, seq=4), CallFinished("a", 2, seq=7)
    other, done = CallFinished("b[0]", 3, seq=5), StepSucceeded("a", "A", seq=8)
    last = StepSucceeded("b[0]", {"n": 2**70}, seq=9)
    unit: list[Event] = [first, other, StepStarted("c", seq=6), second, done, last]
    items = late_items(unit, at=5, by="me")
    assert [(item.kind, item.step, item.call, item.at, item.by) for item in items] == [
        ("late", "a", 2, 5, "me"),
        ("late", "b[0]", 3, 5, "me"),
    ]
    assert late_events(items[0]) == [first, second, done]
    assert late_events(items[1]) == [other, last]


def test_what_cost_nothing_or_is_not_done_is_not_kept() -> None:
    assert late_items([StepSucceeded("function", 1), CallFinished("a", 1), StepSucceeded("b", 2)]) == []
    assert late_items([StepSucceeded("a", 1), CallFinished("a", 1)]) == []


@pytest.mark.parametrize("data", [None, "line", {"event": "CallFinished"}, ["no JSON"], [3]])
def test_data_that_are_no_lines_are_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"not a list of lines|no JSON|an object"):
        late_events(InboxItem("late", "a", 1, data))
