"""One instance of a workflow: slots, counters, and what becomes ready when a step ends.

The top workflow, each nested workflow and each workflow run by a map item has a frame of its own. `settle` is the only
place where values flow; it is called by the fold, so a resumed run and a live one cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Union

from ...errors import StepError
from ...models.failure import Failure
from ...models.values import Data
from ...planner.compile import Compiled, CompiledStep, Selection
from ...planner.resolve import LOST, SKIPPED, UNDECIDED, Broken, Mark, follow

if TYPE_CHECKING:
    from .step import StepState

__all__ = ["AGAIN", "END", "STOP", "TURN", "Frame", "Ready"]

END: Final = -1
STOP: Final = -2
TURN: Final = -3
AGAIN: Final = -4
Work = tuple[Union["Frame", "StepState"], int]


class Ready:
    """A queue of what can be done now. An empty `deque` holds 760 bytes, and most runs in flight have an empty one.

    Attributes:
        left: How many wait; a length that is asked for several times a step is no place for a method.
    """

    __slots__ = ("_items", "_taken", "left")

    def __init__(self) -> None:
        self._items: list[Work] = []
        self._taken = 0
        self.left = 0

    def append(self, work: Work) -> None:
        """Put it at the end."""
        self._items.append(work)
        self.left += 1

    def popleft(self) -> Work:
        """Take the one that has waited longest."""
        items, taken = self._items, self._taken
        work = items[taken]
        self.left -= 1
        if not self.left:
            self._items, self._taken = [], 0
        elif taken > 1000 and taken * 2 > len(items):
            self._items, self._taken = items[taken + 1 :], 0
        else:
            self._taken = taken + 1
        return work


class Frame:
    """A workflow being run.

    Attributes:
        prefix: Put before the names of its steps to make their paths.
        values: A slot for each input, step and selection.
        remaining: For each step, how many of the things it waits for are undecided.
        open: Steps that have not ended.
        active: Steps that have started and not ended.
        closed: Nothing new starts here, because a step failed under "fail" or the frame was stopped.
        failure: The failure that closed it.
    """

    __slots__ = (
        "active", "arrivals", "closed", "compiled", "failed_step", "failure", "open", "parent", "prefix", "ready",
        "remaining", "stoppable", "values",
    )  # fmt: skip

    def __init__(
        self,
        compiled: Compiled,
        *,
        ready: Ready,
        inputs: dict[str, Data],
        prefix: str = "",
        parent: StepState | None = None,
    ) -> None:
        self.compiled = compiled
        self.prefix = prefix
        self.parent = parent
        self.ready = ready
        self.values: list[Any] = [UNDECIDED] * compiled.size
        self.remaining = compiled.in_degree.copy()
        self.open = len(compiled.steps)
        self.active = 0
        self.closed = False
        self.failure: Failure | None = None
        self.failed_step: str | None = None
        self.stoppable = parent is not None and parent.is_stoppable
        self.arrivals: dict[int, list[int]] | None = None
        for slot, name in enumerate(compiled.definition.inputs):
            self.values[slot] = inputs.get(name, SKIPPED)
        for step, count in enumerate(self.remaining):
            if count == 0:
                ready.append((self, step))
        for index, selection in enumerate(compiled.selections):
            self._consider(index, selection)

    def inside(self, steps: Mapping[str, StepState]) -> Iterator[StepState]:
        """Its steps that have a state, in the order they were added.

        Args:
            steps: The run's, by path. The frame does not hold them: they hold it, and a circle would keep each
                finished run until the garbage collector comes.
        """
        for step in self.compiled.steps:
            found = steps.get(self.prefix + step.name)
            if found is not None:
                yield found

    def settle(self, step: CompiledStep, content: Data | Mark) -> None:
        """A step ended with this value or mark: hand it on, and see who can start now."""
        self.values[step.slot] = content
        self.open -= 1
        remaining = self.remaining
        for dependent in step.dependents:
            count = remaining[dependent] = remaining[dependent] - 1
            if count == 0:
                self.ready.append((self, dependent))
        for index in step.selections:
            self._consider(index, self.compiled.selections[index])
        if self.open == 0 or (self.closed and self.active == 0):
            self.ready.append((self, END))

    def close(self, failure: Failure, step: str) -> None:
        """A step failed under "fail": nothing new starts here."""
        if not self.closed:
            self.closed = True
            self.failure = failure
            self.failed_step = step

    def result(self) -> Data | Mark:
        """The output: data, or a mark when it is skipped.

        Raises:
            StepError: The output reads a part that its step's value does not have.
        """
        output = self.compiled.output
        return SKIPPED if output is None else output(self.values)

    def _consider(self, index: int, selection: Selection) -> None:
        """Decide a selection if it can be decided now."""
        if self.values[selection.slot] is not UNDECIDED:
            return
        content = self._first(selection) if selection.n is None else self._quorum(index, selection)
        if content is UNDECIDED:
            return
        self.values[selection.slot] = content
        if selection.expendable and type(content) is not Mark:
            self.ready.append((self, STOP))
        for dependent in selection.dependents:
            self.remaining[dependent] -= 1
            if self.remaining[dependent] == 0:
                self.ready.append((self, dependent))

    def _first(self, selection: Selection) -> Any:
        marks: list[Mark] = []
        for slot, ref in selection.members:
            content = self.values[slot]
            if content is UNDECIDED:
                return UNDECIDED
            if content is SKIPPED or content is LOST:
                marks.append(content)
                continue
            return _part(content, ref.path, ref.source)
        return LOST if LOST in marks else SKIPPED

    def _quorum(self, index: int, selection: Selection) -> Any:
        assert selection.n is not None
        if self.arrivals is None:
            self.arrivals = {}
        order = self.arrivals.setdefault(index, [])
        for position, (slot, _) in enumerate(selection.members):
            content = self.values[slot]
            if position not in order and content is not UNDECIDED and type(content) is not Mark:
                order.append(position)
        if len(order) >= selection.n:
            taken = sorted(order[: selection.n])
            parts = [_part(self.values[selection.members[p][0]], selection.members[p][1].path, "") for p in taken]
            return next((part for part in parts if type(part) is Broken), parts)
        contents = [self.values[slot] for slot, _ in selection.members]
        if len(order) + sum(content is UNDECIDED for content in contents) >= selection.n:
            return UNDECIDED
        if any(content is LOST for content in contents):
            return LOST
        # What is still to come decides whether this is because of a failure, whichever ends first.
        return UNDECIDED if any(content is UNDECIDED for content in contents) else SKIPPED


def _part(content: Data, path: tuple[str | int, ...], source: str) -> Any:
    try:
        return follow(content, path, source)
    except StepError as error:
        return Broken(error)
