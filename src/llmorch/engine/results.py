"""The recorded results of another run, to be adopted where the fingerprint is the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..models.values import Data, copy_data
from .fingerprints import fingerprint_or_none
from .state.run import RunState
from .state.step import StepState

__all__ = ["Results"]

_INDEX = re.compile(r"\[\d+\]")


class Results:
    """What the leaves of a run gave. Each result is adopted once; an item of a map may take that of another item.

    Attributes:
        run_id: The run they are of.
    """

    def __init__(self, former: RunState) -> None:
        self.run_id = former.run_id
        self._steps = former.steps
        self._found: dict[tuple[str, str], dict[str, int]] = {}
        self._used: set[str] = set()
        ended = sorted(filter(_is_result, former.steps.values()), key=lambda step: step.ended)
        for place, step in enumerate(ended):
            mark = step.fingerprint or fingerprint_or_none(step)
            if mark is not None:
                self._found.setdefault((_INDEX.sub("[]", step.path), mark), {})[step.path] = place

    def place(self, path: str, mark: str | None) -> tuple[int, str] | None:
        """When a result that fits was recorded, counted from 0, and of which path: its own first, then another item's.

        Args:
            mark: The fingerprint.
        """
        found = self._found.get((_INDEX.sub("[]", path), mark or ""), {})
        for source in (path, *found):
            if source in found and source not in self._used:
                return found[source], source
        return None

    def pass_over(self, steps: Iterable[StepState]) -> None:
        """These steps have their results already, and each took the one that fitted when its turn came.

        Args:
            steps: In the order in which they began.
        """
        for step in steps:
            found = self.place(step.path, step.fingerprint)
            if found is not None:
                self._used.add(found[1])

    def take(self, source: str) -> Data:
        """The value of a path, in a copy of its own; nobody else gets it."""
        self._used.add(source)
        return copy_data(self._steps[source].value)


def _is_result(step: StepState) -> bool:
    return step.status == "succeeded" and step.started_us is not None and step.child is None and step.map is None
