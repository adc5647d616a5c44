"""Rate limits: how many calls of a provider or model start, and when.

All limits of a call are taken at one moment, right before it is sent, so each holds for what is sent and not only for
what is promised. Whoever waits stands in line: the line of its model first, then that of its provider. Only the first
of a line looks at the clock; it leaves a provider's line while its own model keeps it, so no model waits for another.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeGuard

import anyio

from ..errors import RateLimited
from ..models.policy import Limit
from ..models.usage import Usage
from ..requests import Allowance, ProviderResponse
from ._rate import Booking, Rate

__all__ = ["Admission", "Aside", "Limiter", "Limits", "admitted", "limited"]

Aside = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Carries out a wait while its caller gives up what it holds."""

_LONGEST_HOLD_S = 120.0  # a vendor that asks for more is refused anew after it rather than believed
_MAX_TOKENS = 2**53


class Limiter:
    """What keeps the calls of one provider or model within their limit.

    Belongs to the event loop it is first waited on. A vendor's own numbers can only slow calls down, by 120 s at most.

    Example:
        >>> limiter = Limiter(Limit(concurrency=1))
        >>> limiter.in_flight
        0
    """

    __slots__ = ("_change", "_concurrency", "_held_until", "_requests", "_tokens", "_vendor", "in_flight", "line")

    def __init__(self, limit: Limit) -> None:
        self.line = _Line()
        self.in_flight = 0
        self._requests = None if limit.requests_per_minute is None else Rate(limit.requests_per_minute)
        self._tokens = None if limit.tokens_per_minute is None else Rate(limit.tokens_per_minute)
        self._concurrency = math.inf if limit.concurrency is None else limit.concurrency
        self._vendor = _Vendor()
        self._held_until = -math.inf
        self._change: anyio.Event | None = None

    def delay(self, tokens: int, *, now: float) -> float:
        """Seconds until a call of so many tokens may start; infinity when another one must end first."""
        if self.in_flight >= self._concurrency:
            return math.inf
        delay_s = max(0.0, self._held_until - now, self._vendor.delay(tokens, now=now))
        if self._requests is not None:
            delay_s = max(delay_s, self._requests.delay(1, now=now))
        if self._tokens is not None:
            delay_s = max(delay_s, self._tokens.delay(tokens, now=now))
        return delay_s

    def book(self, tokens: int, *, now: float) -> Booking | None:
        """Count a call that starts now; gives the tokens' booking where tokens are limited."""
        self.in_flight += 1
        self._vendor.take(tokens)
        if self._requests is not None:
            self._requests.book(1, now=now)
        return None if self._tokens is None else self._tokens.book(tokens, now=now)

    def settle(self, booking: Booking | None, *, tokens: int | None) -> None:
        """A call ended and used so many tokens; None leaves them as they were booked."""
        self.in_flight -= 1
        if self._tokens is not None and booking is not None and tokens is not None:
            self._tokens.correct(booking, tokens, now=anyio.current_time())
        self._tell()

    def observe(self, allowance: Allowance | None) -> None:
        """Hear what the vendor says is left. Where it is less than the next call takes, that waits for the reset."""
        if isinstance(allowance, Allowance):  # a plugin's answer: what is no allowance says nothing
            self._vendor.hear(allowance, now=anyio.current_time())
            self._tell()

    def hold(self, seconds: float) -> None:
        """Start nothing for so many seconds, at most 120; an earlier, longer hold stands."""
        span_s = _span(seconds)
        if span_s is not None:
            self._held_until = max(self._held_until, anyio.current_time() + span_s)
            self._tell()

    async def change(self, *, within_s: float) -> None:
        """Return when something happened that may let a call start, or after that time; for the first of the line."""
        self._change = event = anyio.Event()
        if within_s == math.inf:
            await event.wait()
            return
        with anyio.move_on_after(within_s):
            await event.wait()

    def _tell(self) -> None:
        if self._change is not None:
            self._change.set()
            self._change = None


