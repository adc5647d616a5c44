"""The one retry layer: what is tried again, how often, and after how long."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import BadAnswer, ProviderError, ProviderUnavailable, RateLimited, StreamTruncated, TimedOut
from ..models.policy import Retry

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["Pause", "is_retryable", "retried", "retrying"]

T = TypeVar("T")
Pause = Callable[[BaseException, float], Awaitable[None]]
_RETRIED_STATUS = frozenset({408, 409, 425, 429})


def is_retryable(error: BaseException, *, policy: Retry, earlier: int = 0) -> bool:
    """Whether a provider's error may pass when the call is repeated.

    Connection errors, timeouts, stalls, 408, 409, 429, 5xx and cut streams may; a spend limit, any other 4xx and a
    server that asks to wait longer than `max_wait` may not. An answer in no known format is tried once more.

    Args:
        earlier: How many answers in no known format the call has had before this error.
    """
    if isinstance(error, RateLimited):
        return not error.spend_limit and (error.retry_after or 0) <= policy.max_wait
    if isinstance(error, BadAnswer):
        return earlier < 1
    if isinstance(error, ProviderUnavailable | StreamTruncated | TimedOut):
        hint = getattr(error, "retry_after", None)
        return hint is None or hint <= policy.max_wait
    return isinstance(error, ProviderError) and error.status in _RETRIED_STATUS


def wait_of(error: BaseException, *, attempt: int, policy: Retry) -> float:
    """Seconds to wait after the attempt of that number failed; never less than the server asked for."""
    ceiling = min(policy.cap, policy.base * 2.0 ** (attempt - 1))
    wait = ceiling * (0.5 + random.random() / 2)
    hint = getattr(error, "retry_after", None)
    return max(wait, hint) if hint is not None else wait


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    *,
    pause: Pause,
    may_pass: Callable[[BaseException, int, Retry], bool] | None = None,
) -> T:
    """The attempt's result, tried again while it fails with what may pass.

    Args:
        pause: Waits that many seconds after that error; called between attempts.
        may_pass: Decides which errors are tried again; default `is_retryable`.

    Raises:
        BaseException: The last error; a provider's error has the first one as `.first` and cause.
    """
    try:
        return await attempt()  # the usual case pays nothing for the machinery below
    except Exception as error:  # whatever it is, the policy decides
        first = error
    return await retried(attempt, policy, first=first, pause=pause, may_pass=may_pass)


async def retried(
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    *,
    first: Exception,
    pause: Pause,
    may_pass: Callable[[BaseException, int, Retry], bool] | None = None,
) -> T:
    """`retrying` for a caller whose own first attempt has failed with `first`."""
    decide = may_pass or _Judge()
    if policy.attempts == 1 or not decide(first, 1, policy):
        raise _explained(first, policy)
    return await _again(attempt, policy, first, pause, decide)


def _explained(error: Exception, policy: Retry) -> Exception:
    """The error, with why it was not tried again where it asks for more patience than the policy has."""
    hint = getattr(error, "retry_after", None)
    if isinstance(error, ProviderError) and hint is not None and hint > policy.max_wait:
        error.args = (
            f"{error.message}; it asks to wait {hint:g} s, more than Retry(max_wait={policy.max_wait:g})",
            *error.args[1:],
        )
    return error


class _Judge:
    """Decides for one call, whose earlier errors count."""

    __slots__ = ("_bad_answers",)

    def __init__(self) -> None:
        self._bad_answers = 0

    def __call__(self, error: BaseException, attempt: int, policy: Retry) -> bool:
        verdict = is_retryable(error, policy=policy, earlier=self._bad_answers)
        self._bad_answers += isinstance(error, BadAnswer)
        return verdict


async def _again(
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    first: Exception,
    pause: Pause,
    decide: Callable[[BaseException, int, Retry], bool],
) -> T:
    from tenacity import AsyncRetrying, stop_after_attempt

    number = 0
    last: BaseException = first
    wait_s = 0.0

    async def replay_first_then_try() -> T:
        nonlocal number
        number += 1
        if number == 1:
            raise first
        return await attempt()

    def may_go_on(state: RetryCallState) -> bool:
        nonlocal last
        error = state.outcome.exception() if state.outcome is not None else None
        if error is None or not isinstance(error, Exception):
            return False
        last = error
        return state.attempt_number == 1 or decide(
            error, state.attempt_number, policy
        )  # of the first one it is decided

    def next_wait(state: RetryCallState) -> float:
        nonlocal wait_s
        wait_s = wait_of(last, attempt=state.attempt_number, policy=policy)
        return wait_s

    async def sleep(_: float) -> None:
        await pause(last, wait_s)

    again = AsyncRetrying(
        stop=stop_after_attempt(policy.attempts), wait=next_wait, retry=may_go_on, sleep=sleep, reraise=True
    )
    try:
        return await again(replay_first_then_try)
    except Exception as error:
        if error is not first:
            if isinstance(error, ProviderError):
                error.first = first
            error.__cause__ = error.__cause__ or first
        raise
