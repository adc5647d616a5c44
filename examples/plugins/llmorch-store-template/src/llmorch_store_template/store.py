"""The store: every method is one turn on the file, in a worker thread, with at most one line written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from llmorch.errors import AlreadyAnswered, ClaimLost, IdempotencyConflict, RunNotFound
from llmorch.event_late import late_items
from llmorch.event_lines import to_line
from llmorch.event_totals import totals_of
from llmorch.events import Event, StepSucceeded
from llmorch.ports import AppendReply, Claim, InboxItem, RunRow

from .book import Book, Run, key_of, row_data
from .file import LinesFile

T = TypeVar("T")
_FINAL = ("succeeded", "partial", "failed", "cancelled")


class LinesStore:
    """Runs in one file, one JSON line for each commit. All of them are in memory, too: for thousands of runs.

    Args:
        path: The file; it is made when it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = LinesFile(self.path, Book())

    @classmethod
    def from_url(cls, url: str, *, durability: str = "power") -> LinesStore:
        """The store that `Orchestrator(store="lines:///runs.jsonl")` opens.

        Args:
            durability: Every commit is synced to the disk, whatever this says.

        Raises:
            ValueError: The URL names no file.
        """
        scheme, slashes, path = url.partition(":///")
        if scheme != "lines" or not slashes or not path:
            raise ValueError(f"{url!r} names no file of lines; write lines:///runs.jsonl")
        return cls(path)

    async def _do(self, ask: Callable[[Book], T]) -> T:
        """Ask in a thread. A cancellation waits until the thread is done, so nothing is ever half decided."""

        def turn() -> T:
            with self._file.turn() as book:
                return ask(book)

        return await anyio.to_thread.run_sync(turn)

    def _commit(self, **change: Any) -> None:
        self._file.commit(json.dumps(change, allow_nan=False))

    async def create(self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Any] | None) -> RunRow:
        lines = [to_line(event) for event in first]

        def ask(book: Book) -> RunRow:
            known = book.by_idempotency_key.get(row.idempotency_key) if row.idempotency_key is not None else None
            if known is not None:
                found = book.runs[known].row
                if (found.workflow, found.inputs_sha) == (row.workflow, row.inputs_sha):
                    return found
                raise IdempotencyConflict(
                    f"The key {row.idempotency_key!r} was used for run {known} with other inputs or another workflow; "
                    "use a new key",
                    run_id=known,
                )
            if row.id in book.runs:
                return book.runs[row.id].row  # given again, because the first reply was lost
            about: dict[str, Any] = {} if definition is None else {"definition": [row.definition_sha, dict(definition)]}
            self._commit(row=row_data(replace(row, last_seq=len(first))), events=lines, **about)
            if row.owner is not None:
                self._file.live(row.owner)
            return book.runs[row.id].row

        return await self._do(ask)

    async def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None = None,
        consumed: Sequence[InboxItem] = (),
        wake_at: int | None = None,
    ) -> AppendReply:
        unit = list(events)
        lines = [to_line(event) for event in unit]  # what cannot be written is refused before anything is

        def ask(book: Book) -> AppendReply:
            run = _run(book, claim.run_id)
            first, last = claim.last_seq, claim.last_seq + len(unit)
            if run.row.epoch == claim.epoch and unit and run.events[first:] == unit:
                return AppendReply(last, bool(run.inbox))  # given again, because the first reply was lost
            seqs = [event.seq for event in unit]
            if (run.row.epoch, run.row.last_seq) != (claim.epoch, first) or seqs != list(range(first + 1, last + 1)):
                raise self._refused(run, claim, unit)
            row = replace(run.row, last_seq=last)
            if any(isinstance(event, StepSucceeded) for event in unit):
                row = replace(row, recoveries=0)
            if status is not None:
                row = replace(_in_status(row, status), wake_at=wake_at, totals=totals_of(unit) or row.totals)
            self._commit(row=row_data(row), events=lines, take=[key_of(item) for item in consumed])
            return AppendReply(last, bool(run.inbox))

        return await self._do(ask)

    def _refused(self, run: Run, claim: Claim, unit: list[Event]) -> ClaimLost:
        if run.row.epoch != claim.epoch:
            late = [item for item in late_items(unit, at=_now_us()) if key_of(item) not in (*run.inbox, *run.taken)]
            if late:
                self._commit(run=claim.run_id, put=[asdict(item) for item in late])
        return ClaimLost(
            f"Run {claim.run_id} is at epoch {run.row.epoch} and event {run.row.last_seq}, owned by "
            f"{run.row.owner or 'nobody'}; attach to it to watch it",
            run_id=claim.run_id,
        )

    async def load(self, run_id: str) -> RunRow:
        return await self._do(lambda book: self._seen(_run(book, run_id).row))

    def _seen(self, row: RunRow) -> RunRow:
        """The row as others see it: an owner that died carries nothing out."""
        return row if row.owner is None or self._file.lives(row.owner) else replace(row, owner=None)

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        return await self._do(lambda book: _run(book, run_id).events[after : after + limit])

    async def list_runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        since: int | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[RunRow]:
        def fits(row: RunRow) -> bool:
            return (
                workflow in (None, row.workflow)
                and status in (None, row.status)
                and (tag is None or tag in row.tags)
                and (since is None or row.created_at >= since)
                and (before is None or row.id < before)
            )

        rows = await self._do(lambda book: [self._seen(run.row) for run in book.runs.values() if fits(run.row)])
        return sorted(rows, key=lambda row: row.id, reverse=True)[:limit]

    async def delete_run(self, run_id: str) -> None:
        def ask(book: Book) -> None:
            _run(book, run_id)
            self._commit(delete=run_id)

        await self._do(ask)

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        def ask(book: Book) -> Claim:
            row = _run(book, run_id).row
            is_dead = row.owner is not None and not self._file.lives(row.owner)
            if row.owner is not None and not is_dead and not takeover:
                raise ClaimLost(
                    f"Run {run_id} is owned by {row.owner}; cancel it there, or take it over", run_id=run_id
                )
            recoveries = row.recoveries + 1 if is_dead else row.recoveries
            self._commit(row=row_data(replace(row, owner=owner, epoch=row.epoch + 1, recoveries=recoveries)))
            self._file.live(owner)
            return Claim(run_id, row.epoch + 1, row.last_seq)

        return await self._do(ask)

    async def renew(self, claim: Claim) -> None:
        if (await self.load(claim.run_id)).epoch != claim.epoch:
            raise ClaimLost(f"Run {claim.run_id} was taken by another owner", run_id=claim.run_id)

    async def release(self, claim: Claim, *, status: str) -> bool:
        def ask(book: Book) -> bool:
            run = book.runs.get(claim.run_id)
            if run is None or run.row.epoch != claim.epoch:
                return True
            if run.inbox:
                return False
            self._commit(row=row_data(replace(_in_status(run.row, status), owner=None)))
            return True

        return await self._do(ask)

    async def post(self, run_id: str, item: InboxItem) -> None:
        def ask(book: Book) -> None:
            run = _run(book, run_id)
            if key_of(item) in (*run.inbox, *run.taken):
                raise AlreadyAnswered(f"There was a {item.kind!r} for {item.step or run_id!r} before", run_id=run_id)
            self._commit(run=run_id, put=[asdict(item)])

        await self._do(ask)

    async def inbox(self, run_id: str) -> Sequence[InboxItem]:
        return await self._do(lambda book: list(_run(book, run_id).inbox.values()))

    async def definition(self, sha: str) -> Mapping[str, Any] | None:
        return await self._do(lambda book: book.definitions.get(sha))

    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        def waits(run: Run) -> bool:
            row = run.row
            if row.owner is not None and self._file.lives(row.owner):
                return False
            has_cause = bool(run.inbox) or (row.wake_at is not None and row.wake_at <= now)
            return row.status == "running" or (row.status == "waiting" and has_cause)

        rows = await self._do(lambda book: [run.row for run in book.runs.values() if waits(run)])
        return sorted(rows, key=lambda row: row.id)[:limit]

    async def aclose(self) -> None:
        await anyio.to_thread.run_sync(self._file.close)


def _run(book: Book, run_id: str) -> Run:
    if run_id not in book.runs:
        raise RunNotFound(f"There is no run {run_id!r} in the file", run_id=run_id)
    return book.runs[run_id]


def _in_status(row: RunRow, status: str) -> RunRow:
    """The row in that status; who ends a run does not own it any more."""
    if status not in _FINAL:
        return replace(row, status=status, finished_at=None)
    return replace(row, status=status, owner=None, finished_at=row.finished_at or _now_us())


def _now_us() -> int:
    return time.time_ns() // 1_000
