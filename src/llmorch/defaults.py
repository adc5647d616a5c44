"""The default orchestrator: one for each running loop, closed when its loop ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any, TypedDict, Unpack
from weakref import WeakKeyDictionary

from . import _wake, sync
from .answers import OnAsk
from .diff import Diff
from .errors import LLMOrchError
from .models.payload import Payload
from .models.policy import Budget, Limit
from .models.response import Response
from .orchestrator import Orchestrator
from .planner.plan import Plan
from .ports import CredentialSource, Provider, ResponseCache, RunStore
from .pricing import Price
from .recover import Recover
from .run import Run
from .stores.registry import Durability
from .stream import Stream
from .workflow import Workflow

__all__ = ["OrchestratorOptions", "configure", "runner"]


class OrchestratorOptions(TypedDict, total=False):
    """The options of `Orchestrator`."""

    store: str | RunStore
    model: str | None
    providers: Iterable[Provider] | Mapping[str, Provider]
    hooks: Iterable[Any]
    limits: Mapping[str, Limit] | None
    budget: Budget | None
    cache: bool | float | timedelta | ResponseCache | None
    prices: Mapping[str, Price] | None
    credentials: CredentialSource | None
    workflows: Iterable[Workflow[Any]]
    scripts: Iterable[str | PathLike[str]]
    deps: Any
    recover: Recover
    concurrency: int
    durability: Durability
    on_ask: OnAsk | None


_options: OrchestratorOptions = {}
_by_loop: WeakKeyDictionary[Any, Orchestrator] = WeakKeyDictionary()


def configure(**options: Unpack[OrchestratorOptions]) -> None:
    """Set the options of the default orchestrator, which `Payload.run` and `Workflow.run` use.

    Each call replaces what was set before; runs in flight keep what they have.

    Raises:
        TypeError: An option that Orchestrator does not have.

    Example:
        >>> configure(model="offline:auto")
    """
    global _options
    unknown = sorted(options.keys() - OrchestratorOptions.__annotations__.keys())
    if unknown:
        known = ", ".join(OrchestratorOptions.__annotations__)
        raise TypeError(f"configure() has no option {unknown[0]!r}; it has {known}")
    _options = options
    _by_loop.clear()


def _for_this_loop() -> Orchestrator:
    """The default orchestrator of the running loop, made on first use."""
    token = _wake.token()
    found = _by_loop.get(token)
    if found is None:
        found = _by_loop[token] = Orchestrator(**_options)
        _wake.at_loop_end(found.aclose)
    return found


class _DefaultRunner:
    """What verbs on values reach through the door."""

    async def respond(self, payload: Payload[Any], values: Mapping[str, Any]) -> Response[Any]:
        """Run one payload and give its response, or raise what kept it from one."""
        run = await _for_this_loop().run(payload, values)
        if run.error is not None:
            raise run.error
        response = next(iter(run.steps.values())).response
        if response is None:
            raise LLMOrchError(f"Payload {payload.name!r} gave no response; its run is {run.status}", run_id=run.id)
        return response

    def respond_sync(self, payload: Payload[Any], values: Mapping[str, Any]) -> Response[Any]:
        """The same for code that is not async."""
        return sync.call(lambda: self.respond(payload, values))

    async def run(self, action: Any, values: Mapping[str, Any] | None) -> Run[Any]:
        """Run an action and give its run."""
        return await _for_this_loop().run(action, values)

    def run_sync(self, action: Any, values: Mapping[str, Any] | None) -> Run[Any]:
        """The same for code that is not async."""
        return sync.call(lambda: self.run(action, values))

    def stream(self, action: Any, values: Mapping[str, Any] | None) -> Stream[Any]:
        """Run an action and give its events."""
        return Stream(lambda: _for_this_loop().stream(action, values).begin())

    def plan(self, action: Any, values: Mapping[str, Any] | None) -> Plan:
        """Read an action without running it; needs no loop."""
        return Orchestrator(**_options).plan(action, values)

    def diff(self, workflow: Workflow[Any], run: Run[Any], *, replace: Mapping[str, Any] | None) -> Diff:
        """Compare a workflow with a run; needs no loop."""
        return Orchestrator(**_options).diff(run, workflow=workflow, replace=replace)


_runner = _DefaultRunner()


def runner() -> _DefaultRunner:
    """The runner behind the verbs on values."""
    return _runner
