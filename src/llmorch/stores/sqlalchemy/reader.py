"""The connection that reads: a thread of its own, and nothing held between two jobs."""

from __future__ import annotations

import random
from typing import cast

from ..._clock import monotonic
from ...errors import LLMOrchError, StoreError
from .._lane import Job, Lane
from .faults import Trouble, error_of, trouble_of
from .link import Link
from .session import Work

__all__ = ["Reader"]

_PAUSE_S = 0.02


class Reader:
    """Carries out jobs that only read, one after the other, on a thread of its own.

    Args:
        where: The database, for texts.
    """

    def __init__(self, link: Link, *, where: str, name: str) -> None:
        self._link = link
        self._where = where
        self.lane = Lane(name, self._attempt, at_end=link.drop)

    def _attempt(self, jobs: list[Job[object]]) -> list[Job[object]]:
        waiting = [job for job in jobs if not self._is_settled(job)]
        if waiting:
            self.lane.pause(_PAUSE_S * random.uniform(0.5, 1.5))
        return waiting

    def _is_settled(self, job: Job[object]) -> bool:
        """Whether the job has its answer; else it is to be tried again."""
        if job.is_withdrawn:
            job.fail(StoreError("the caller was cancelled"))
            return True
        try:
            job.finish(self._read(job))
        except LLMOrchError as error:
            job.fail(error)
        except Exception as error:  # whatever went wrong, somebody waits to be told
            trouble = trouble_of(error)
            was_connected = self._link.contact.made
            if trouble is not Trouble.BUSY:
                self._link.drop()
            if trouble is Trouble.BUSY or (trouble is Trouble.LOST and was_connected):
                has_time = job.due is not None and monotonic() < job.due
                if has_time and not self.lane.is_stopping.is_set():
                    return False
            waited_s = job.patience_s or 0.0
            job.fail(error_of(trouble, error, where=self._where, waited_s=waited_s, was_connected=was_connected))
        return True

    def _read(self, job: Job[object]) -> object:
        session = self._link.opened()
        try:
            return cast("Work", job.work)(session)
        finally:
            session.rollback()
