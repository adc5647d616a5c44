"""A run store said in the plainest way: dicts, and who lives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from llmorch import CallFinished, Event, StepFailed, StepSkipped, StepSucceeded
from llmorch.ports import Claim, InboxItem, RunRow

FINAL = ("succeeded", "partial", "failed", "cancelled")
_RECORDS = (StepSucceeded, StepFailed, StepSkipped)
Key = tuple[str, str, int]


def key_of(item: InboxItem) -> Key:
    """What an inbox knows an item by."""
    return item.kind, item.step, item.call


@dataclass
class ModelRun:
    """One run. `recoveries` is None while adapters may count differently."""

    row: RunRow
    events: list[Event]
    definition: Any
    owner: str | None
    epoch: int
    status: str
    finished: bool = False
    wake_at: int | None = None
    recoveries: int | None = 0
    inbox: dict[Key, InboxItem] = field(default_factory=dict[Key, InboxItem])
    taken: set[Key] = field(default_factory=set[Key])

    def seen(self, alive: set[str]) -> dict[str, Any]:
        """What a row must show; an owner that died carries nothing out."""
        return {
            "id": self.row.id,
            "workflow": self.row.workflow,
            "status": self.status,
            "epoch": self.epoch,
            "owner": self.owner if self.owner in alive else None,
            "last_seq": len(self.events),
            "created_at": self.row.created_at,
            "finished": self.finished,
            "idempotency_key": self.row.idempotency_key,
            "inputs_sha": self.row.inputs_sha,
            "definition_sha": self.row.definition_sha,
            "tags": self.row.tags,
            "wake_at": self.wake_at,
        }

    def enter(self, status: str) -> None:
        self.status = status
        self.finished = status in FINAL
        if self.finished:
            self.owner = None


class Model:
    """All runs. Each operation gives what the store must give, or the name of the error it must raise."""

    def __init__(self) -> None:
        self.runs: dict[str, ModelRun] = {}
        self.alive: set[str] = set()

    def create(self, row: RunRow, first: list[Event], definition: Any) -> str:
        """The id of the run that `create` must give, or an error."""
        if row.idempotency_key is not None:
            for run in self.runs.values():
                if run.row.idempotency_key == row.idempotency_key:
                    same = (run.row.workflow, run.row.inputs_sha) == (row.workflow, row.inputs_sha)
                    return run.row.id if same else "IdempotencyConflict"
        self.runs[row.id] = ModelRun(row, list(first), definition, row.owner, row.epoch, row.status)
        return row.id

    def append(
        self, claim: Claim, unit: list[Event], *, status: str | None, consumed: list[InboxItem], wake_at: int | None
    ) -> str | tuple[int, bool]:
        run = self.runs.get(claim.run_id)
        if run is None:
            return "RunNotFound"
        if run.epoch != claim.epoch:
            self._keep_late(run, unit)
            return "ClaimLost"
        if len(run.events) != claim.last_seq:
            return "ClaimLost"
        run.events += unit
        for item in consumed:
            run.inbox.pop(key_of(item), None)
            run.taken.add(key_of(item))
        if any(isinstance(event, _RECORDS) for event in unit):
            run.recoveries = 0
        if status is not None:
            run.enter(status)
            run.wake_at = wake_at
        return len(run.events), bool(run.inbox)

    def _keep_late(self, run: ModelRun, unit: list[Event]) -> None:
        """The ends of calls with the success of their step; here a unit has at most one of each."""
        ends = [event for event in unit if isinstance(event, CallFinished)]
        for event in unit:
            if isinstance(event, StepSucceeded) and ends and ends[0].step == event.step:
                item = InboxItem("late", event.step, ends[0].call)
                if key_of(item) not in run.inbox and key_of(item) not in run.taken:
                    run.inbox[key_of(item)] = item

    def claim(self, run_id: str, owner: str, *, takeover: bool) -> str | Claim:
        run = self.runs.get(run_id)
        if run is None:
            return "RunNotFound"
        lives = run.owner in self.alive
        if run.owner is not None and lives and not takeover:
            return "ClaimLost"
        if run.owner is not None:
            run.recoveries = None if lives or run.recoveries is None else run.recoveries + 1
        run.owner = owner
        run.epoch += 1
        return Claim(run_id, run.epoch, len(run.events))

    def renew(self, claim: Claim) -> str | None:
        run = self.runs.get(claim.run_id)
        if run is None:
            return "RunNotFound"
        return None if run.epoch == claim.epoch else "ClaimLost"

    def release(self, claim: Claim, status: str) -> bool:
        run = self.runs.get(claim.run_id)
        if run is None or run.epoch != claim.epoch:
            return True
        if run.inbox:
            return False
        run.owner = None
        run.enter(status)
        return True

    def post(self, run_id: str, item: InboxItem) -> str | None:
        run = self.runs.get(run_id)
        if run is None:
            return "RunNotFound"
        if key_of(item) in run.inbox or key_of(item) in run.taken:
            return "AlreadyAnswered"
        run.inbox[key_of(item)] = replace(item)
        return None

    def delete(self, run_id: str) -> str | None:
        return None if self.runs.pop(run_id, None) is not None else "RunNotFound"

    def definition(self, sha: str) -> Any:
        """The first body that a run that is still there was given with it."""
        return next((run.definition for run in self.runs.values() if run.row.definition_sha == sha), None)

    def recoverable(self, now: int) -> list[str]:
        found = []
        for run_id, run in sorted(self.runs.items()):
            waits = run.status == "waiting" and (bool(run.inbox) or (run.wake_at is not None and run.wake_at <= now))
            if run.owner not in self.alive and (run.status == "running" or waits):
                found.append(run_id)
        return found
