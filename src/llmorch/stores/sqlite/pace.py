"""How many of the jobs that wait are committed together."""

from __future__ import annotations

__all__ = ["Pace"]

_MANY = 16
_STEP_S = 0.0001  # about what an event loop has to do for a unit


class Pace:
    """All at once; of many only half, so that the event loop goes on with others while these are committed.

    If all waited for the same commit, the loop would have nothing to do until it is over, and then the disk until all
    are back. A disk that takes longer than the loop does for all of them is not asked more often than necessary.
    """

    __slots__ = ("_took_s",)

    def __init__(self) -> None:
        self._took_s = 0.0

    def took(self, seconds: float) -> None:
        """The last commit took so long."""
        self._took_s = seconds

    def share(self, waiting: int) -> int:
        """How many of so many jobs to take."""
        half = waiting // 2
        return half if half >= _MANY and self._took_s < waiting * _STEP_S else waiting
