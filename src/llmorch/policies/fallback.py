"""The next model, when one cannot answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..errors import AuthenticationFailed, BadRequest, EmptyResponse, OutputInvalid, ProviderError, TimedOut

__all__ = ["falling_back", "goes_on"]

T = TypeVar("T")


def goes_on(error: BaseException) -> bool:
    """Whether another model may do better: any provider's error but a bad request, a call's timeout, a bad answer."""
    if isinstance(error, BadRequest):
        return False
    return isinstance(error, ProviderError | TimedOut | OutputInvalid | EmptyResponse)


async def falling_back(
    ask: Callable[[str | None], Awaitable[T]],
    models: Sequence[str | None],
    *,
    warn: Callable[[str, str], None],
) -> T:
    """The answer of the first model that gives one.

    Args:
        ask: Asks one model, with its retries.
        warn: Told `(code, text)` when a rejected key sends the call on.

    Raises:
        BaseException: The last model's error, with the first one as cause.
    """
    first: BaseException | None = None
    for position, model in enumerate(models):
        try:
            return await ask(model)
        except Exception as error:  # goes_on decides which errors another model may mend
            if first is not None and error is not first and error.__cause__ is None:
                error.__cause__ = first
            if position == len(models) - 1 or not goes_on(error):
                raise
            if isinstance(error, AuthenticationFailed):
                warn("key-rejected", f"the key for {model!r} was rejected; trying {models[position + 1]!r}")
            first = first or error
    raise ValueError("no model to ask")
