"""What an executor is given: everything outside the run that its steps use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from anyio import CapacityLimiter

from ..events import StepWaiting
from ..models.failure import Failure
from ..models.message import ToolCall
from ..models.policy import Retry
from ..models.usage import Usage
from ..models.values import Data
from ..planner.catalog import ResolvedModel
from ..policies.limits import Limits
from ..ports import Call, Proceed, Provider, ProviderResponse, ResponseCache
from .places import Places
from .state.step import StepState

if TYPE_CHECKING:
    from .errand import Errands

__all__ = ["AroundCall", "Conductor", "Ending", "Models", "Services"]


Ending = Literal["succeeded", "partial", "failed", "cancelled"]
_RETRY = Retry()  # a pydantic value: made once, not for each run


class AroundCall(Protocol):
    """The `around_call` of a hook."""

    async def __call__(self, call: Call, proceed: Proceed) -> ProviderResponse:
        """Answer the call, usually with `await proceed(call)`."""
        ...


class Models(Protocol):
    """Finds models, their providers and prices."""

    def resolve(self, model: str | None) -> ResolvedModel:
        """The model of that id, or the default; raises LookupError with what to do."""
        ...

    def provider(self, name: str) -> Provider:
        """The provider of that name."""
        ...

    def cost(self, model: ResolvedModel, usage: Usage) -> Decimal | None:
        """US dollars, or None when the price is unknown."""
        ...


class Conductor(Protocol):
    """What a stepper asks of the executor."""

    def finish(self, ending: Ending, failure: Failure | None) -> None:
        """The top workflow ended."""
        ...

    def abort(self, failure: Failure) -> None:
        """A failure ends the run, whatever `on_error` says."""
        ...

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function beside the run."""
        ...

    def call_help(self) -> None:
        """Something became ready while the runner waits."""
        ...

    def flush_soon(self) -> bool:
        """Commit what is buffered beside the run; False when nobody is there to do it."""
        ...

    async def rest(self, wait_s: float) -> None:
        """Wait so many seconds without holding a place."""
        ...

    async def aside(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for something without holding a place."""
        ...

    def asked(self, question: StepWaiting) -> None:
        """A question is open: show it to who answers at once, if anybody does."""
        ...

    def wakes(self, state: StepState) -> bool:
        """Wake the task that waits for what a person says to a step; False when there is none."""
        ...

    async def granted(self, state: StepState, number: int, call: ToolCall) -> Data:
        """Ask whether a tool may be used, and wait for the answer without holding a place.

        Args:
            number: Of the request whose answer asked for it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What steps use.

    Attributes:
        places: Bounds how many steps are executed at once.
        threads: Bounds the worker threads of sync functions; made on the running loop.
        errands: What is settled about payloads.
        deps: The application's own object, for `RunContext`.
        around: The hooks that wrap provider calls, outermost first.
        retry: The policy of payloads that name none.
        limits: Rate limits, when there are any.
        cache: Keeps answers.
        cache_all: Payloads that do not say otherwise are cached.
        cache_ttl_s: How long their answers are kept; None is for good.
        scripts: Folders in which scripts are looked for.
    """

    models: Models
    places: Places
    threads: Callable[[], CapacityLimiter]
    errands: Errands
    deps: Any = None  # Any: the application's own object
    around: Sequence[AroundCall] = ()
    retry: Retry = _RETRY
    limits: Limits | None = None
    cache: ResponseCache | None = None
    cache_all: bool = False
    cache_ttl_s: float | None = None
    scripts: Sequence[Path] = ()
