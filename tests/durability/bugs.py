"""Bugs to be put into the engine or the store of one process, to show that the proofs would notice them.

Each is a function that patches the running process; none of them is known to the product.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import anyio

from llmorch import _wake
from llmorch.definition.workflow import WorkflowDef
from llmorch.engine import delivery
from llmorch.engine.journal import Journal
from llmorch.engine.state import arguments
from llmorch.engine.state import run as run_fold
from llmorch.engine.state.step import StepState
from llmorch.events import CallFinished, CallStarted, Event
from llmorch.models.values import Data
from llmorch.ports import AppendReply, Claim, RunRow, RunStore
from llmorch.providers._chat_stream import StreamReader
from llmorch.queries import Queries
from llmorch.stores.sqlite import appends
from llmorch.stores.sqlite.owners import Owners
from llmorch.stores.sqlite.store import SqliteStore

__all__ = ["BUGS"]

_FUSE_S = 0.004  # a commit that nobody waits for comes so much later


def _unawaited_start() -> None:
    """A request is sent without waiting until its start is committed."""
    append, durable = Journal.append, Journal.durable
    starts: dict[Journal, int] = {}

    def appended(self: Journal, event: Event, *, status: str | None = None) -> int:
        seq = append(self, event, status=status)
        if isinstance(event, CallStarted):
            starts[self] = seq
        return seq

    async def later(journal: Journal, seq: int) -> None:
        await anyio.sleep(_FUSE_S)
        with suppress(Exception):  # whoever waits for the log is told
            await durable(journal, seq)

    async def not_waited(self: Journal, seq: int) -> None:
        if starts.get(self) == seq:
            _wake.spawn(later, self, seq)
        else:
            await durable(self, seq)

    _patch(Journal, append=appended, durable=not_waited)


def _start_after_sending() -> None:
    """`CallStarted` is appended when the answer is there, together with `CallFinished`."""
    append = Journal.append
    held: dict[str, Event] = {}

    def appended(self: Journal, event: Event, *, status: str | None = None) -> int:
        if isinstance(event, CallStarted):
            held[event.step] = event
            return self.committed
        if isinstance(event, CallFinished) and event.step in held:
            append(self, held.pop(event.step))
        return append(self, event, status=status)

    _patch(Journal, append=appended)


def _two_transactions() -> None:
    """The events of a unit are committed in two transactions."""
    append = SqliteStore.append

    async def halved(self: SqliteStore, claim: Claim, events: Sequence[Event], **options: Any) -> AppendReply:
        first, rest = events[: len(events) // 2], events[len(events) // 2 :]
        if first:
            reply = await append(self, claim, first)
            await anyio.sleep(_FUSE_S)
            claim = Claim(claim.run_id, claim.epoch, reply.last_seq)
        return await append(self, claim, rest, **options)

    _patch(SqliteStore, append=halved)
    _patch(delivery, quick_way=_none)


def _later_unit_first() -> None:
    """The second half of a unit is committed before the first one."""
    append = SqliteStore.append
    _unguard(" AND last_seq = ?", " AND ? IS NOT NULL")

    async def swapped(self: SqliteStore, claim: Claim, events: Sequence[Event], **options: Any) -> AppendReply:
        first, rest = events[: len(events) // 2], events[len(events) // 2 :]
        if not first:
            return await append(self, claim, rest, **options)
        reply = await append(self, Claim(claim.run_id, claim.epoch, claim.last_seq + len(first)), rest, **options)
        await anyio.sleep(_FUSE_S)
        await append(self, claim, first)
        with suppress(Exception):  # the row tells of the last event again
            await append(self, Claim(claim.run_id, claim.epoch, reply.last_seq), ())
        return reply

    _patch(SqliteStore, append=swapped)
    _patch(delivery, quick_way=_none)


class _Committing(sqlite3.Connection):
    """A connection that keeps what was to be undone."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute("COMMIT" if sql == "ROLLBACK" else sql, *parameters)


def _commit_in_finally() -> None:
    """A transaction is committed however it ended."""
    _patch(sqlite3, connect=partial(sqlite3.connect, factory=_Committing))


def _epoch_unchecked() -> None:
    """A unit is recorded whoever owns the run."""
    _unguard(" AND epoch = ?", " AND ? IS NOT NULL")


def _claim_blindly() -> None:
    """A claim does not ask whether the owner lives, or whether it was the first."""

    def nobody(self: Owners, owner: str, run_id: str, *, epoch: int) -> bool:
        return False

    _patch(Owners, is_alive=nobody)


def _attempts_in_memory() -> None:
    """The requests of a step are numbered by a counter that begins anew with the process."""
    append = Journal.append
    counted = Counter[str]()

    def appended(self: Journal, event: Event, *, status: str | None = None) -> int:
        if isinstance(event, CallStarted):
            counted[event.step] += 1
        if isinstance(event, CallStarted | CallFinished):
            event.call = counted[event.step]
        return append(self, event, status=status)

    _patch(Journal, append=appended)


def _in_completion_order() -> None:
    """The results of a map are joined in the order in which its items ended."""
    joined = arguments.map_result

    def by_end(state: StepState) -> list[Data]:
        assert state.map is not None
        items = list(state.map.items)
        state.map.items.sort(key=lambda item: (item.finished_us or 0) if item is not None else 0)
        try:
            return joined(state)
        finally:
            state.map.items[:] = items

    _patch(run_fold, map_result=by_end)


def _truncated_accepted() -> None:
    """A streamed answer that ends before its end is taken for whole."""
    response = StreamReader.response

    def accepted(self: StreamReader) -> Any:
        self._is_over = True
        return response(self)

    _patch(StreamReader, response=accepted)


def _definition_reread() -> None:
    """A run goes on with the workflow as it is now, not as it was when the run began."""

    async def reread(self: Queries, row: RunRow, *, needs_code: bool = True) -> WorkflowDef:
        return self.known[row.workflow]

    _patch(Queries, definition_of=reread)


def _unguard(guard: str, instead: str) -> None:
    assert guard in appends._FIND, f"it has no {guard!r}"
    _patch(appends, _FIND=appends._FIND.replace(guard, instead))


def _none(store: RunStore, name: str) -> None:
    """No way to a store but its `append`, which is the one with the bug."""


def _patch(target: Any, **members: Any) -> None:
    """Replace what is there; a name that is not there is a bug in this file."""
    for name, member in members.items():
        assert hasattr(target, name), f"{target} has no {name}"
        setattr(target, name, member)


BUGS: Mapping[str, Callable[[], None]] = {
    "unawaited-start": _unawaited_start,
    "start-after-sending": _start_after_sending,
    "two-transactions": _two_transactions,
    "later-unit-first": _later_unit_first,
    "commit-in-finally": _commit_in_finally,
    "epoch-unchecked": _epoch_unchecked,
    "claim-blindly": _claim_blindly,
    "attempts-in-memory": _attempts_in_memory,
    "in-completion-order": _in_completion_order,
    "truncated-accepted": _truncated_accepted,
    "definition-reread": _definition_reread,
}
"""Name -> what puts the bug into this process."""
