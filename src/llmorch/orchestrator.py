"""Owns providers, store and hooks, and runs workflows: composition only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio

from . import _wake, sync
from ._clock import now_us, seconds
from ._json import sha256
from .batch import Batch
from .catalog import ModelCatalog
from .definition.workflow import WorkflowDef
from .engine.places import Places
from .engine.services import Services
from .errors import LLMOrchError, WorkflowInvalid, WrongLoop
from .events import RunStarted
from .handle import RunHandle
from .inputs import prepare_inputs
from .live import LiveRun
from .models.action import Action
from .models.values import to_data
from .observers import around_of, observers_of
from .planner.checks import check
from .planner.plan import Plan, make_plan
from .ports import Claim, CredentialSource, Provider, RunRow, RunStore
from .pricing import Price
from .queries import Queries, RunSummary
from .run import Run
from .runid import new_run_id
from .stores.memory import MemoryStore
from .stream import Stream
from .workflow import Workflow

__all__ = ["Orchestrator"]

T = TypeVar("T")
_GRACE_S = 10.0
_THREADS = 64


class Orchestrator:
    """Runs workflows.

    Args:
        store: `"memory"`, or a RunStore.
        model: The default model's id for payloads that name none.
        providers: Provider instances, or a mapping name -> provider; those not given are made by name.
        hooks: Objects with `on_event` and `around_call`, or functions of one event.
        prices: Model id -> `Price`, before the bundled table.
        credentials: Where keys come from; default the environment.
        workflows: Workflows whose runs this orchestrator can read again.
        deps: Given to function steps through `RunContext`.
        concurrency: Steps executed at once, over all runs; what waits for a retry holds no place.

    Example:
        >>> async def main() -> str:
        ...     async with Orchestrator(model="offline:echo") as orchestrator:
        ...         run = await orchestrator.run(Payload("hi", "Say hi to {{ who }}."), who="Ada")
        ...     return run.output
        >>> import anyio
        >>> anyio.run(main)
        'Say hi to Ada.'
    """

    def __init__(
        self,
        store: str | RunStore = "memory",
        *,
        model: str | None = None,
        providers: Iterable[Provider] | Mapping[str, Provider] = (),
        hooks: Iterable[Any] = (),
        prices: Mapping[str, Price] | None = None,
        credentials: CredentialSource | None = None,
        workflows: Iterable[Workflow[Any]] = (),
        deps: Any = None,
        concurrency: int = 1000,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"Orchestrator(concurrency={concurrency}) runs nothing; give 1 or more")
        hooks = list(hooks)
        self.catalog = ModelCatalog(providers, model=model, prices=prices, credentials=credentials)
        self._store = _store(store)
        self._observers = observers_of(hooks)
        self._around = around_of(hooks)
        self._deps = deps
        self._places = Places(concurrency)
        self._queries = Queries(self._store)
        self._limiter: anyio.CapacityLimiter | None = None
        self._loop: object = None
        self._closing = False
        for workflow in workflows:
            self._queries.known[workflow.name] = workflow.freeze()

    # Running

    async def run(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> Run[T]:
        """Run an action to its end in the calling task.

        Args:
            action: A Workflow, Payload or function; what is no Workflow becomes one of one step.
            values: Inputs as a mapping; those given by keyword are added.
            timeout: Seconds the run may take; after them it is failed with `TimedOut`.
            tags: Words to find the run by.
            metadata: Data noted on the run.

        Returns:
            The run. A failed run is returned, not raised; its `output` raises.

        Raises:
            WorkflowInvalid: The workflow cannot run; nothing was sent.
            InputInvalid: The inputs do not fit; nothing was sent.
        """
        live = await self._begin(action, values, inputs, timeout=timeout, tags=tags, metadata=metadata)
        try:
            await live.drive()
        finally:
            self._queries.live.pop(live.state.run_id, None)
        return Run(live.state)

    def run_sync(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> Run[T]:
        """`run` for code that is not async; works in scripts, running loops and notebooks."""

        async def run() -> Run[T]:
            return await self.run(action, values, timeout=timeout, tags=tags, metadata=metadata, **inputs)

        return sync.call(run)

    async def start(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> RunHandle[T]:
        """Start a run in the background; takes what `run` takes."""
        live = await self._begin(action, values, inputs, timeout=timeout, tags=tags, metadata=metadata)
        self._carry_out(live)
        return RunHandle(live.state.run_id, self._queries)

    def stream(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> Stream[T]:
        """`async with orchestrator.stream(...) as events:` runs it and iterates its events; takes what `run` takes.

        Leaving the block early cancels the run. `events.run` is the run.
        """

        async def begin() -> LiveRun:
            live = await self._begin(action, values, inputs, timeout=timeout, tags=tags, metadata=metadata)
            self._carry_out(live)
            return live

        return Stream(begin)

    def batch(
        self, action: Action[T] | Callable[..., Any], rows: Iterable[Mapping[str, Any]], *, concurrency: int = 16
    ) -> Batch[T]:
        """Run an action for each row of inputs: an async iterator of `(row index, run)` in the order they end.

        Args:
            concurrency: Runs at once.
        """

        async def run(row: Mapping[str, Any]) -> Run[T]:
            return await self.run(action, row)

        return Batch(run, rows, concurrency=concurrency)

    def plan(self, action: Action[Any] | Callable[..., Any], values: Mapping[str, Any] | None = None, /, **inputs: Any) -> Plan:
        """Order, calls, tokens and US dollars before anything is sent.

        Raises:
            WorkflowInvalid: It cannot run; every fault is listed.
        """
        return make_plan(self._checked(action), self.catalog, {**(values or {}), **inputs})

    # Reading

    async def get(self, run_id: str, *, workflow: Workflow[T] | None = None) -> Run[T]:
        """A run by id; with `workflow`, or a registered one, its values are typed.

        Raises:
            RunNotFound: There is no such run.
        """
        return await self._queries.get(run_id, definition=workflow.freeze() if workflow is not None else None)

    async def runs(
        self,
        workflow: str | None = None,
        status: str | None = None,
        *,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[RunSummary]:
        """Runs of the store, newest first.

        Args:
            since: Only runs created then or later.
            before: Go on after this run id.
        """
        moment = int(since.timestamp() * 1_000_000) if since is not None else None
        return await self._queries.runs(
            {"workflow": workflow, "status": status, "tag": tag, "since": moment, "limit": limit, "before": before}
        )

    async def delete(self, run_id: str) -> None:
        """Forget an ended run.

        Raises:
            RunNotFound: There is no such run.
            LLMOrchError: It is being carried out.
        """
        if run_id in self._queries.live:
            raise LLMOrchError(f"Run {run_id} is being carried out; cancel it first", run_id=run_id)
        await self._store.delete_run(run_id)

    def attach(self, run_id: str) -> RunHandle[Any]:
        """A handle on a run by id; touches no store until it is used."""
        return RunHandle(run_id, self._queries)

    # Inside

    def _checked(self, action: Action[Any] | Callable[..., Any]) -> WorkflowDef:
        """The action as a definition without a fault."""
        workflow = action if isinstance(action, Workflow) else Workflow.of(action, name=_name_of(action))
        definition, faults = workflow.draft()
        passed: set[int] = definition.memo.setdefault("passed", set())
        if not faults and id(self) in passed:
            return definition
        checked = check(definition, self.catalog)
        faults = (*faults, *(fault for fault in checked.faults if fault not in faults))
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=definition.name)
        passed.add(id(self))
        return definition

    async def _begin(
        self,
        action: Action[Any] | Callable[..., Any],
        values: Mapping[str, Any] | None,
        inputs: Mapping[str, Any],
        *,
        timeout: float | timedelta | None,
        tags: Iterable[str],
        metadata: Mapping[str, Any] | None,
    ) -> LiveRun:
        """Check, validate, and put the run into the store; nothing runs yet."""
        self._bind()
        if isinstance(tags, str):
            raise TypeError(f"tags takes several: write [{tags!r}]")
        tags = tuple(tags)
        definition = self._checked(action)
        options = {"timeout": timeout, "tags": tags or None, "metadata": metadata}
        prepared = prepare_inputs(definition, values, inputs, options=options)
        started = RunStarted(
            definition.name,
            inputs=prepared,
            timeout=seconds(timeout),
            tags=tags,
            metadata=to_data(metadata or {}, where="metadata"),
            run_id=new_run_id(),
            at_us=now_us(),
            seq=1,
        )
        row = RunRow(
            started.run_id, definition.name, "running", 1, "here", 1, started.at_us,
            inputs_sha="" if getattr(self._store, "is_instant", False) else sha256(prepared), tags=tags,
        )  # fmt: skip
        await self._store.create(row, [started], definition=None)
        services = Services(
            self.catalog, self._places, self._threads, deps=self._deps, around=self._around
        )
        claim = Claim(started.run_id, row.epoch, 1)
        live = LiveRun(definition, started, store=self._store, claim=claim, services=services, observers=self._observers)
        self._queries.remember(started.run_id, definition)
        self._queries.live[started.run_id] = live
        return live

    def _carry_out(self, live: LiveRun) -> None:
        async def carry_out() -> None:
            try:
                await live.drive_quietly()
            finally:
                if live.failure is None:
                    self._queries.live.pop(live.state.run_id, None)

        _wake.spawn(carry_out)

    def _threads(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        return self._limiter

    def _bind(self) -> None:
        if self._closing:
            raise LLMOrchError("this orchestrator is closed; make another one")
        token = _wake.token()
        if self._loop is None:
            self._loop = token
        elif self._loop != token:
            raise WrongLoop(
                "this orchestrator has run on another event loop; make one for each loop "
                "(run_sync and async code use different loops)"
            )

    async def aclose(self) -> None:
        """Let runs in flight end for up to 10 s, cancel the rest, close providers."""
        self._closing = True
        live = list(self._queries.live.values())
        with anyio.move_on_after(_GRACE_S):
            for run in live:
                await run.wait()
        for run in live:
            if not run.ended:
                run.executor.cancel()
                await run.wait()
        await self.catalog.aclose()
        await self._store.aclose()

    async def __aenter__(self) -> Self:
        self._bind()
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


def _store(store: str | RunStore) -> RunStore:
    if store == "memory":
        return MemoryStore()
    if isinstance(store, str):
        raise ValueError(f"no store is known for {store!r}; use 'memory' or pass a RunStore")
    return store


def _name_of(action: object) -> str:
    return getattr(action, "name", None) or getattr(action, "__name__", "run")
