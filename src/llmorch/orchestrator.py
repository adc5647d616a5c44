"""Owns providers, store and hooks, and runs workflows: composition only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any, TypeVar

from . import sync
from .answers import OnAsk, checked_on_ask
from .batch import Batch
from .catalog import ModelCatalog
from .definition.names import did_you_mean
from .handle import RunHandle
from .launch import Launcher
from .live import LiveRun
from .models.action import Action
from .models.policy import Budget, Limit
from .policies.limits import Limits
from .ports import CredentialSource, Provider, ResponseCache, RunStore
from .pricing import Price
from .queries import Queries
from .recover import Recover, checked_recover
from .run import Run
from .run_keeper import RunKeeper
from .run_options import RunOptions, caching, checked_budget
from .script_roots import script_roots
from .stores import registry
from .stream import Stream
from .workflow import Workflow

__all__ = ["Orchestrator"]

T = TypeVar("T")


class Orchestrator(RunKeeper):
    """Runs workflows.

    Args:
        store: `"memory"`, a URL such as `"sqlite:///runs.db"` or `"postgresql://..."`, or a RunStore.
        model: The default model's id for payloads that name none.
        providers: Provider instances, or a mapping name -> provider; those not given are made by name.
        hooks: Objects with `on_event` and `around_call`, or functions of one event.
        limits: Provider's name or model id -> `Limit`; where both are given, both apply.
        budget: What each run may spend that names no budget of its own.
        cache: Answers of payloads are cached: True, or for how long (seconds or a timedelta), or a ResponseCache to
            keep them in. Unset: only those of payloads that say `cache=`.
        prices: Model id -> `Price`, before the bundled table.
        credentials: Where keys come from; default the environment.
        workflows: Workflows whose functions and types are found again when a stored run is read or gone on with.
        scripts: Folders in which scripts are looked for; unset: `./scripts` and `.llmorch/scripts` of the project.
        deps: Given to function steps through `RunContext`.
        recover: Which runs that lost their process are gone on with on entering and every 5 s: `own`, of the workflows
            known here; `all`, also of others that need no code; False, none.
        concurrency: Steps executed at once, over all runs; what waits for a retry holds no place.
        durability: Of a store given as a URL: `power` survives the loss of power, `process` only the death of the
            process, and is quicker.
        on_ask: Answers questions to people at once, of every run that brings no such function of its own.

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
        limits: Mapping[str, Limit] | None = None,
        budget: Budget | None = None,
        cache: bool | float | timedelta | ResponseCache | None = None,
        prices: Mapping[str, Price] | None = None,
        credentials: CredentialSource | None = None,
        workflows: Iterable[Workflow[Any]] = (),
        scripts: Iterable[str | PathLike[str]] = (),
        deps: Any = None,
        recover: Recover = "own",
        concurrency: int = 1000,
        durability: registry.Durability = "power",
        on_ask: OnAsk | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"Orchestrator(concurrency={concurrency}) runs nothing; give 1 or more")
        self.catalog = ModelCatalog(providers, model=model, prices=prices, credentials=credentials)
        queries = Queries(registry.given(store, durability=durability))
        launcher = Launcher(
            self.catalog,
            queries,
            hooks=list(hooks),
            deps=deps,
            concurrency=concurrency,
            limits=_limits(limits, self.catalog) if limits else None,
            budget=checked_budget(budget),
            cache=caching(cache),
            scripts=script_roots(scripts),
            on_ask=checked_on_ask(on_ask),
        )
        super().__init__(queries, launcher, recover=checked_recover(recover))
        for workflow in workflows:
            queries.register(workflow.freeze())

    async def run(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        budget: Budget | None = None,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        on_ask: OnAsk | None = None,
        **inputs: Any,
    ) -> Run[T]:
        """Run an action to its end in the calling task.

        Args:
            action: A Workflow, Payload or function; what is no Workflow becomes one of one step.
            values: Inputs as a mapping; those given by keyword are added.
            idempotency_key: Whoever gives it again, with the same workflow and inputs, gets the same run: no second
                bill. A run that is being carried out is waited for.
            budget: What it may spend; unset: what the orchestrator says.
            timeout: Seconds the run may take; after them it is failed with `TimedOut`.
            tags: Words to find the run by.
            metadata: Data noted on the run.
            on_ask: Answers questions to people at once: a function of `StepWaiting`, plain or async; what gives None
                stays open. Unset: as the orchestrator says.

        Returns:
            The run when it has ended, or waits for people. A failed run is returned, not raised; its `output` raises.

        Raises:
            WorkflowInvalid: The workflow cannot run; nothing was sent.
            InputInvalid: The inputs do not fit; nothing was sent.
            IdempotencyConflict: The key was used with another workflow or other inputs.
        """
        options = RunOptions(budget, timeout, tags, metadata, idempotency_key, on_ask)
        live = await self._launcher.begin(action, values, inputs=inputs, options=options)
        if isinstance(live, str):
            return await (await self._again(live)).result()
        self._lookout.start()
        try:
            await live.drive()
        finally:
            self._queries.live.pop(live.state.run_id, None)
        self._see_to_deadline(live)
        return Run(live.state)

    def run_sync(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        budget: Budget | None = None,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        on_ask: OnAsk | None = None,
        **inputs: Any,
    ) -> Run[T]:
        """`run` for code that is not async; works in scripts, running loops and notebooks."""

        async def run() -> Run[T]:
            return await self.run(
                action,
                values,
                idempotency_key=idempotency_key,
                budget=budget,
                timeout=timeout,
                tags=tags,
                metadata=metadata,
                on_ask=on_ask,
                **inputs,
            )

        return sync.call(run)

    async def start(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        budget: Budget | None = None,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        on_ask: OnAsk | None = None,
        **inputs: Any,
    ) -> RunHandle[T]:
        """Start a run in the background; takes what `run` takes."""
        options = RunOptions(budget, timeout, tags, metadata, idempotency_key, on_ask)
        live = await self._launcher.begin(action, values, inputs=inputs, options=options)
        if isinstance(live, str):
            return await self._again(live)
        self._carry_on(live)
        return RunHandle(live.state.run_id, self._queries, live=live)

    def stream(
        self,
        action: Action[T] | Callable[..., Any],
        values: Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        budget: Budget | None = None,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        on_ask: OnAsk | None = None,
        **inputs: Any,
    ) -> Stream[T]:
        """`async with orchestrator.stream(...) as events:` runs it and iterates its events; takes what `run` takes.

        Leaving the block early cancels the run. `events.run` is the run.
        """

        options = RunOptions(budget, timeout, tags, metadata, idempotency_key, on_ask)

        async def begin() -> LiveRun | RunHandle[T]:
            live = await self._launcher.begin(action, values, inputs=inputs, options=options)
            if isinstance(live, str):
                return await self._again(live)
            self._carry_on(live)
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


def _limits(limits: Mapping[str, Limit], catalog: ModelCatalog) -> Limits:
    """The limits, each of a provider there is: one for a name nobody has would bound nothing.

    Raises:
        ValueError: There is no such provider.
    """
    made = Limits(limits)
    known = catalog.names()
    for key in limits:
        provider = key.partition(":")[0]
        if provider not in known:
            raise ValueError(f"limits: {key!r} is of no provider there is{did_you_mean(provider, known)}")
    return made