class _Vendor:
    """What a vendor said is left, less what was started since."""

    __slots__ = ("_requests", "_requests_until", "_tokens", "_tokens_until")

    def __init__(self) -> None:
        self._requests = self._tokens = 0
        self._requests_until = self._tokens_until = -math.inf

    def hear(self, allowance: Allowance, *, now: float) -> None:
        if _is_count(allowance.requests):
            reset_s = _span(allowance.requests_reset_s)
            self._requests = allowance.requests
            self._requests_until = -math.inf if reset_s is None else now + reset_s  # without a reset it tells nothing
        if _is_count(allowance.tokens):
            reset_s = _span(allowance.tokens_reset_s)
            self._tokens = allowance.tokens
            self._tokens_until = -math.inf if reset_s is None else now + reset_s

    def delay(self, tokens: int, *, now: float) -> float:
        until = -math.inf
        if self._requests < 1:
            until = self._requests_until
        if self._tokens < tokens:
            until = max(until, self._tokens_until)
        return until - now

    def take(self, tokens: int) -> None:
        self._requests -= 1
        self._tokens -= tokens


class _Line:
    """First come, first served. Who was handed the turn and is cancelled hands it on."""

    __slots__ = ("_is_taken", "_waiting")

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[anyio.Event, None] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits and nobody has the turn."""
        return not self._is_taken

    async def enter(self, *, in_front: bool = False) -> None:
        """Wait for the turn; `in_front` is for those who had it and let others pass."""
        if not self._is_taken:
            self._is_taken = True
            return
        turn = anyio.Event()
        self._waiting[turn] = None
        if in_front:
            self._waiting.move_to_end(turn, last=False)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.leave()  # the turn came together with the cancellation
            else:
                del self._waiting[turn]
            raise

    def leave(self) -> None:
        """Hand the turn to the next."""
        if self._waiting:
            self._waiting.popitem(last=False)[0].set()
        else:
            self._is_taken = False


class Admission:
    """A call that may start, as its limiters have counted it.

    Example:
        >>> limiter = Limiter(Limit(concurrency=1))
        >>> admission = Admission([limiter], tokens=0, now=0.0)
        >>> admission.settle(None)
        >>> limiter.in_flight
        0
    """

    __slots__ = ("_bookings", "_limiters")

    def __init__(self, limiters: Sequence[Limiter], *, tokens: int, now: float) -> None:
        self._limiters = limiters
        self._bookings: list[Booking | None] | None = [limiter.book(tokens, now=now) for limiter in limiters]

    def settle(self, tokens: int | None) -> None:
        """The call ended: gives its place back and corrects its tokens; only the first time counts.

        Args:
            tokens: What it used; None when nobody knows, which leaves what was reserved.
        """
        bookings, self._bookings = self._bookings, None
        if bookings is None:
            return
        for limiter, booking in zip(self._limiters, bookings, strict=True):
            limiter.settle(booking, tokens=tokens)


class _Waiter:
    """A call on its way through the lines."""

    __slots__ = ("_held", "_limiters", "_reached", "_tokens")

    def __init__(self, limiters: Sequence[Limiter], tokens: int) -> None:
        self._limiters = limiters
        self._tokens = tokens
        self._held = 0  # lines whose turn it has: the first so many
        self._reached = 0  # lines whose turn it has had

    async def wait(self) -> None:
        """Return with the turn of every line, at a moment when the call may start."""
        while (late := self._first_late()) is not None:
            self._leave(late + 1)
            limiter = self._limiters[late]
            if self._held == late:
                await limiter.line.enter(in_front=late < self._reached)
                self._held = late + 1
                self._reached = max(self._reached, self._held)
            else:
                await limiter.change(within_s=limiter.delay(self._tokens, now=anyio.current_time()))

    def admission(self) -> Admission | None:
        """The call's admission, if it has every turn and may start now."""
        if self._first_late() is not None:
            return None
        return Admission(self._limiters, tokens=self._tokens, now=anyio.current_time())

    def leave(self) -> None:
        """Hand on every turn it has."""
        self._leave(0)

    def _first_late(self) -> int | None:
        now = anyio.current_time()
        for position, limiter in enumerate(self._limiters):
            if position >= self._held or limiter.delay(self._tokens, now=now) > 0:
                return position
        return None

    def _leave(self, keep: int) -> None:
        while self._held > keep:
            self._held -= 1
            self._limiters[self._held].line.leave()


