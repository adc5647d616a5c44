"""The jobs of one transaction, carried out in their order; plain units that follow each other with few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby

from ...errors import LLMOrchError
from .._lane import Job, Outcome
from .appends import Append, together
from .rows import ROWS

__all__ = ["carried_out"]


def carried_out(jobs: Sequence[Job[object]], connection: sqlite3.Connection) -> list[Outcome]:
    """What each of them gives; an error of llmorch is an answer, too, and what its work wrote is kept."""
    outcomes: list[Outcome] = []
    for is_plain, those in groupby(jobs, _is_plain):
        some = list(those)
        size = ROWS if is_plain else 1
        for at in range(0, len(some), size):
            outcomes += _done(some[at : at + size], connection)
    return outcomes


def _is_plain(job: Job[object]) -> bool:
    return isinstance(job.work, Append) and job.work.is_plain


def _done(jobs: Sequence[Job[object]], connection: sqlite3.Connection) -> list[Outcome]:
    """One job, or several plain units."""
    if len(jobs) > 1:
        replies = together([job.work for job in jobs if isinstance(job.work, Append)], connection)
        if replies is not None:
            return [(job, reply, None) for job, reply in zip(jobs, replies, strict=True)]
    return [_alone(job, connection) for job in jobs]


def _alone(job: Job[object], connection: sqlite3.Connection) -> Outcome:
    try:
        return job, job.work(connection), None
    except LLMOrchError as refusal:
        return job, None, refusal
