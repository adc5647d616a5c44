"""From an action and inputs to a run that is in the store and ready to be carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast
from weakref import WeakSet

import anyio

from . import _wake
from ._clock import now_us, seconds
from ._json import sha256
from .catalog import ModelCatalog
from .definition.workflow import WorkflowDef
from .engine.places import Places
from .engine.services import Services
from .errors import LLMOrchError, WorkflowInvalid, WrongLoop
from .events import RunStarted
from .inputs import prepare_inputs
from .live import LiveRun
from .models.action import Action
from .models.values import to_data
from .observers import around_of, observers_of
from .one_step import one_step
from .planner.checks import check
from .ports import Claim, RunRow, RunStore
from .queries import Queries
from .runid import new_run_id
from .workflow import Workflow

__all__ = ["Launcher"]

_THREADS = 64


class Launcher:
    """Checks actions and inputs and begins runs; bound to the loop it is first used on.

    Attributes:
        closing: No further run is begun.
    """

    def __init__(
        self, catalog: ModelCatalog, queries: Queries, *, hooks: Sequence[Any], deps: Any, concurrency: int
    ) -> None:
        self.catalog = catalog
        self.queries = queries
        self.closing = False
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

    async def begin(
        self,
        action: Action[Any] | Callable[..., Any],
        values: Mapping[str, Any] | None,
        *,
        inputs: Mapping[str, Any],
        timeout: float | timedelta | None,
        tags: Iterable[str],
        metadata: Mapping[str, Any] | None,
    ) -> LiveRun:
        """Check, validate, and put the run into the store; nothing runs yet.

        Raises:
            WorkflowInvalid: The workflow cannot run.
            InputInvalid: The inputs do not fit.
        """
        self.bind()
        limit_s = _checked_timeout(timeout)
        if isinstance(tags, str):
            raise TypeError(f"tags takes several: write [{tags!r}]")
        tags = tuple(tags)
        if not all(isinstance(tag, str) for tag in tags):
            raise TypeError(f"tags are words, not {tags!r}")
        definition = self.checked(action, {*(values or ()), *inputs} if not isinstance(values, str) else ())
        options = {"timeout": timeout, "tags": tags or None, "metadata": metadata}
        prepared = prepare_inputs(definition, values, keywords=inputs, options=options)
        started = RunStarted(
            definition.name,
            inputs=prepared,
            timeout=limit_s,
            tags=tags,
            metadata=to_data(metadata or {}, where="metadata"),
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
            owner="here",
            last_seq=1,
            created_at=started.at_us,
            inputs_sha="" if instant else sha256(started.inputs),
            tags=started.tags,
        )
        await store.create(row, [started], definition=None)
        if self._services is None:
            self._services = Services(self.catalog, self._places, self._threads, deps=self._deps, around=self._around)
        services = self._services
        claim = Claim(run_id, row.epoch, 1)
        live = LiveRun(definition, started, store=store, claim=claim, services=services, observers=self._observers)
        self.queries.remember(run_id, definition)
        self.queries.live[run_id] = live
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


def _checked_timeout(timeout: float | timedelta | None) -> float | None:
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float | timedelta)):
        raise TypeError(f"timeout= takes seconds or a timedelta, not {timeout!r}")
    limit_s = seconds(timeout)
    if limit_s is not None and not limit_s > 0:  # not NaN either
        raise ValueError(f"timeout={limit_s:g} leaves no time; leave it out for no limit")
    return limit_s