async def admitted(limiters: Sequence[Limiter], *, tokens: int, aside: Aside) -> Admission:
    """Leave to start a call now; the caller settles it when the call has ended.

    Args:
        limiters: Always in the same order where they overlap, as `Limits.of` gives them.
        tokens: What the call may use.
        aside: Called with the wait, and only when there is one.
    """
    if all(limiter.line.is_empty for limiter in limiters):
        now = anyio.current_time()
        if all(limiter.delay(tokens, now=now) <= 0 for limiter in limiters):
            return Admission(limiters, tokens=tokens, now=now)
    waiter = _Waiter(limiters, tokens)
    try:
        while True:
            await aside(waiter.wait)
            admission = waiter.admission()  # coming back may have taken its time
            if admission is not None:
                return admission
    finally:
        waiter.leave()


async def limited(
    limiters: Sequence[Limiter],
    send: Callable[[], Awaitable[ProviderResponse]],
    *,
    tokens: int,
    aside: Aside,
) -> ProviderResponse:
    """What `send` gives, once every limiter lets the call start. Errors and cancellation pass unchanged.

    Args:
        limiters: As `Limits.of` gives them; without any the call is sent at once.
        tokens: What the call may use; corrected by the usage of its answer. A call that failed keeps all of it.
        aside: Called with the wait, and only when there is one: how the caller waits without holding its own place.
    """
    if not limiters:
        return await send()
    admission = await admitted(limiters, tokens=tokens, aside=aside)
    used: int | None = None
    try:
        response = await send()
        for limiter in limiters:
            limiter.observe(response.allowance)
        used = _total(response.usage)
        return response
    except RateLimited as error:
        if error.retry_after is not None and not error.spend_limit:
            for limiter in limiters:
                limiter.hold(error.retry_after)
        raise
    finally:
        admission.settle(used)


class Limits:
    """The limiters of an orchestrator.

    Args:
        limits: By provider (`openai`) or model id (`openai:gpt-5-mini`). Both apply to a call of the model.

    Raises:
        ValueError: A key is no name of a provider or model.
        TypeError: A value is no `Limit`.

    Example:
        >>> limits = Limits({"openai": Limit(requests_per_minute=500), "openai:gpt-5": Limit(concurrency=2)})
        >>> len(limits.of("openai", "openai:gpt-5")), len(limits.of("ollama", "ollama:qwen3"))
        (2, 0)
    """

    __slots__ = ("_limiters",)

    def __init__(self, limits: Mapping[str, Limit]) -> None:
        for key, limit in limits.items():
            _check(key, limit)
        self._limiters = {key: Limiter(limit) for key, limit in limits.items()}

    def of(self, provider: str, model_id: str) -> tuple[Limiter, ...]:
        """The limiters of a call, the model's first; `model_id` is the whole `provider:model`."""
        limiters = self._limiters
        found = limiters.get(model_id), limiters.get(provider)
        return tuple(limiter for limiter in found if limiter is not None)


def _check(key: object, limit: object) -> None:
    if not isinstance(key, str) or not key or any(map(str.isspace, key)) or not all(key.split(":", 1)):
        raise ValueError(f"limits: {key!r} is no provider and no model id; write 'openai' or 'openai:gpt-5-mini'")
    if not isinstance(limit, Limit):
        raise TypeError(
            f"limits: {key!r} has {type(limit).__name__} {limit!r}; write Limit(requests_per_minute=...), "
            "Limit(tokens_per_minute=...) or Limit(concurrency=...)"
        )


def _span(given: object) -> float | None:
    """Seconds between 0 and the longest hold; None for what is no number."""
    if not isinstance(given, int | float):
        return None
    return float(min(max(0, given), _LONGEST_HOLD_S))  # in this order NaN is 0


def _is_count(given: object) -> TypeGuard[int]:
    return type(given) is int


def _total(usage: Usage | None) -> int | None:
    """The tokens of a call; None when the provider said nothing credible."""
    total = None if usage is None else usage.total_tokens
    return total if _is_count(total) and 0 <= total < _MAX_TOKENS else None
