"""What an executor is given: everything outside the run that its steps use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from anyio import CapacityLimiter

from .. import _clock
from ..models.policy import Retry
from ..models.usage import Usage
from ..planner.catalog import ResolvedModel
from ..ports import Call, Proceed, Provider, ProviderResponse
from .places import Places

__all__ = ["AroundCall", "Models", "Services"]


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


@dataclass(slots=True)
class Services:
    """What steps use.

    Attributes:
        places: Bounds how many steps are executed at once.
        threads: Bounds the worker threads of sync functions; made on the running loop.
        deps: The application's own object, for `RunContext`.
        around: The hooks that wrap provider calls, outermost first.
        retry: The policy of payloads that name none.
        rest: Waits so many seconds without holding a place; set by the executor.
    """

    models: Models
    places: Places
    threads: Callable[[], CapacityLimiter]
    deps: Any = None  # Any: the application's own object
    around: Sequence[AroundCall] = ()
    retry: Retry = _RETRY
    rest: Callable[[float], Awaitable[None]] = _clock.sleep
