"""The results of a map as they come, in item order."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Generic, NoReturn, Self, TypeVar, cast

from .definition.actions import LoopAction, nested_of
from .definition.names import did_you_mean
from .definition.workflow import WorkflowDef
from .engine.listener import Listener
from .engine.state.resume import Folding
from .engine.state.step import StepState
from .step_result import StepResult

__all__ = ["Items"]

U = TypeVar("U")
_PLACE = re.compile(r"\[\d+\]|@\d+")

Opened = Callable[[], Awaitable[tuple[WorkflowDef, int]]]
"""Gives the run's definition, and the seq of its last event so far."""


class Items(Generic[U]):
    """An async iterator over index and value of a map's items, in item order, each as soon as it is known.

    It gives what the map's list will hold: an item without a value, because it was skipped or failed, is passed over.
    It ends with the map, or with the run.

    Args:
        step: The map's path.
        listen: Gives the run's events after a seq.
        check: Called when there are no more events; raises where that is not the end of the run.
    """

    def __init__(
        self,
        step: str,
        *,
        opened: Opened,
        listen: Callable[[int], Listener],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._step = step
        self._opened = opened
        self._listen = listen
        self._check = check
        self._listener: Listener | None = None
        self._folding: Folding | None = None
        self._seen = 0
        self._until = 0
        self._next = 0
        self._given: list[U] | None = None
        self._has_ended = False
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, U]:
        while not self._over:
            found = self._known()
            if found is not None:
                return found
            if not self._over:
                await self._read()
        self.close()
        raise StopAsyncIteration

    def _known(self) -> tuple[int, U] | None:
        """The next item with a value, if it is known by now."""
        state = None if self._folding is None else self._folding.state.steps.get(self._step)
        is_last = self._has_ended or (state is not None and state.finished_us is not None)
        found = None
        if state is not None and state.map is not None:
            found = self._of(state, is_last=is_last)
            is_last = is_last or self._next == len(state.map.items)
        elif state is not None and state.status == "succeeded":  # the list was given, in a fork
            found = self._of_list(state)
        self._over = found is None and is_last
        return found

    def _of(self, state: StepState, *, is_last: bool) -> tuple[int, U] | None:
        assert state.map is not None
        for index in range(self._next, len(state.map.items)):
            item = state.map.items[index]
            is_known = item is not None and item.finished_us is not None
            if not is_known and not is_last:
                return None
            self._next = index + 1
            if item is not None and is_known:
                result = StepResult(item.path, status=item.status, state=item)
                if item.status == "succeeded" or (item.status == "failed" and result.has_default):
                    return index, cast("U", result.value)
        return None

    def _of_list(self, state: StepState) -> tuple[int, U] | None:
        if self._given is None:
            self._given = cast("list[U]", StepResult(self._step, status="succeeded", state=state).value)
        if self._next == len(self._given):
            return None
        self._next += 1
        return self._next - 1, self._given[self._next - 1]

    async def _read(self) -> None:
        """Take in what there is, at first all of it: an item that failed may have been run again since."""
        if self._folding is None:
            definition, self._until = await self._opened()
            _require_map(definition, self._step)
            self._folding = Folding(definition)
        since = self._seen
        while True:
            self._listener = self._listener or self._listen(self._seen)
            events = await self._listener.several()
            for event in events:
                self._folding.take(event)
                self._seen = event.seq or self._seen
            if events and self._seen >= self._until:
                return
            if not events:
                self._listener = None
                if self._seen >= self._until or self._seen == since:
                    self._check()
                    self._has_ended = True
                    return
                since = self._seen

    def close(self) -> None:
        """Stop listening; harmless when done twice."""
        self._over = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def aclose(self) -> None:
        """`close`, for `contextlib.aclosing`."""
        self.close()


def _require_map(definition: WorkflowDef, path: str) -> None:
    inner: WorkflowDef | None = definition
    names, is_map = [step.name for step in definition.steps], False
    for segment in path.split("/"):
        name = _PLACE.sub("", segment)
        step = None if inner is None else next((step for step in inner.steps if step.name == name), None)
        if step is None:
            _refuse(path, names)
        is_map = step.map is not None and name == segment
        inner = nested_of(step.action.body if isinstance(step.action, LoopAction) else step.action)
        names = [] if inner is None else [step.name for step in inner.steps]
    if not is_map:
        raise ValueError(f"step {path!r} is no map, so it has no items; wait for its value in the run's result")


def _refuse(path: str, names: list[str]) -> NoReturn:
    raise KeyError(f"no step has the path {path!r}{did_you_mean(path.rpartition('/')[2], names)}")
