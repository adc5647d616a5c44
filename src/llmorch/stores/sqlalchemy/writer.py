"""The one connection that writes: units of many runs are committed together, each whole or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from ..._clock import monotonic
from ...errors import LLMOrchError, StoreError
from .._lane import Job, Lane, Outcome
from .claims import let_go
from .faults import Trouble, error_of, trouble_of
from .leases import Leases
from .link import Link
from .pulse import Pulse
from .session import Session, Work

__all__ = ["Writer"]

_LONGEST_PAUSE_S = {Trouble.BUSY: 0.25, Trouble.FULL: 2.0}
_DRAIN_S = 5.0
_PASSING = frozenset({Trouble.BUSY, Trouble.LOST})


class Writer:
    """Commits jobs in groups, on a thread of its own.

    A job's work runs inside a transaction. An error of llmorch that it raises is its answer, and what it wrote is kept;
    anything else undoes the transaction. What only needs time is tried again: a job with patience until that is over,
    one without for ever.

    Args:
        where: The database, for texts.
        leases: The claims that end with the store.
        pulse: Told of each commit, and ended before the leases are.
    """

    def __init__(self, link: Link, *, where: str, name: str, leases: Leases, pulse: Pulse) -> None:
        self.trouble: Trouble | None = None
        self._link = link
        self._where = where
        self._leases = leases
        self._pulse = pulse
        self._blocked: set[int] = set()  # ids of jobs that met a lock; each is tried alone until it is through
        self._met: Trouble | None = None  # in this attempt
        self._open = 0  # how many jobs of this attempt are not committed yet
        self._tries = 0
        self._stopped_at: float | None = None
        self.lane = Lane(name, self._attempt, at_end=self._close)

    def _attempt(self, jobs: list[Job[object]]) -> list[Job[object]]:
        for job in [job for job in jobs if job.is_withdrawn]:
            job.fail(StoreError("the caller was cancelled"))
            jobs.remove(job)
        self._begin(len(jobs))
        blocked = [job for job in jobs if id(job) in self._blocked]
        waiting = self._together([job for job in jobs if id(job) not in self._blocked])
        for at, job in enumerate(blocked):
            if self._link.session is None:  # what holds for one holds for all
                waiting += blocked[at:]
                break
            waiting += self._together([job])
        self._blocked = {id(job) for job in waiting} if self._met is Trouble.BUSY else set()
        self.trouble = self._met if waiting else None
        if waiting:
            self._pause()
        else:
            self._tries = 0
        return waiting

    def _begin(self, count: int) -> None:
        self._met, self._open = None, count

    def _together(self, jobs: list[Job[object]]) -> list[Job[object]]:
        """Commit the jobs; gives those to try again."""
        if not jobs:
            return []
        try:
            outcomes = self._commit(jobs)
        except Exception as error:  # whatever went wrong, somebody waits to be told
            return self._after(error, jobs)
        self._open -= len(jobs)
        if not self._open:
            self.trouble = None  # before anybody hears that it is over
        Job.answer(outcomes)
        self._pulse.tell()
        return []

    def _commit(self, jobs: list[Job[object]]) -> list[Outcome]:
        session = self._link.opened()
        try:
            outcomes = [_outcome(job, session) for job in jobs]
            session.commit()
        except BaseException:
            session.rollback()
            raise
        return outcomes

    # When it does not work

    def _after(self, error: Exception, jobs: list[Job[object]]) -> list[Job[object]]:
        """Answer those who need not wait any longer; gives those to try again."""
        if isinstance(error, LLMOrchError):  # the database is none for this llmorch
            self._link.drop()
            return _refused(jobs, lambda: error)
        trouble = trouble_of(error)
        if trouble in (Trouble.UNIT, Trouble.BUSY) and len(jobs) > 1:
            return self._one_by_one(jobs)
        if trouble not in (Trouble.UNIT, Trouble.BUSY, Trouble.FULL):
            self._link.drop()
        if trouble in (Trouble.UNIT, Trouble.CORRUPT):
            return _refused(jobs, lambda: self._error_of(trouble, error))
        self.trouble = self._met = trouble
        return self._still_waiting(trouble, error, jobs)

    def _one_by_one(self, jobs: list[Job[object]]) -> list[Job[object]]:
        waiting: list[Job[object]] = []
        for at, job in enumerate(jobs):
            waiting += self._together([job])
            if self._link.session is None:
                return waiting + jobs[at + 1 :]
        return waiting

    def _still_waiting(self, trouble: Trouble, cause: Exception, jobs: list[Job[object]]) -> list[Job[object]]:
        now = monotonic()
        if self.lane.is_stopping.is_set() and self._stopped_at is None:
            self._stopped_at = now
        is_over = self._stopped_at is not None and now >= self._stopped_at + _DRAIN_S
        is_passing = trouble in _PASSING and self._link.contact.made
        waiting: list[Job[object]] = []
        for job in jobs:
            has_time = job.due is None or (is_passing and now < job.due)
            if has_time and not is_over:
                waiting.append(job)
            else:
                job.fail(self._error_of(trouble, cause, waited_s=job.patience_s or _DRAIN_S))
        return waiting

    def _error_of(self, trouble: Trouble, cause: Exception, *, waited_s: float = 0.0) -> Exception:
        was_connected = self._link.contact.made
        return error_of(trouble, cause, where=self._where, waited_s=waited_s, was_connected=was_connected)

    def _pause(self) -> None:
        longest = _LONGEST_PAUSE_S.get(self.trouble, 1.0) if self.trouble is not None else 0.0
        self.lane.pause(min(longest, 0.002 * 2 ** min(self._tries, 12)) * random.uniform(0.5, 1.0))
        self._tries += 1

    def _close(self) -> None:
        """Give up every claim, so that others need not wait for the ends of the leases."""
        self._pulse.stop()
        self._pulse.join()
        held = self._leases.held()
        try:
            if held:
                session = self._link.opened()
                let_go(session, held)
                session.commit()
        except (SQLAlchemyError, psycopg.Error, LLMOrchError):  # then the leases run out
            pass
        finally:
            self._link.drop()


def _outcome(job: Job[object], session: Session) -> Outcome:
    try:
        return job, cast("Work", job.work)(session), None
    except LLMOrchError as refusal:
        return job, None, refusal


def _refused(jobs: list[Job[object]], make: Callable[[], Exception]) -> list[Job[object]]:
    for job in jobs:
        job.fail(make())
    return []
