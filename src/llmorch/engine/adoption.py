"""Which results of one run another may take: a walk through the workflow that runs nothing.

Whatever is decided by what is known is decided as a run would decide it: guards, widths of maps, selections. A leaf
whose fingerprint is that of a recorded result adopts it; any other stays open, and what depends on it is not reached.
The events of the walk are the beginning of the new run's log, so a crash after it finds everything adopted.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..events import Event, RunStarted, StepStarted, StepSucceeded, StepWaiting
from ..models.failure import Failure
from ..models.message import ToolCall
from ..models.values import Data, copy_data
from ..ports import Claim
from ..stores.memory import MemoryStore
from .fingerprints import fingerprint_or_none
from .journal import Journal
from .results import Results
from .services import Ending, Services
from .state.run import RunState
from .state.step import StepState
from .stepper import Stepper, Work

__all__ = ["Adoption", "adopted"]


class Adoption:
    """What came of the walk.

    Attributes:
        state: The new run as far as it is known before anything is sent.
        events: The log that begins it.
        kept: Paths of the results that were adopted -> where they stood in the former run.
        asked: Paths of the leaves that are due and have no result to adopt.
        results: What may still be adopted by steps that the walk did not reach.
    """

    def __init__(
        self, state: RunState, events: list[Event], *, kept: dict[str, str], asked: tuple[str, ...], results: Results
    ) -> None:
        self.state = state
        self.events = events
        self.kept = kept
        self.asked = asked
        self.results = results


def adopted(
    started: RunStarted,
    state: RunState,
    former: RunState,
    *,
    replaced: Mapping[str, Data] | None = None,
    scripts: Sequence[Path] = (),
) -> Adoption:
    """Walk as far as recorded results lead.

    Args:
        started: The new run's first event.
        state: An empty state of the new run's definition.
        former: The run whose results are adopted.
        replaced: Path of a step -> the value it has in the new run.
        scripts: Folders in which scripts are looked for.

    Raises:
        KeyError: A replaced step is not there, or stands in a container that is not reached.
    """
    journal = Journal(MemoryStore(), Claim(started.run_id, 1, 0), state)
    journal.append(started)
    walk = _Walk(state, journal, former, scripts=scripts)
    wanted = dict(replaced or {})
    for path, value in _given(former, state).items():
        if path not in wanted:
            journal.append(StepSucceeded(path, copy_data(value), copied_from=former.run_id))
            walk.kept[path] = path
    for path in [path for path in wanted if not any(mark in path for mark in "/[@")]:
        state.at(path)
        journal.append(StepSucceeded(path, wanted.pop(path)))
    walk.go(wanted)
    if wanted:
        raise KeyError(next(iter(wanted)))
    asked = tuple(path for path in walk.held if state.steps[path].finished_us is None)  # one may have been cancelled
    return Adoption(state, journal.buffered, kept=walk.kept, asked=asked, results=walk.results)


def _given(former: RunState, state: RunState) -> dict[str, Data]:
    """Values that were given for whole steps when the former run was itself forked, where the step is the same still.

    They never started, so no fingerprint says what they are worth: whoever gave them did.
    """
    names = {step.name: step for step in state.definition.steps}
    found: dict[str, Data] = {}
    for step in former.steps.values():
        now = names.get(step.path)
        if now is not None and step.status == "succeeded" and step.started_us is None:
            then = step.step.definition
            if now.action == then.action and now.map == then.map:
                found[step.path] = step.value
    return found


class _Walk(Stepper):
    """A stepper whose leaves are not run."""

    __slots__ = ("_due", "_scripts", "held", "kept", "results")

    def __init__(self, state: RunState, journal: Journal, former: RunState, *, scripts: Sequence[Path]) -> None:
        super().__init__(state, journal, cast("Services", None), conductor=_Nobody())  # no leaf asks for a service
        self.results = Results(former)
        self._scripts = scripts
        self._due: list[tuple[int, str, str]] = []
        self.held: dict[str, str | None] = {}
        self.kept: dict[str, str] = {}

    def go(self, replaced: dict[str, Data]) -> None:
        """Do everything that can be done without running a leaf; results arrive in the order they once did."""
        ready = self.state.ready
        while True:
            while ready.left:
                self.advance(*ready.popleft())
                for path in [path for path in replaced if path in self.held]:
                    self._take(self.state.steps[path], replaced.pop(path))
            if not self._due:
                return
            _, path, source = heapq.heappop(self._due)
            state = self.state.steps[path]
            if state.finished_us is not None or path not in self.held:
                continue
            now = self.results.place(path, self.held[path])
            if now is None or now[1] != source:  # another item of the same map was quicker
                self._match(state)
                continue
            self.kept[path] = source
            self._take(state, self.results.take(source), copied_from=self.results.run_id)

    def _start(self, state: StepState) -> Work | None:
        if not state.step.is_leaf:
            return super()._start(state)
        self.held[state.path] = fingerprint_or_none(state, self._scripts)
        self._match(state)
        return None

    def watch(self, state: StepState) -> None:
        """Nothing takes time here."""

    def _match(self, state: StepState) -> None:
        """Queue the recorded result that the step may adopt, if there is one."""
        found = self.results.place(state.path, self.held[state.path])
        if found is not None:
            heapq.heappush(self._due, (found[0], state.path, found[1]))

    def _take(self, state: StepState, value: Data, *, copied_from: str | None = None) -> None:
        self.journal.append(StepStarted(state.path, self.held.pop(state.path, None)))
        self.journal.append(StepSucceeded(state.path, value, copied_from=copied_from))


class _Nobody:
    """A conductor with nothing to conduct."""

    def finish(self, ending: Ending, failure: Failure | None) -> None:
        """The new run says so itself when it is carried out."""

    def abort(self, failure: Failure) -> None:
        """As above."""

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Nothing is done beside a walk."""

    def call_help(self) -> None:
        """Nobody helps."""

    def flush_soon(self) -> bool:
        """Nothing is committed."""
        return False

    async def rest(self, wait_s: float) -> None:
        """No leaf runs that could ask for it."""

    async def aside(self, wait: Callable[[], Awaitable[None]]) -> None:
        """As above."""

    def asked(self, question: StepWaiting) -> None:
        """Nobody is asked."""

    def wakes(self, state: StepState) -> bool:
        """Nobody waits."""
        return False

    async def granted(self, state: StepState, number: int, call: ToolCall) -> Data:
        """No leaf runs that could ask."""
        raise LookupError(state.path)
