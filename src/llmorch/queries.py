"""Reading runs: those being carried out here, and those a store keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import anyio

from ._clock import from_us, now_us
from .answers import Questions, leave
from .claims import Claims
from .definition.workflow import WorkflowDef
from .engine.journal import Journal
from .engine.listener import Listener
from .engine.state.resume import folded
from .errors import AlreadyAnswered, ClaimLost, CodeMissing, RunNotFound
from .event_totals import spent
from .events import Event
from .items import Items
from .live import LiveRun
from .lookout import Pulse
from .models.usage import Usage
from .models.values import Data
from .ports import InboxItem, RunRow, RunStore
from .run import Run

__all__ = ["Queries", "RunSummary"]

_PAGE = 500
_CLEANUP_S = 5.0
_FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as lists show it.

    Attributes:
        usage: Tokens and requests when it last ended; None before, and where the store does not keep it.
        cost: What that cost in US dollars; None also when a price is unknown.
    """

    id: str
    workflow: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    tags: tuple[str, ...]
    usage: Usage | None = None
    cost: Decimal | None = None


class Queries:
    """Answers about runs.

    Attributes:
        live: Runs carried out in this process, by id.
        known: Definitions this process has seen, by workflow name.
        closing: Nothing is waited for any more.
        is_awaited: Whether a run without an owner will go on by itself.
        claim: Has a run without an owner carried on here, if that can be.
        claims: What this process owns.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.live: dict[str, LiveRun] = {}
        self.known: dict[str, WorkflowDef] = {}
        self.closing = False
        self.is_awaited: Callable[[RunRow], bool] = lambda row: False
        self.claim: Callable[[str], Awaitable[object]] = _nobody
        self.pulse = Pulse(store)
        self.claims = Claims(store)
        self._definitions: OrderedDict[str, WorkflowDef] = OrderedDict()
        self._registered: list[WorkflowDef] = []

    def register(self, definition: WorkflowDef) -> None:
        """Take it for the workflow of its name; it gives its code, too, when another of that name follows."""
        self.known[definition.name] = definition
        self._registered.append(definition)

    def remember(self, run_id: str, definition: WorkflowDef) -> None:
        """Keep what is needed to read a run of the memory store again."""
        self.known.setdefault(definition.name, definition)
        self._keep(run_id, definition)

    def _keep(self, key: str, definition: WorkflowDef) -> None:
        self._definitions[key] = definition
        while len(self._definitions) > 2_000:
            self._definitions.popitem(last=False)  # a dict would look for its first key ever longer

    def listen(self, run_id: str, *, after: int = 0, deltas: bool = True) -> Listener:
        """The run's events after a seq."""
        live = self.live.get(run_id)
        if live is None:
            return Listener(run_id, self.store, after=after, deltas=deltas, follow=self._follow)
        return live.listen(after=after, deltas=deltas, follow=self._follow)

    def items(self, run_id: str, step: str) -> Items[Any]:
        """The items of a map as they come."""

        async def opened() -> tuple[WorkflowDef, int]:
            row = await self.store.load(run_id)
            return await self.definition_of(row, needs_code=False), row.last_seq

        return Items(step, opened=opened, listen=lambda after: self.listen(run_id, after=after, deltas=False))

    async def _follow(self, run_id: str, after: int) -> Journal | bool:
        """See `Follow`: of a run that is carried out elsewhere, or by nobody just now."""
        revision = await self.pulse.revision()
        live = self.live.get(run_id)
        if live is not None and not live.journal.closed:
            return live.journal
        if self.closing or (live is not None and live.failure is not None and not isinstance(live.failure, ClaimLost)):
            return False  # it ended here, without an end in the log
        row = await self.store.load(run_id)
        if row.last_seq > after:
            return True
        if row.status in _FINAL or not self._goes_on(row):
            return False
        await self.pulse.change(revision)
        return True

    def _goes_on(self, row: RunRow) -> bool:
        """Whether somebody carries a run out, or will; one that waits goes on when it gets its answer."""
        return row.owner is not None or row.status == "waiting" or self.is_awaited(row)

    async def result(self, run_id: str, *, wait_for_answers: bool = False) -> Run[Any]:
        """The run when it has ended or waits for people, or when nobody will carry it out.

        Args:
            wait_for_answers: Wait for people, too.
        """
        while True:
            live = self.live.get(run_id)
            if live is not None:
                await live.wait()
                if live.was_dismissed:
                    continue
                if isinstance(live.failure, Exception):
                    raise live.failure
                if live.state.finished_us is not None:
                    return Run(live.state)
                if live.state.status != "waiting" and not self.is_awaited(await self.store.load(run_id)):
                    return Run(live.state)
                if live.state.status == "waiting" and self.live.get(run_id) is live:
                    del self.live[run_id]  # it was given up until somebody answers
            revision = await self.pulse.revision()
            row = await self.store.load(run_id)
            if row.status in _FINAL or self.closing or not self._goes_on(row):
                return await self.get(run_id)
            if row.status == "waiting" and not wait_for_answers and not await self.store.inbox(run_id):
                return await self.get(run_id)
            await self.pulse.change(revision)

    def dismiss(self, live: LiveRun) -> None:
        """What was claimed is not carried out here after all."""
        if self.live.get(live.state.run_id) is live:
            del self.live[live.state.run_id]
        live.dismiss()

    async def cancel(self, run_id: str) -> None:
        """Stop a run, wherever it is carried out; returns when it has stopped, or after 5 s."""
        live = self.live.get(run_id)
        if live is not None and not live.ended:
            live.executor.cancel()
            with anyio.move_on_after(_CLEANUP_S):
                await live.wait()
            return
        row = await self.store.load(run_id)
        if row.status in _FINAL:
            return
        with suppress(AlreadyAnswered):  # somebody else has asked for it
            await self.store.post(run_id, InboxItem("cancel", call=row.epoch, at=now_us()))
        with anyio.move_on_after(_CLEANUP_S):
            await self.claim(run_id)
            while (row := await self.store.load(run_id)).status not in _FINAL and self._goes_on(row):
                await self.pulse.change(await self.pulse.revision())

    async def questions(self, run_id: str) -> Questions:
        """The questions of a run so far.

        Raises:
            RunNotFound: There is no such run.
        """
        found = Questions()
        for event in await self.log(run_id):
            found.see(event)
        return found

    async def answer(self, run_id: str, step: str, value: Any, *, by: str | None = None) -> None:  # Any: an answer
        """Leave an answer for the run's owner; a run without one goes on here, if that can be.

        Raises:
            RunNotFound: There is no such run.
            NoSuchQuestion: The step asks nothing.
            AlreadyAnswered: The question has its answer.
            AnswerInvalid: The answer does not fit; the question stays open.
        """
        question = (await self.questions(run_id)).at(step, run_id)
        live = self.live.get(run_id)
        if live is not None and not live.ended and not live.executor.is_resting:
            await live.answer(question, value, by=by)
            return
        await leave(self.store, question, run_id=run_id, value=value, by=by)
        if live is not None and not live.ended:
            await live.wait()
        await self.claim(run_id)

    async def get(self, run_id: str, *, definition: WorkflowDef | None = None) -> Run[Any]:
        """The run as its log tells it.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: This process has never seen its workflow.
        """
        live = self.live.get(run_id)
        if live is not None and live.failure is None:
            return Run(live.state)
        row = await self.store.load(run_id)
        state = folded(definition or await self.definition_of(row, needs_code=False), await self.log(run_id))
        if row.owner is None and state.status == "running":
            state.status = "interrupted"
        return Run(state)

    async def definition_of(
        self, row: RunRow, *, needs_code: bool = True, given: WorkflowDef | None = None
    ) -> WorkflowDef:
        """The definition of a run, as it was when the run began, with the code that is registered here.

        Args:
            needs_code: Off for reading; see `rebuilt`.
            given: Its code is taken before what is registered.

        Raises:
            CodeMissing: It has code that this process has not seen.
        """
        found = self._definitions.get(row.id)
        if found is not None:
            return found
        body = await self.store.definition(row.definition_sha) if row.definition_sha else None
        if body is not None:
            return self._rebuilt(body, row, needs_code=needs_code, given=given)
        found = self.known.get(row.workflow)
        if found is None:
            raise CodeMissing(
                f"Run {row.id} is of workflow {row.workflow!r}, which this process has not seen; "
                "pass it as workflow=, or register it with Orchestrator(workflows=[...])",
                run_id=row.id,
            )
        return found

    def _rebuilt(
        self, body: Mapping[str, Data], row: RunRow, *, needs_code: bool, given: WorkflowDef | None
    ) -> WorkflowDef:
        from .definition.stored import rebuilt  # not until a run is read that another process began

        key = row.definition_sha if needs_code else f"{row.definition_sha} to read"
        found = self._definitions.get(key) if given is None else None
        if found is None:
            code = [*([] if given is None else [given]), *self.known.values(), *self._registered]
            found = rebuilt(body, code, run_id=row.id, sha=row.definition_sha, needs_code=needs_code)
            if given is None:
                self._keep(key, found)
        return found

    async def changed(self, run_id: str, definition: WorkflowDef) -> list[str]:
        """Paths of the steps whose code is no longer what it was when the run began."""
        row = await self.store.load(run_id)
        body = await self.store.definition(row.definition_sha) if row.definition_sha else None
        if body is None:
            return []
        from .definition.stored import changed  # as above

        return changed(body, definition)

    async def log(self, run_id: str) -> list[Event]:
        """Every committed event of a run.

        Raises:
            RunNotFound: There is no such run, or it has none.
        """
        events: list[Event] = []
        while page := await self.store.events(run_id, after=len(events), limit=_PAGE):
            events += page
        if not events:
            raise RunNotFound(f"Run {run_id!r} has no events", run_id=run_id)
        return events

    async def runs(self, filters: Mapping[str, Any]) -> list[RunSummary]:
        """Runs, newest first; one that nobody carries out counts as interrupted, whatever its row says."""
        wanted, limit = filters["status"], filters["limit"]
        if wanted not in ("running", "interrupted"):
            return [_summary(row) for row in await self.store.list_runs(**filters)]
        found: list[RunSummary] = []
        filters = {**filters, "status": "running"}
        while rows := await self.store.list_runs(**filters):
            found += [summary for row in rows if (summary := _summary(row)).status == wanted]
            if len(found) >= limit or len(rows) < limit:
                break
            filters = {**filters, "before": rows[-1].id}
        return found[:limit]


async def _nobody(run_id: str) -> None:
    """Carries nothing on."""


def _status(row: RunRow) -> str:
    return "interrupted" if row.status == "running" and row.owner is None else row.status


def _summary(row: RunRow) -> RunSummary:
    finished = from_us(row.finished_at) if row.finished_at is not None else None
    return RunSummary(
        row.id, row.workflow, _status(row), from_us(row.created_at), finished, row.tags, *spent(row.totals)
    )
