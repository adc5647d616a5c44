"""Going on with runs: those that failed, were left, or lost their process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from ._clock import now_us
from .claims import Claims
from .definition.workflow import WorkflowDef
from .engine.asking import unknown_question
from .engine.results import Results
from .engine.state.resume import folded, in_flight_of, is_unknown, reset_of, without
from .engine.state.run import RunState
from .errors import (
    ClaimLost,
    LLMOrchError,
    RunNotFound,
    RunPoisoned,
    StepError,
    StoreBusy,
    StoreError,
    StoreFull,
    WorkflowInvalid,
)
from .events import RunFinished, RunResumed, StepFailed, Warned
from .launch import Launcher
from .live import LiveRun
from .models.failure import failure_of
from .models.policy import Budget
from .planner.checks import check
from .ports import Claim, RunRow, RunStore
from .queries import Queries
from .run_options import checked_budget

__all__ = ["Recover", "Recovery", "checked_recover"]

Recover = Literal["own", "all", False]
_DONE = ("succeeded", "partial", "waiting")
_MOST_RECOVERIES = 5
_LOOK_AT = 100
_log = logging.getLogger("llmorch")


class Recovery:
    """Claims runs and has them carried on.

    Args:
        mode: `own` recovers runs of workflows that were registered or run here; `all` also those of other workflows
            that need no code.

    Attributes:
        is_watching: Runs are recovered by themselves from time to time.
    """

    def __init__(self, launcher: Launcher, queries: Queries, *, mode: Recover) -> None:
        self.mode: Recover = mode
        self._launcher = launcher
        self._queries = queries
        self.is_watching = False
        self._passed_over: dict[str, int] = {}  # run id -> how many workflows were known when it could not go on

    @property
    def _store(self) -> RunStore:
        return self._queries.store

    @property
    def _claims(self) -> Claims:
        return self._queries.claims

    async def resume(self, run_id: str, budget: Budget | None) -> LiveRun | None:
        """A run that failed, was cancelled or has no owner, ready to be carried on; None when it needs nothing.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here.
            ClaimLost: A living owner has it.
            WorkflowInvalid: It cannot run here, such as for want of a key.
        """
        self._launcher.bind()
        budget = checked_budget(budget)
        row = await self._store.load(run_id)
        if row.status in _DONE or self._is_carried_out(run_id):
            return None
        definition = await self._runnable(row, budget)
        claim = await self._claims.claim(row)
        return await self._taken_up(definition, claim, reset_of, budget=budget)

    async def go_on(self, run_id: str, *, now: int = 0) -> LiveRun | None:
        """A run without a living owner, claimed; None when it has ended or another is at it.

        Args:
            now: It is at least that time, in microseconds UTC: an alarm has rung.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here.
        """
        row = await self._store.load(run_id)
        if self._is_carried_out(run_id) or (row.owner is not None and not self._claims.is_idle(row)):
            return None
        if not await _is_due(self._store, row, now=now):
            return None
        with suppress(ClaimLost):
            return await self._recovered(row, now=now)
        return None

    async def takeover(self, run_id: str) -> LiveRun | None:
        """A run of an owner that seems to live but does nothing, taken from it; None when there is nothing to take.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here.
        """
        self._launcher.bind()
        row = await self._store.load(run_id)
        if row.status in (*_DONE, "failed", "cancelled") or self._is_carried_out(run_id):
            return None
        definition = await self._runnable(row, None)
        claim = await self._claims.claim(row, takeover=True)
        return await self._taken_up(definition, claim, in_flight_of)

    async def recover(self, begin: Callable[[LiveRun], None]) -> StoreError | None:
        """Claim every run without a living owner that can be carried on here.

        Args:
            begin: Carries a run on; called as soon as it is claimed.

        Returns:
            The trouble of the store that kept it from some of them; another time may do better.
        """
        self._launcher.bind()
        trouble: StoreError | None = None
        for row in await self._orphans():
            if self._launcher.closing or isinstance(trouble, StoreBusy | StoreFull):
                break
            try:
                live = await self._recovered(row)
            except (ClaimLost, RunNotFound):
                continue  # another was quicker
            except LLMOrchError as error:
                if isinstance(error, StoreError) and error.run_id is None:
                    trouble = error
                else:
                    self._pass_over(row, error)
                continue
            if live is not None:
                begin(live)
        return trouble

    def _pass_over(self, row: RunRow, error: LLMOrchError) -> None:
        """This run cannot be carried on here, unless a workflow becomes known; the others can."""
        self._passed_over[row.id] = len(self._queries.known)
        _log.warning("run %s is not recovered here: %s", row.id, error)

    async def _orphans(self) -> list[RunRow]:
        """Runs without a living owner that are this process's business, however many stand before them that are not."""
        idle = [row for row in await self._claims.idle() if self.may_recover(row) and await _is_due(self._store, row)]
        limit = _LOOK_AT
        while True:
            rows = await self._store.recoverable(now=now_us(), limit=limit)
            ours = [row for row in rows if self.may_recover(row)]
            if ours or len(rows) < limit:
                return idle + ours
            limit *= 4

    async def _recovered(self, row: RunRow, *, now: int = 0) -> LiveRun | None:
        """The run, claimed; None when it was given up."""
        definition = await self._runnable(row, None)
        claim = await self._claims.claim(row)
        if await self._is_poisoned(row):
            await self._end_poisoned(definition, claim)
            return None
        live = await self._taken_up(definition, claim, in_flight_of)
        live.executor.expire(now)
        return live

    def may_recover(self, row: RunRow) -> bool:
        """Whether a run without an owner is this process's business."""
        if self._is_carried_out(row.id) or self._passed_over.get(row.id) == len(self._queries.known):
            return False
        return self.mode == "all" or row.workflow in self._queries.known

    def is_awaited(self, row: RunRow) -> bool:
        """Whether a run without an owner will go on by itself as far as this process knows."""
        return self.is_watching and self.mode is not False and not self._launcher.closing and self.may_recover(row)

    def _is_carried_out(self, run_id: str) -> bool:
        """Whether this orchestrator is at it."""
        live = self._queries.live.get(run_id)
        return live is not None and not live.ended

    async def _runnable(self, row: RunRow, budget: Budget | None) -> WorkflowDef:
        definition = await self._queries.definition_of(row)
        faults = check(definition, self._launcher.catalog).faults
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)
        if budget is not None:
            self._launcher.refuse_unpriced(definition, budget)
        return definition

    async def _is_poisoned(self, before: RunRow) -> bool:
        """Whether it has been taken from so many dead owners, without a step recorded, that it seems to kill them."""
        return before.status == "running" and (await self._store.load(before.id)).recoveries > _MOST_RECOVERIES

    async def _end_poisoned(self, definition: WorkflowDef, claim: Claim) -> None:
        error = RunPoisoned(
            f"Run {claim.run_id}: {_MOST_RECOVERIES + 1} processes ended while they carried it out, and none recorded "
            "a step; find out what ends them, then resume it",
            run_id=claim.run_id,
        )
        state = folded(definition, await self._queries.log(claim.run_id))
        live = self._launcher.carried(state, claim, since=claim.last_seq)
        try:
            live.journal.append(RunResumed(claim.epoch))
            live.journal.append(RunFinished("failed", failure_of(error), state.usage, state.cost), status="failed")
            await live.journal.flush()
        except BaseException:
            await self._claims.let_go(claim, live.journal)
            raise
        finally:
            self._queries.dismiss(live)

    async def _taken_up(
        self,
        definition: WorkflowDef,
        claim: Claim,
        choose: Callable[[RunState], tuple[str, ...]],
        *,
        budget: Budget | None = None,
    ) -> LiveRun:
        """The claimed run with its log folded, what others left for it taken up, and `RunResumed` committed.

        Args:
            choose: Which steps run again.
        """
        live: LiveRun | None = None
        try:
            history = await self._queries.log(claim.run_id)
            before = folded(definition, history)
            chosen = choose(before)
            known = {item.step for item in await self._store.inbox(claim.run_id) if item.kind == "late"}
            refused = tuple(
                path for path in chosen if path not in known and is_unknown(before.steps[path], policy="fail")
            )
            asked = tuple(path for path in chosen if path not in known and is_unknown(before.steps[path], policy="ask"))
            reset = tuple(path for path in chosen if path not in (*refused, *asked))
            state = folded(definition, without(before, history, reset))
            live = self._launcher.carried(state, claim, since=claim.last_seq)
            live.journal.append(
                RunResumed(claim.epoch, reset, None if budget is None else budget.model_dump()), status="running"
            )
            for path in refused:
                live.journal.append(StepFailed(path, failure_of(_unknown(path), step=path)))
            for path in asked:
                live.journal.append(unknown_question(path))
            for path in await self._queries.changed(claim.run_id, definition):
                live.journal.append(Warned(path, "code-changed", "its code is not what it was when the run began"))
            await self._adopt(live)
            live.inbox.former = {path: before.steps[path].fingerprint for path in reset if path in before.steps}
            if before.finished_us is not None:
                live.inbox.ended = claim.epoch - 1
            await live.inbox.take_up()
            await live.journal.flush()
        except BaseException:
            await self._claims.let_go(claim, None if live is None else live.journal)
            if live is not None:
                self._queries.dismiss(live)
            raise
        return live

    async def _adopt(self, live: LiveRun) -> None:
        """Let a forked run go on taking results of the run it was forked from, if that can still be read."""
        former = live.state.forked_from
        if former is None:
            return
        try:
            row = await self._store.load(former)
            definition = await self._queries.definition_of(row, needs_code=False, given=live.state.definition)
            state = folded(definition, await self._queries.log(former))
        except LLMOrchError as error:
            _log.info(
                "run %s: %s cannot be read, so nothing more of it is adopted: %s", live.state.run_id, former, error
            )
        else:
            results = Results(state)
            results.pass_over(step for step in live.state.steps.values() if step.status == "succeeded")
            live.executor.adopt_from(results)


async def _is_due(store: RunStore, row: RunRow, *, now: int = 0) -> bool:
    """Whether a run that nobody is at goes on; one that waits does with an answer, or when its time is up."""
    if row.status != "waiting":
        return row.status == "running"
    has_rung = row.wake_at is not None and row.wake_at <= max(now, now_us())
    return has_rung or bool(await store.inbox(row.id))


def _unknown(path: str) -> StepError:
    return StepError(
        f"Step {path!r} was in flight when its process ended, so nobody knows what it has done, and "
        "on_unknown='fail' does not run it again by itself; see what it did, then resume the run",
        step=path,
    )


def checked_recover(mode: object) -> Recover:
    """The mode.

    Raises:
        ValueError: There is no such mode.
    """
    if mode == "own":
        return "own"
    if mode == "all":
        return "all"
    if mode is False:
        return False
    raise ValueError(f"recover= is 'own', 'all' or False, not {mode!r}")
