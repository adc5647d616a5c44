"""Results that steps of a run need not ask for: those of the run it was forked from, and answers that came late."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Event, StepSucceeded
from ..ports import InboxItem
from .journal import Journal
from .results import Results
from .state.step import StepState

__all__ = ["Known"]


class Known:
    """What is known beforehand in a run that was forked or taken up.

    Attributes:
        former: Results of the run it was forked from.
        late: Path -> the inbox item of a late answer, its events, and the fingerprint the step had when it was asked.
    """

    __slots__ = ("_journal", "former", "late")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.former: Results | None = None
        self.late: dict[str, tuple[InboxItem, Sequence[Event], str | None]] = {}

    def take(self, state: StepState, mark: str | None) -> bool:
        """Record a known result of a step that has just started; False when there is none.

        Args:
            mark: The step's fingerprint.
        """
        former = self.former
        found = None if former is None else former.place(state.path, mark)
        if former is None or found is None:
            return self.take_late(state)
        self._journal.append(StepSucceeded(state.path, former.take(found[1]), copied_from=former.run_id))
        return True

    def take_late(self, state: StepState) -> bool:
        """Record an answer that came late as the step's result; False when there is none."""
        found = self.late.pop(state.path, None)
        if found is None:
            return False
        item, events, mark = found
        self._journal.consume(item)
        if None not in (mark, state.fingerprint) and mark != state.fingerprint:
            return False  # the step would ask something else now
        for event in events:
            self._journal.append(event)
        return True
