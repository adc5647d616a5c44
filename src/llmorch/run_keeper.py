"""What an orchestrator does with runs that exist: it goes on with them, and forks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio

from . import _clock, _wake, sync
from ._clock import now_us
from .diff import Diff, diff_of
from .errors import ClaimLost, LLMOrchError
from .fork import adoption_of, forked
from .handle import RunHandle
from .launch import Launcher
from .live import LiveRun
from .lookout import Lookout
from .models.action import Action
from .models.policy import Budget
from .planner.plan import Plan, make_plan
from .queries import Queries
from .recover import Recover, Recovery
from .run import Run, state_of
from .run_reader import RunReader
from .workflow import Workflow

__all__ = ["RunKeeper"]

_GRACE_S = 10.0


class RunKeeper(RunReader):
    """The verbs of `Orchestrator` for runs that a store holds.

    Example:
        >>> async def again(orchestrator: Orchestrator, run_id: str) -> str:
        ...     run = await (await orchestrator.resume(run_id)).result()
        ...     return run.status
    """

    def __init__(self, queries: Queries, launcher: Launcher, *, recover: Recover) -> None:
        super().__init__(queries)
        self._launcher = launcher
        self._recovery = Recovery(launcher, queries, mode=recover)
        self._alarms: dict[str, _wake.BackgroundTask] = {}
        self._lookout = Lookout(queries.store, queries.live, recover=self.recover if recover else None)
        queries.is_awaited = self._recovery.is_awaited
        queries.claim = self._claim

    def _carry_on(self, live: LiveRun) -> None:
        """Carry a run out in the background."""
        self._lookout.start()
        _wake.spawn(self._carry_out, live)

    async def _carry_out(self, live: LiveRun) -> None:
        with suppress(Exception):  # kept in `failure` for whoever asks for the result
            await live.drive()
        if live.failure is None or isinstance(live.failure, ClaimLost):  # another carries it out now
            self._queries.live.pop(live.state.run_id, None)
        self._see_to_deadline(live)

    def _see_to_deadline(self, live: LiveRun) -> None:
        """Go on with a run that waits for people when the time of one of them is up."""
        if not live.executor.is_resting:
            return
        deadlines = [found.deadline for found in (live.state.questions or {}).values() if found.deadline is not None]
        if deadlines:
            run_id = live.state.run_id
            former = self._alarms.get(run_id)
            if former is not None:
                former.cancel()
            self._alarms[run_id] = _wake.spawn(self._wake_up, run_id, min(deadlines))

    async def _wake_up(self, run_id: str, deadline_us: int) -> None:
        while (left_us := deadline_us - now_us()) > 0:  # the loop's clock may be ahead of the one deadlines are told by
            await _clock.sleep(left_us / 1_000_000)
        self._alarms.pop(run_id, None)
        if not self._launcher.closing:
            await self._claim(run_id, now=deadline_us)

    async def answer(self, run_id: str, step: str, value: Any, *, by: str | None = None) -> None:
        """Answer the open question of a step; the first answer counts. It needs no code of the workflow.

        The run goes on in its owner, else here when its code is registered, else at the next recovery.

        Args:
            step: Path of the step that asks.
            value: The answer; it must satisfy the schema that was recorded with the question.
            by: Who says so, to be noted in the log.

        Raises:
            RunNotFound: There is no such run.
            NoSuchQuestion: The step asks nothing just now.
            AlreadyAnswered: Somebody was quicker.
            AnswerInvalid: The answer does not fit; the question stays open.
        """
        await self._queries.answer(run_id, step, value, by=by)

    async def _claim(self, run_id: str, *, now: int = 0) -> None:
        """Carry on a run without an owner, if that can be done here."""
        with suppress(LLMOrchError):  # another does it, or nobody can
            live = await self._recovery.go_on(run_id, now=now)
            if live is not None:
                self._carry_on(live)

    async def _again(self, run_id: str) -> RunHandle[Any]:
        """The run that was begun with the same key; if its process died, it goes on here."""
        await self._claim(run_id)
        return RunHandle(run_id, self._queries)

    async def resume(self, run_id: str, *, budget: Budget | None = None) -> RunHandle[Any]:
        """Go on with a run that failed, was cancelled or was left: recorded results are taken as they are.

        Steps that failed, were cancelled or were in flight run again, and what depends on them. Of a run that succeeded
        the handle is given and nothing changes.

        Args:
            budget: What the whole run may spend from here on, what is spent included; unset: as before.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here; see `Orchestrator(workflows=[...])`.
            ClaimLost: A living owner has it.
            WorkflowInvalid: It cannot run here, such as for want of a key.
        """
        former = self._queries.live.get(run_id)
        if former is not None and former.ended:
            await former.release()  # it could not record its end: the store did not work
            self._queries.claims.add(former.journal.claim)
        live = await self._recovery.resume(run_id, budget)
        if live is not None:
            self._carry_on(live)
        return RunHandle(run_id, self._queries, live=live)

    async def fork(
        self,
        run_id: str,
        *,
        workflow: Workflow[Any] | None = None,
        replace: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> RunHandle[Any]:
        """A new run that adopts every result of another whose fingerprint is unchanged, and asks for the rest.

        `diff` tells beforehand what that will be.

        Args:
            workflow: The workflow as it is now; unset, as it was when the run began.
            replace: Path of a step or name of an input -> the value to go on with instead.
            budget: What the new run may spend; unset: as the old one, else what the orchestrator says.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here, and no workflow is given that has it.
            WorkflowInvalid: The workflow cannot run here.
            InputInvalid: A replaced input does not fit, or a replaced step is not there.
        """
        live = await forked(
            run_id, launcher=self._launcher, queries=self._queries, workflow=workflow, replace=replace, budget=budget
        )
        self._carry_on(live)
        return RunHandle(live.state.run_id, self._queries, live=live)

    def plan(
        self, action: Action[Any] | Callable[..., Any], values: Mapping[str, Any] | None = None, /, **inputs: Any
    ) -> Plan:
        """Order, calls, tokens and US dollars before anything is sent.

        Raises:
            WorkflowInvalid: It cannot run; every fault is listed.
        """
        definition = self._launcher.checked(action)
        if self._launcher.budget is not None:
            self._launcher.refuse_unpriced(definition, self._launcher.budget)
        return make_plan(definition, self._launcher.catalog, {**(values or {}), **inputs})

    def diff(
        self, run: Run[Any], *, workflow: Workflow[Any] | None = None, replace: Mapping[str, Any] | None = None
    ) -> Diff:
        """What `fork` would keep of a run and what it would ask, with the reasons and the price; nothing is sent.

        Args:
            workflow: As for `fork`.
            replace: As for `fork`.

        Raises:
            WorkflowInvalid: A name of the workflow cannot be bound.
            InputInvalid: The run's inputs do not fit the workflow, or a replaced value does not.
        """
        former = state_of(run)
        definition = former.definition if workflow is None else workflow.freeze()
        made = adoption_of(definition, former, replace=replace or {}, scripts=self._launcher.scripts)
        plan = make_plan(definition, self._launcher.catalog, made.state.inputs)
        return diff_of(made, former, planned=(*plan.steps, *plan.checks))

    async def takeover(self, run_id: str) -> RunHandle[Any]:
        """Go on with a run although its owner seems to live, such as a process that was stopped or hangs.

        Its former owner notices at its next record, and can change nothing any more.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: Its code is not registered here.
        """
        live = await self._recovery.takeover(run_id)
        if live is not None:
            self._carry_on(live)
        return RunHandle(run_id, self._queries, live=live)

    async def recover(self) -> list[RunHandle[Any]]:
        """Go on with every run that lost its process and whose code is registered here.

        An orchestrator does it by itself when it is entered and every 5 s, unless it was made with `recover=False`.

        Raises:
            StoreError: The store kept it from some of them; the others go on.
        """
        begun: list[RunHandle[Any]] = []

        def begin(live: LiveRun) -> None:
            self._carry_on(live)
            begun.append(RunHandle(live.state.run_id, self._queries, live=live))

        trouble = await self._recovery.recover(begin)
        if trouble is not None:
            raise trouble
        return begun

    async def aclose(self) -> None:
        """Start no further step, give what is in flight 10 s, then close providers; such runs are `interrupted`."""
        self._launcher.closing = self._queries.closing = True
        await self._lookout.stop()
        for alarm in self._alarms.values():
            alarm.cancel()
        live = list(self._queries.live.values())
        for run in live:
            run.executor.leave()
        with anyio.move_on_after(_GRACE_S):
            for run in live:
                await run.wait()
        for run in live:
            run.executor.abandon()
            with anyio.move_on_after(_GRACE_S):
                await run.wait_seen()
            await run.release()
        await self._launcher.catalog.aclose()
        await self._queries.store.aclose()

    async def __aenter__(self) -> Self:
        self._launcher.bind()
        try:
            if self._recovery.mode:
                with anyio.move_on_after(_GRACE_S):  # of a store that is slow or full, the lookout recovers the rest
                    await self._recovery.recover(self._carry_on)
            self._lookout.stays = self._recovery.is_watching = True
            self._lookout.start()
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(Exception):  # the first error says what is wrong
                await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sync.call(self.aclose)
