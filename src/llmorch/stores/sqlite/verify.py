"""Whether everything in a store is what was written: the file, every event, every row against its log."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...documents import label
from ...errors import StoreCorrupt, StoreError
from ...event_totals import totals_of
from ...events import Event, RunFinished, RunResumed, RunStarted
from ...ports import RunRow
from .._rows import event_of, item_of, row_of, sum_of
from .copies import snapshot
from .faults import Refused, error_of, trouble_of
from .place import Place
from .queries import FROM_RUNS
from .schema import version_of

__all__ = ["StoreReport", "examined", "examined_file"]

_FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})
_MOST_FAULTS = 20
_WITH_DOCUMENTS = 2  # the schema from which on there are any
_LOG = "SELECT seq, kind, step, call, at, data, sum FROM events WHERE run = ? ORDER BY seq"
_INBOX = "SELECT kind, step, call, data, at, by FROM inbox WHERE run = ? AND taken = 0 ORDER BY n"
_DOCUMENTS = (
    "SELECT d.kind, d.name, d.folder, v.version, v.data, v.sum FROM documents d "
    "JOIN document_versions v ON v.document = d.n ORDER BY d.n, v.version"
)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What `SqliteStore.verify` found; as text, what to do about it.

    Attributes:
        path: The file.
        schema: The version of its tables.
        runs: How many runs were looked at.
        events: How many events were read and compared with their checksums.
        file_faults: What SQLite says about the file: damaged pages, rows of tables that belong to no row.
        run_faults: Run id -> what is wrong with that run; a run without faults is not in it.
        definition_faults: Sha of a stored definition -> what is wrong with it.
        document_faults: What is wrong with documents of the library.
        unused: Shas of definitions that no run is made of; harmless.

    Example:
        >>> StoreReport(Path("runs.db"), 1, 12, 340).is_sound
        True
    """

    path: Path
    schema: int
    runs: int = 0
    events: int = 0
    file_faults: tuple[str, ...] = ()
    run_faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    definition_faults: Mapping[str, str] = field(default_factory=dict[str, str])
    document_faults: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not (self.file_faults or self.run_faults or self.definition_faults or self.document_faults)

    def __str__(self) -> str:
        head = f"{self.path}: schema {self.schema}, {self.runs} runs, {self.events} events"
        if self.is_sound:
            return f"{head}; all is as it was written"
        lines = [f"{head}; damaged"]
        lines += [f"  file: {fault}" for fault in self.file_faults]
        lines += [f"  run {run_id}: {fault}" for run_id, faults in self.run_faults.items() for fault in faults]
        lines += [f"  definition {sha}: {fault}" for sha, fault in self.definition_faults.items()]
        lines += [f"  {fault}" for fault in self.document_faults]
        return "\n".join([*lines, self._advice()])

    def _advice(self) -> str:
        if self.file_faults:
            return (
                "What to do: stop every process that uses the store, copy the file and its -wal elsewhere, then put a "
                "backup back with SqliteStore.restore; without one, `sqlite3 FILE .recover` saves what can be read"
            )
        return (
            "What to do: copy the file and its -wal elsewhere; all other runs can be used as before. Put a backup back "
            "with SqliteStore.restore to have the damaged runs again, or delete them"
        )


def examined_file(path: Path) -> StoreReport:
    """Look at everything in a store, in one snapshot, while others go on writing.

    Raises:
        StoreError: There is no store of this llmorch or an older one, or it cannot be opened.
    """
    try:
        Place(path).check()
        if not path.exists():
            raise StoreError(f"There is no store {path}")
        with closing(snapshot(path)) as connection:
            return examined(connection, path)
    except (sqlite3.Error, OSError, Refused) as error:
        raise error_of(trouble_of(error), error, path=path) from error


def examined(connection: sqlite3.Connection, path: Path) -> StoreReport:
    """The report on what the connection sees.

    Raises:
        StoreError: It is no store of this llmorch or an older one.
    """
    schema = version_of(connection, path)
    if schema == 0:
        return StoreReport(path, 0)
    look = _Look(connection)
    look.at_file()
    look.at_runs()
    look.at_definitions()
    if schema >= _WITH_DOCUMENTS:
        look.at_documents()
    return StoreReport(
        path,
        schema,
        look.runs,
        look.events,
        tuple(look.file_faults),
        {run_id: tuple(faults) for run_id, faults in look.run_faults.items()},
        look.definition_faults,
        tuple(look.document_faults),
        tuple(look.unused),
    )


