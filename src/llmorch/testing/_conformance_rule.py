"""What the rules of providers work with: a provider, one loop, and a few ways to ask."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio

from .._clock import monotonic
from ..errors import LLMOrchError
from ..models.message import Message
from ..ports import OnDelta, Provider
from ..requests import ProviderRequest, ProviderResponse
from ._suite import Broken, SuiteRule, broken, name_of

__all__ = [
    "PROMPT",
    "Case",
    "Rule",
    "is_count",
    "is_seconds",
    "method",
    "unheard",
]

PROMPT = (Message("system", "Be brief."), Message("user", "Say in one sentence what tea is."))
_CLOSE_S = 2.0


@dataclass
class Case:
    """One provider under test, on one loop.

    Attributes:
        model: Which model is asked.
        secret: What nothing may show, or None.
        echoes: The model answers with the last user message.
        at: Makes the provider for another base address, or None.
        limit_s: Seconds a call may take.
        asked_at: When the provider was last asked something, by the clock of `monotonic`.
        loop: On which loop of a rule that wants several, from 1.
    """

    provider: Provider
    model: str
    secret: str | None
    echoes: bool
    at: Callable[[str], Provider] | None
    limit_s: float
    asked_at: float = field(default_factory=monotonic)
    loop: int = 1

    def request(
        self, text: str | None = None, **changes: Any
    ) -> ProviderRequest:  # Any: fields of a request, which dataclasses.replace checks
        """A request with that text as its user message, or with the usual prompt."""
        messages = PROMPT if text is None else (Message("user", text),)
        return replace(ProviderRequest(self.model, messages), **changes)

    async def answer(
        self,
        request: ProviderRequest,
        *,
        on_delta: OnDelta | None = None,
        where: str = "a plain prompt",
        stream: bool = False,
    ) -> ProviderResponse:
        """An answer where there must be one.

        Args:
            on_delta: Given on to the provider.
            where: What is special about this request, for the report.
            stream: Stream it although nobody listens.
        """
        if stream and on_delta is None:
            on_delta = unheard
        streamed = " with on_delta" if on_delta is not None else ""
        try:
            answer = await self.tried(request, on_delta=on_delta)
        except Exception as error:  # whatever a provider raises here is a finding
            if isinstance(error, Broken):
                broken(f"{where}{streamed}: {error}")
            broken(f"{where}{streamed}: complete() raised {name_of(error)}")
        if not isinstance(cast("object", answer), ProviderResponse):
            broken(f"{where}{streamed}: complete() gave {type(answer).__name__}, not a ProviderResponse")
        return answer

    async def tried(
        self, request: ProviderRequest, *, on_delta: OnDelta | None = None, provider: Provider | None = None
    ) -> ProviderResponse:
        """What the provider answers or raises, within the limit."""
        self.asked_at = monotonic()
        with anyio.move_on_after(self.limit_s):
            return await (provider or self.provider).complete(request, on_delta=on_delta)
        broken(f"complete() did not end within {self.limit_s:g} s")

    async def refusal(
        self, request: ProviderRequest, *, on_delta: OnDelta | None = None, provider: Provider | None = None
    ) -> LLMOrchError | None:
        """The error of the tree that the provider raises; None when it answers."""
        try:
            await self.tried(request, on_delta=on_delta, provider=provider)
        except (LLMOrchError, Broken) as error:
            if isinstance(error, Broken):
                raise
            return error
        except Exception as error:  # any other class is a finding
            broken(f"complete() raised {name_of(error)}, which is no error of llmorch.errors")
        return None

    async def close(self, provider: Provider | None = None) -> None:
        """Let go of the provider; what it raises is another rule's business."""
        aclose = method(provider or self.provider, "aclose")
        if aclose is None:
            return
        with anyio.move_on_after(_CLOSE_S, shield=True):
            try:
                await aclose()
            except Exception:  # the rule `closing` reports it
                return


class Rule(SuiteRule[Case]):
    """One rule of the suite of providers."""

    __slots__ = ()


def unheard(piece: str) -> None:
    """Take a piece of a stream to which nobody listens."""


def method(provider: object, name: str) -> Callable[..., Awaitable[object]] | None:
    """A method that the port lets a provider leave out."""
    found = getattr(provider, name, None)
    return cast("Callable[..., Awaitable[object]]", found) if callable(found) else None


def is_count(value: object) -> bool:
    """Whether it is a whole number, not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_seconds(value: object) -> bool:
    """Whether it is a finite number, not negative."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
