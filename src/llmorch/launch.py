"""From an action and inputs to a run that is in the store and ready to be carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import anyio

from . import _wake
from ._clock import now_us
from ._json import sha256
from .answers import OnAsk
from .catalog import ModelCatalog
from .definition.actions import scripts_in
from .definition.workflow import WorkflowDef
from .engine.errand import Errands
from .engine.places import Places
from .engine.services import Services
from .engine.state.run import RunState
from .errors import LLMOrchError, WorkflowInvalid, WrongLoop
from .events import Event, RunStarted
from .inputs import prepare_inputs
from .live import LiveRun
from .models.action import Action
from .models.policy import Budget
from .models.values import Data
from .observers import around_of, observers_of
from .one_step import one_step
from .planner.checks import check, unpriced
from .policies.limits import Limits
from .ports import Claim, RunRow, RunStore
from .queries import Queries
from .run_options import Caching, RunOptions
from .runid import new_run_id
from .scripts.find import ScriptNotFound, find_script
from .workflow import Workflow

__all__ = ["Launcher"]

_THREADS = 64
_PASSED = "launchers it has passed"  # their numbers: to ask a set of weak references takes ten times as long
_REMEMBERED = 7
_numbers = count()


class Launcher:
    """Checks actions and inputs and begins runs; bound to the loop it is first used on.

    Attributes:
        budget: What a run may spend that names no budget of its own.
        closing: No further run is begun.
        scripts: Folders in which scripts are looked for.
        on_ask: Answers questions at once, of runs that bring nobody of their own.
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
        scripts: Sequence[Path] = (),
        on_ask: OnAsk | None = None,
    ) -> None:
        self.catalog = catalog
        self.queries = queries
        self.budget = budget
        self.closing = False
        self.scripts = scripts
        self.on_ask = on_ask
        self._limits = limits
        self._cache = cache
        self._observers = observers_of(hooks)
        self._around = around_of(hooks)
        self._deps = deps
        self._places = Places(concurrency)
        self._services: Services | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._loop: object = None
        self._number = next(_numbers)

    @property
    def _store(self) -> RunStore:
        return self.queries.store

    @property
    def owner(self) -> str:
        """What this process is called in the store."""
        return self.queries.claims.owner

    def checked(
        self, action: Action[Any] | Callable[..., Any], given: Callable[[], Collection[str]] = tuple
    ) -> WorkflowDef:
        """The action as a definition without a fault; what is no Workflow becomes one of one step.

        Args:
            given: Gives the names of the inputs the caller has; those a bare action has a default for become inputs.

        Raises:
            WorkflowInvalid: It cannot run; every fault is listed.
        """
        workflow = cast("Workflow[Any]", action) if isinstance(action, Workflow) else one_step(action, given())
        definition, faults = workflow.draft()
        passed: tuple[int, ...] = definition.memo.get(_PASSED, ())
        if not faults and self._number in passed:
            return definition
        checked = check(definition, self.catalog)
        faults = (*faults, *(fault for fault in checked.faults if fault not in faults))
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)
        definition.memo[_PASSED] = (*passed[-_REMEMBERED:], self._number)
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
    ) -> LiveRun | str:
        """Check, validate, and put the run into the store; nothing runs yet.

        Returns:
            The run, or the id of the one that was begun with the same idempotency key before.

        Raises:
            WorkflowInvalid: The workflow cannot run.
            InputInvalid: The inputs do not fit.
            IdempotencyConflict: The key was used with another workflow or other inputs.
        """
        self.bind()
        wish = options.checked()
        budget = wish.budget or self.budget
        definition = self.checked(action, lambda: () if isinstance(values, str) else {*(values or ()), *inputs})
        if budget is not None:
            self.refuse_unpriced(definition, budget)
        self._refuse_scriptless(definition)
        prepared = prepare_inputs(definition, values, keywords=inputs, options=wish.used)
        started = RunStarted(
            definition.name,
            inputs=prepared,
            budget=None if budget is None else budget.model_dump(),
            timeout=wish.timeout_s,
            tags=wish.tags,
            metadata=dict(wish.metadata),
            run_id=new_run_id(),
            at_us=now_us(),
            seq=1,
        )
        return await self.put(definition, [started], key=wish.key, on_ask=wish.on_ask)

    def _refuse_scriptless(self, definition: WorkflowDef) -> None:
        """Nothing, unless a script is not where scripts are looked for; not while planning, which opens nothing.

        Raises:
            WorkflowInvalid: One is not.
        """
        found = definition.memo.get("scripts")
        if found == ():
            return
        if found is None:
            found = definition.memo["scripts"] = tuple(scripts_in(definition))
        faults: list[str] = []
        for path, script in found:
            try:
                find_script(script.path_or_name, self.scripts)
            except ScriptNotFound as error:
                faults.append(f"Step {path!r}: {error}")
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)

    async def put(
        self,
        definition: WorkflowDef,
        events: Sequence[Event],
        *,
        key: str | None = None,
        on_ask: OnAsk | None = None,
    ) -> LiveRun | str:
        """Put a run that begins with these events into the store, owned by this process.

        Returns:
            The run, or the id of the one that has the key already.
        """
        store, started = self._store, events[0]
        assert isinstance(started, RunStarted)
        instant = getattr(store, "is_instant", False)  # it is gone with the process, and so are its definitions
        body: Mapping[str, Data] | None = None
        if not instant:
            from .definition.stored import stored  # not until a run is to outlive its process

            started.definition, body = stored(definition)
        inputs_sha = "" if instant and key is None else sha256(started.inputs)
        # By position: names would take as long as the row itself. It is running, in its first epoch.
        row = RunRow(
            started.run_id, definition.name, "running", 1, self.owner, len(events), started.at_us, None, key,
            started.definition or "", inputs_sha, started.tags,
        )  # fmt: skip
        try:
            kept = await store.create(row, events, definition=body)
        except BaseException as error:
            self.queries.claims.doubt(error, Claim(row.id, row.epoch, row.last_seq))
            raise
        if kept.id != row.id:
            self.queries.known.setdefault(definition.name, definition)  # its process may have died
            return kept.id
        state = RunState(definition)
        for event in events:
            state.apply(event)
        return self.carried(state, Claim(row.id, row.epoch, row.last_seq), on_ask=on_ask)

    def carried(self, state: RunState, claim: Claim, *, since: int = 0, on_ask: OnAsk | None = None) -> LiveRun:
        """The run of that state, carried out here.

        Args:
            since: Hooks see what comes after this seq.
            on_ask: Answers its questions at once; None: who the orchestrator knows, if anybody.
        """
        if self._services is None:
            self._services = Services(
                self.catalog,
                self._places,
                self._threads,
                Errands(),
                deps=self._deps,
                around=self._around,
                limits=self._limits,
                cache=self._cache.cache,
                cache_all=self._cache.is_default,
                cache_ttl_s=self._cache.ttl_s,
                scripts=self.scripts,
            )
        live = LiveRun(
            state,
            store=self._store,
            claim=claim,
            services=self._services,
            observers=self._observers,
            since=since,
            on_ask=on_ask or self.on_ask,
        )
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
