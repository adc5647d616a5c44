"""What is in flight, and closing what stands inside a container that has ended early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .frame import END, Ready
from .step import StepState

__all__ = ["in_flight", "shut", "wind_down"]


def in_flight(steps: Iterable[StepState], *, below: StepState | None = None) -> list[StepState]:
    """Started steps that have not ended, innermost first; only those inside one container, if given."""
    started = [state for state in steps if state.status in ("running", "waiting")]
    if below is not None:
        inside = (f"{below.path}/", f"{below.path}[", f"{below.path}@")
        started = [state for state in started if state.path.startswith(inside)]
    return sorted(started, key=lambda state: -_depth(state.path))


def _depth(path: str) -> int:
    return path.count("/") + path.count("[") + path.count("@")


def wind_down(state: StepState, ready: Ready) -> None:
    """Nothing new starts in this container; it ends when what is in flight inside has ended."""
    if state.map is not None:
        state.map.closed = True
        if state.map.active == 0:
            ready.append((state, END))
    if state.loop is not None:
        state.loop.closed = True
        if all(item.finished_us is not None for item in state.loop.items):
            ready.append((state, END))
    if state.child is not None:
        state.child.closed = True
        if state.child.active == 0:
            ready.append((state.child, END))


def shut(state: StepState, steps: Mapping[str, StepState]) -> None:
    """Nothing new starts inside this container, at any depth.

    Args:
        steps: The run's, by path.
    """
    if state.map is not None:
        state.map.closed = True
        for item in state.map.items:
            if item is not None:
                shut(item, steps)
    if state.loop is not None:
        state.loop.closed = True
        for item in state.loop.items:
            shut(item, steps)
    if state.child is not None:
        state.child.closed = True
        for inner in state.child.inside(steps):
            shut(inner, steps)
