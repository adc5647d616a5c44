"""From an action and inputs to a run that is in the store and ready to be carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast
from weakref import WeakSet

import anyio

from . import _wake
from ._clock import now_us
from ._json import sha256
from .catalog import ModelCatalog
from .definition.workflow import WorkflowDef
from .engine.places import Places
from .engine.services import Services
from .engine.state.resume import folded, reset_of, without
from .engine.state.run import RunState
from .errors import LLMOrchError, WorkflowInvalid, WrongLoop
from .events import RunResumed, RunStarted
from .inputs import prepare_inputs
from .live import LiveRun
from .models.action import Action
from .models.policy import Budget
from .observers import around_of, observers_of
from .one_step import one_step
from .planner.checks import check, unpriced
from .policies.limits import Limits
from .ports import Claim, RunRow, RunStore
from .queries import Queries
from .run_options import Caching, RunOptions, checked_budget
from .runid import new_run_id
from .workflow import Workflow

__all__ = ["Launcher"]

_THREADS = 64


class Launcher:
    """Checks actions and inputs and begins runs; bound to the loop it is first used on.

    Attributes:
        budget: What a run may spend that names no budget of its own.
        closing: No further run is begun.
    """

    def __init__(
        self,
        catalog: ModelCatalog,
        queries: Queries,
        *,
        hooks: Sequence[Any],
        deps: Any,
        concurrency: int,
        limits: Limits | None,
        budget: Budget | None,
        cache: Caching,
    ) -> None:
        self.catalog = catalog
        self.queries = queries
        self.budget = budget
        self.closing = False
        self._limits = limits
        self._cache = cache
        self._observers = observers_of(hooks)
        self._around = around_of(hooks)
        self._deps = deps
        self._places = Places(concurrency)
        self._services: Services | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._loop: object = None

    @property
    def _store(self) -> RunStore:
        return self.queries.store

    @property
    def _owner(self) -> str:
        """What this process is called in the store; one that several processes use has a name for each."""
        return str(getattr(self._store, "owner", "here"))

    def checked(self, action: Action[Any] | Callable[..., Any], given: Collection[str] = ()) -> WorkflowDef:
        """The action as a definition without a fault; what is no Workflow becomes one of one step.

        Args:
            given: Names of the inputs the caller has; those a bare action has a default for become inputs.

        Raises:
            WorkflowInvalid: It cannot run; every fault is listed.
        """
        workflow = cast("Workflow[Any]", action) if isinstance(action, Workflow) else one_step(action, given)
        definition, faults = workflow.draft()
        passed: WeakSet[Launcher] = definition.memo.setdefault("passed", WeakSet())
        if not faults and self in passed:
            return definition
        checked = check(definition, self.catalog)
        faults = (*faults, *(fault for fault in checked.faults if fault not in faults))
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)
        passed.add(self)
        return definition

    def refuse_unpriced(self, definition: WorkflowDef, budget: Budget) -> None:
        """Nothing, unless the budget is in US dollars and a model's price is unknown.

        Raises:
            WorkflowInvalid: The budget could not be kept.
        """
        if budget.usd is not None and budget.unpriced == "refuse":
            faults = unpriced(definition, self.catalog)
            if faults:
                raise WorkflowInvalid(faults=faults, workflow=definition.name)

    async def begin(
        self,
        action: Action[Any] | Callable[..., Any],
        values: Mapping[str, Any] | None,
        *,
        inputs: Mapping[str, Any],
        options: RunOptions,
    ) -> LiveRun:
        """Check, validate, and put the run into the store; nothing runs yet.

        Raises:
            WorkflowInvalid: The workflow cannot run.
            InputInvalid: The inputs do not fit.
        """
        self.bind()
        limit_s, tags = options.checked_timeout(), options.checked_tags()
        budget = checked_budget(options.budget) or self.budget
        definition = self.checked(action, {*(values or ()), *inputs} if not isinstance(values, str) else ())
        if budget is not None:
            self.refuse_unpriced(definition, budget)
        prepared = prepare_inputs(definition, values, keywords=inputs, options=options.used())
        started = RunStarted(
            definition.name,
            inputs=prepared,
            budget=None if budget is None else budget.model_dump(),
            timeout=limit_s,
            tags=tags,
            metadata=options.noted(),
            run_id=new_run_id(),
            at_us=now_us(),
            seq=1,
        )
        return await self._put(definition, started)

    async def _put(self, definition: WorkflowDef, started: RunStarted) -> LiveRun:
        store, run_id = self._store, started.run_id
        instant = getattr(store, "is_instant", False)  # such a store compares inputs only for idempotency keys
        row = RunRow(
            id=run_id,
            workflow=definition.name,
            status="running",
            epoch=1,
            owner=self._owner,
            last_seq=1,
            created_at=started.at_us,
            inputs_sha="" if instant else sha256(started.inputs),
            tags=started.tags,
        )
        await store.create(row, [started], definition=None)
        state = RunState(definition)
        state.apply(started)
        return self._carried(state, Claim(run_id, row.epoch, 1))

    async def resume(self, run_id: str, budget: Budget | None) -> LiveRun | None:
        """Claim a run that failed, was cancelled or has no owner, ready to be carried on; None when it needs nothing.

        Raises:
            RunNotFound: There is no such run.
            CodeMissing: This process has never seen its workflow.
            ClaimLost: A living owner has it.
            WorkflowInvalid: It cannot run here, such as for want of a key.
        """
        self.bind()
        budget = checked_budget(budget)
        row = await self._store.load(run_id)
        if row.status in ("succeeded", "partial", "waiting"):
            return None
        definition = self.queries.definition_of(row)
        faults = check(definition, self.catalog).faults
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)
        if budget is not None:
            self.refuse_unpriced(definition, budget)
        claim = await self._store.claim(run_id, self._owner)
        history = await self.queries.log(run_id)
        before = folded(definition, history)
        reset = reset_of(before)
        live = self._carried(folded(definition, without(before, history, reset)), claim)
        live.journal.append(
            RunResumed(claim.epoch, reset, None if budget is None else budget.model_dump()), status="running"
        )
        await live.journal.flush()
        return live

    def _carried(self, state: RunState, claim: Claim) -> LiveRun:
        """The run of that state, carried out here."""
        if self._services is None:
            self._services = Services(
                self.catalog,
                self._places,
                self._threads,
                deps=self._deps,
                around=self._around,
                limits=self._limits,
                cache=self._cache.cache,
                cache_all=self._cache.is_default,
                cache_ttl_s=self._cache.ttl_s,
            )
        live = LiveRun(state, store=self._store, claim=claim, services=self._services, observers=self._observers)
        self.queries.remember(claim.run_id, state.definition)
        self.queries.live[claim.run_id] = live
        return live

    def _threads(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        return self._limiter

    def bind(self) -> None:
        """Take the running loop as one's own.

        Raises:
            WrongLoop: It is not the loop used so far.
            LLMOrchError: The orchestrator is closed.
        """
        if self.closing:
            raise LLMOrchError("this orchestrator is closed; make another one")
        token = _wake.token()
        if self._loop is None:
            self._loop = token
        elif self._loop != token:
            raise WrongLoop(
                "this orchestrator has run on another event loop; make one for each loop "
                "(run_sync and async code use different loops)"
            )