class _Look:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.runs = 0
        self.events = 0
        self.file_faults: list[str] = []
        self.run_faults: dict[str, list[str]] = {}
        self.definition_faults: dict[str, str] = {}
        self.document_faults: list[str] = []
        self.unused: list[str] = []
        self._connection = connection

    def at_file(self) -> None:
        """Pages, indexes, and rows that belong to others."""
        for (answer,) in self._rows(f"PRAGMA integrity_check({_MOST_FAULTS})"):
            if answer != "ok":
                self.file_faults += [line for line in answer.splitlines() if not line.startswith("***")]
        lost: dict[tuple[str, str], int] = {}
        for table, _, parent, _ in self._rows("PRAGMA foreign_key_check"):
            lost[table, parent] = lost.get((table, parent), 0) + 1
        self.file_faults += [f"{count} rows of {table} belong to no row of {of}" for (table, of), count in lost.items()]

    def at_runs(self) -> None:
        """Every run, its log and its inbox."""
        for n, run_id in self._rows("SELECT n, id FROM runs ORDER BY id"):
            self.runs += 1
            faults: list[str] = []
            try:
                faults += self._faults_of(n, run_id)
            except StoreCorrupt as error:
                faults.append(_told(error, run_id))
            except sqlite3.DatabaseError as error:
                faults.append(f"cannot be read: {error}")
            if faults:
                self.run_faults[run_id] = faults[:_MOST_FAULTS]

    def at_definitions(self) -> None:
        """Every definition, and whether it is used."""
        used = {found for (found,) in self._rows("SELECT DISTINCT definition FROM runs")}
        for n, sha, body in self._rows("SELECT n, sha, body FROM definitions ORDER BY n"):
            if n not in used:
                self.unused.append(sha)
            if body is None:
                continue
            found = hashlib.sha256(body).hexdigest()
            if found != sha:
                self.definition_faults[sha] = f"is not what was written: its sha is {found}"

    def at_documents(self) -> None:
        """Every version of every document of the library."""
        for kind, name, folder, version, data, kept_sum in self._rows(_DOCUMENTS):
            if sum_of(data, kind=kind, version=version) != kept_sum:
                what = f"{label(kind, name, folder=folder)}, version {version}"
                self.document_faults.append(f"{what} is not what was written: its checksum differs")

    def _faults_of(self, n: int, run_id: str) -> Iterator[str]:
        row = row_of(self._connection.execute(f"{FROM_RUNS} WHERE r.n = ?", (n,)).fetchone())
        for columns in self._connection.execute(_INBOX, (n,)):
            item_of(run_id, columns)
        first: Event | None = None
        end: Event | None = None
        due = 1
        for columns in self._connection.execute(_LOG, (n,)):
            if columns[0] != due:
                yield f"events {due} to {columns[0] - 1} are missing"
            due = columns[0] + 1
            self.events += 1
            try:
                event = event_of(run_id, columns)
            except StoreCorrupt as error:
                yield _told(error, run_id)
                continue
            first = first or event
            if isinstance(event, RunFinished | RunResumed):
                end = event
        if due != row.last_seq + 1:
            yield f"its row says {row.last_seq} events, and its log ends with event {due - 1}"
        else:
            yield from _unlike(row, first, end)

    def _rows(self, statement: str) -> Iterator[Any]:  # Any: columns of a database
        """What the statement finds, as far as it can be read."""
        try:
            yield from self._connection.execute(statement)
        except sqlite3.DatabaseError as error:
            self.file_faults.append(f"{statement.partition(' FROM ')[0]} ends early: {error}")


def _unlike(row: RunRow, first: Event | None, end: Event | None) -> Iterator[str]:
    """Where a row says something else than its log."""
    if not isinstance(first, RunStarted):
        yield "its log does not begin with RunStarted"
    elif first.workflow != row.workflow:
        yield f"its row says workflow {row.workflow!r}, its log {first.workflow!r}"
    elif first.definition and row.definition_sha and first.definition != row.definition_sha:
        yield f"its row says definition {row.definition_sha}, its log {first.definition}"
    if isinstance(end, RunFinished):
        if row.status != end.status:
            yield f"its row says {row.status!r}, its log {end.status!r}"
        elif row.finished_at is None:
            yield "it has ended, and its row does not say when"
        elif row.totals and row.totals != (used := totals_of([end])):
            yield f"its row says that it used {row.totals}, its log {used}"
    elif row.status in _FINAL:
        yield f"its row says {row.status!r}, and its log does not end"


def _told(error: StoreCorrupt, run_id: str) -> str:
    """The fault alone: the run's id stands before it, the advice behind all of them."""
    return str(error).removeprefix(f"Run {run_id}: ").partition("; ")[0]
