"""The jobs of one transaction, carried out in their order; plain units that follow each other with few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby

from ...errors import LLMOrchError
from .._lane import Job, Outcome
from .appends import Append
from .together import MOST, together

__all__ = ["at_once", "carried_out", "plain_units"]

_UNITS = 16
"""Of one statement inside a transaction: if one has to be refused, all of them are done alone. They fit, as plain units
have few events."""


def plain_units(jobs: Sequence[Job[object]]) -> list[Append] | None:
    """The jobs' units, if one statement may add all of them."""
    units: list[Append] = []
    size = 0
    for job in jobs:
        unit = _plain(job)
        if unit is None:
            return None
        units.append(unit)
        size += len(unit.unit)
    return units if size <= MOST else None


def at_once(
    jobs: Sequence[Job[object]], units: Sequence[Append], *, connection: sqlite3.Connection
) -> list[Outcome] | None:
    """Add the jobs' plain units with one statement; None, with nothing done, when one has to be done alone."""
    replies = together(units, connection)
    return None if replies is None else [(job, reply, None) for job, reply in zip(jobs, replies, strict=True)]


def carried_out(jobs: Sequence[Job[object]], connection: sqlite3.Connection) -> list[Outcome]:
    """What each of them gives; an error of llmorch is an answer, too, and what its work wrote is kept."""
    outcomes: list[Outcome] = []
    for is_plain, those in groupby(jobs, _is_plain):
        some = list(those)
        size = _UNITS if is_plain else 1
        for at in range(0, len(some), size):
            outcomes += _done(some[at : at + size], connection)
    return outcomes


def _plain(job: Job[object]) -> Append | None:
    work: object = job.work
    return work if isinstance(work, Append) and work.is_plain else None


def _is_plain(job: Job[object]) -> bool:
    return _plain(job) is not None


def _done(jobs: Sequence[Job[object]], connection: sqlite3.Connection) -> list[Outcome]:
    """One job, or several plain units."""
    units = plain_units(jobs) if len(jobs) > 1 else None
    outcomes = at_once(jobs, units, connection=connection) if units else None
    return outcomes or [_alone(job, connection) for job in jobs]


def _alone(job: Job[object], connection: sqlite3.Connection) -> Outcome:
    try:
        return job, job.work(connection), None
    except LLMOrchError as refusal:
        return job, None, refusal
