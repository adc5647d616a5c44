"""The fold of maps: which items are due, and when a map is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...events import Event, MapExpanded
from .frame import END
from .step import MapState, StepState

if TYPE_CHECKING:
    from .run import RunState

__all__ = ["MAP_FOLDS", "end_item"]


def _expanded(run: RunState, event: MapExpanded) -> None:
    state = run.at(event.step)
    rule = state.step.definition.map
    limit = rule.concurrency if rule is not None else None
    state.map = MapState([None] * event.items, limit)
    if event.items == 0:
        run.ready.append((state, END))
    state.map.next = event.items if limit is None else min(limit, event.items)
    for index in range(state.map.next):
        run.ready.append((state, index))


def end_item(run: RunState, state: StepState, status: str, *, started: bool) -> None:
    """An item has ended: the next one may begin, or the map ends.

    Args:
        started: It had begun.
    """
    owner = state.owner
    assert owner is not None
    items = owner.map
    assert items is not None
    items.active -= started
    items.done += 1
    if status == "failed":
        items.failed += 1
        if owner.on_error == "fail":
            items.closed = True
            items.failure = items.failure or state.error
    width = len(items.items)
    if items.next < width and not items.closed:
        run.ready.append((owner, items.next))
        items.next += 1
    elif items.done == width or (items.closed and items.active == 0):
        run.ready.append((owner, END))


MAP_FOLDS: Final[Mapping[type[Event], Callable[[Any, Any], None]]] = {MapExpanded: _expanded}  # Any: state and event
