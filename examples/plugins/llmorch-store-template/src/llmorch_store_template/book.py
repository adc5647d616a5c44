"""What the lines of the file add up to: runs with their logs and inboxes, and definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from llmorch.event_lines import from_line
from llmorch.events import Event
from llmorch.ports import InboxItem, RunRow

Key = tuple[str, str, int]


def key_of(item: InboxItem) -> Key:
    """What there can be one of in an inbox."""
    return item.kind, item.step, item.call


def row_data(row: RunRow) -> dict[str, Any]:
    """A row as JSON data."""
    return {**asdict(row), "tags": list(row.tags), "totals": dict(row.totals)}


@dataclass
class Run:
    """One run. `taken` are the keys of items that were taken up: a second one of them is refused for good."""

    row: RunRow
    events: list[Event] = field(default_factory=list)
    inbox: dict[Key, InboxItem] = field(default_factory=dict)
    taken: set[Key] = field(default_factory=set)


class Book:
    """The state of the store; `apply` is the only thing that changes it."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.by_idempotency_key: dict[str, str] = {}
        self.definitions: dict[str, Mapping[str, Any]] = {}

    def apply(self, line: str) -> None:
        """Take one commit: an object with any of `row`, `events`, `put`, `take`, `definition` and `delete`."""
        change = json.loads(line)
        if "delete" in change:
            self._delete(change["delete"])
            return
        if "definition" in change:
            sha, body = change["definition"]
            self.definitions.setdefault(sha, body)
        run = self._run(change)
        run.events += [from_line(event) for event in change.get("events", ())]
        for item in change.get("put", ()):
            kept = InboxItem(**item)
            run.inbox[key_of(kept)] = kept
        for key in change.get("take", ()):
            run.inbox.pop(tuple(key), None)
            run.taken.add(tuple(key))

    def _run(self, change: dict[str, Any]) -> Run:
        if "row" not in change:
            return self.runs[change["run"]]
        row = RunRow(**{**change["row"], "tags": tuple(change["row"]["tags"])})
        run = self.runs.setdefault(row.id, Run(row))
        run.row = row
        if row.idempotency_key is not None:
            self.by_idempotency_key[row.idempotency_key] = row.id
        return run

    def _delete(self, run_id: str) -> None:
        row = self.runs.pop(run_id).row
        if row.idempotency_key is not None:
            del self.by_idempotency_key[row.idempotency_key]
        if not any(run.row.definition_sha == row.definition_sha for run in self.runs.values()):
            self.definitions.pop(row.definition_sha, None)
