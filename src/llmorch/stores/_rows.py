"""Events, inbox items and rows of runs, to and from the columns in which databases keep them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from .._clock import from_us
from .._json import dumps
from ..errors import StoreCorrupt
from ..event_lines import from_line, own_fields
from ..event_totals import totals_of
from ..events import Event
from ..ports import InboxItem, RunRow

__all__ = [
    "EventColumns", "asked", "event_of", "events_of", "item_of", "row_of", "sum_of", "totals_text", "unit_of",
]  # fmt: skip

EventColumns = tuple[int, str, str, int, int, bytes | bytearray, bytes | bytearray]
"""seq, kind, step, call, at, data, sum."""


def asked(run_id: object) -> str:
    """The id to look for: what no database takes, such as a text with a NUL out of a URL, is one that no run has."""
    return run_id if isinstance(run_id, str) and run_id.isascii() and "\0" not in run_id else ""


def unit_of(events: Sequence[Event]) -> list[EventColumns]:
    """The events of one unit as columns.

    Raises:
        ValueError: An event holds what is no JSON data, or their seqs have a gap.
    """
    columns: list[EventColumns] = []
    first = (events[0].seq or 0) if events else 0
    for seq, event in enumerate(events, start=first):
        if event.seq != seq:
            raise ValueError(f"a unit's events must follow each other: seq {event.seq} stands where {seq} was due")
        run_id, at, kind, own = event.run_id, event.at_us, event.__class__.__name__, own_fields(event)
        step: str = getattr(event, "step", None) or ""
        call: int = getattr(event, "call", 0)
        kept_sum = _sum(run_id, seq, kind, step, call, at, own)
        # Not `bytes`: for each of those, sqlite3 looks for an adapter, which costs more than to write it.
        columns.append((seq, kind, step, call, at, bytearray(own, "ascii"), bytearray(kept_sum)))
    return columns


def _sum(run_id: str, seq: int, kind: str, step: str, call: int, at: int, own: str) -> bytes:
    text = f"{run_id}\0{seq}\0{kind}\0{step}\0{call}\0{at}\0{own}"
    return hashlib.sha256(text.encode()).digest()[:16]


def event_of(run_id: str, columns: EventColumns) -> Event:
    """The event as it was appended.

    Raises:
        StoreCorrupt: It is not what was written.
    """
    seq, kind, step, call, at, data, kept_sum = columns
    own = data.decode("ascii", "replace")  # what is not ASCII was not written so, as the checksum says
    if _sum(run_id, seq, kind, step, call, at, own) != kept_sum:
        raise _corrupt(run_id, f"event {seq} is not what was written: its checksum differs")
    moment = from_us(at).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = f'{{"event":{dumps(kind)},"run_id":{dumps(run_id)},"seq":{seq},"at":"{moment}"'
    try:
        return from_line(f"{head}{'}' if own == '{}' else ',' + own[1:]}")
    except ValueError as error:
        raise _corrupt(run_id, f"event {seq} cannot be read: {error}") from error


def events_of(run_id: str, *, after: int, last_seq: int, limit: int, found: Sequence[EventColumns]) -> list[Event]:
    """A page of a log, checked for gaps.

    Raises:
        StoreCorrupt: An event is missing or damaged.
    """
    due = max(0, min(limit, last_seq - after))
    for seq, columns in enumerate(found, start=after + 1):
        if columns[0] != seq:
            raise _corrupt(run_id, f"event {seq} is missing")
    if len(found) != due:
        raise _corrupt(run_id, f"its row says {last_seq} events, and event {after + len(found) + 1} is missing")
    return [event_of(run_id, columns) for columns in found]


def item_of(run_id: str, columns: Sequence[Any]) -> InboxItem:  # Any: columns of a database
    """An item of the inbox from kind, step, call, data, at, by."""
    kind, step, call, data, at, by = columns
    return InboxItem(kind, step, call, _data(run_id, "inbox", data), at, by)


def row_of(columns: Sequence[Any]) -> RunRow:  # Any: columns of a database
    """A run's row from its columns in the order of its fields as a query names them."""
    kept = list(columns)
    kept[11] = tuple(_data(kept[0], "tags", kept[11]))
    kept[12] = _data(kept[0], "totals", kept[12])
    return RunRow(*kept)


def totals_text(events: Sequence[Event]) -> str | None:
    """What the row of a run keeps of a unit with its end; None of any other."""
    totals = totals_of(events)
    return dumps(totals) if totals else None


def _data(run_id: str, what: str, text: str | bytes) -> Any:  # Any: JSON data
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _corrupt(run_id, f"its {what} cannot be read: {error}") from error


def _corrupt(run_id: str, what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"Run {run_id}: {what}; nothing was changed. Keep a copy of the data as they are, and restore a backup",
        run_id=run_id,
    )


def sum_of(data: bytes, *, kind: str, version: int) -> bytes:
    """Checksum of a version of a document; its name may change."""
    return hashlib.sha256(f"{kind}\0{version}\0".encode() + data).digest()[:16]
