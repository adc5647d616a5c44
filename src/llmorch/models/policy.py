"""What callers may say about retries, limits, budgets and defaults."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from .._clock import seconds
from .base import Value, positional
from .values import freeze, freeze_mappings, to_data

__all__ = ["Budget", "Default", "Limit", "Retry"]


_Wait = Annotated[float, BeforeValidator(seconds)]


class Retry(Value):
    """How often and how patiently a call is repeated, per model.

    Waits grow from `base` seconds, doubled and jittered, up to `cap`; a server's `Retry-After` wins, up to `max_wait`
    seconds, beyond which the call fails (or falls back) at once.

    Example:
        >>> Retry(attempts=1)  # never
        Retry(attempts=1, base=0.5, cap=30.0, max_wait=120.0)
    """

    attempts: int = Field(default=4, ge=1, le=100)
    base: _Wait = Field(default=0.5, ge=0)
    cap: _Wait = Field(default=30.0, ge=0)
    max_wait: _Wait = Field(default=120.0, ge=0)

    @positional
    def __init__(
        self,
        attempts: int = 4,
        base: float | timedelta = 0.5,
        *,
        cap: float | timedelta = 30.0,
        max_wait: float | timedelta = 120.0,
    ) -> None:
        self._fill(attempts=attempts, base=base, cap=cap, max_wait=max_wait)


class Limit(Value):
    """How much of a provider or model may be used at once and in a minute; None is no limit.

    Example:
        >>> Limit(requests_per_minute=500, concurrency=20).tokens_per_minute is None
        True
    """

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1)


class Budget(Value):
    """What a run may spend: US dollars, tokens, calls; None is no bound.

    Attributes:
        unpriced: `refuse` a model whose price is unknown, or `ignore` it and count it in `unpriced_calls`.

    Example:
        >>> Budget(usd=5, calls=100).unpriced
        'refuse'
    """

    usd: float | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    calls: int | None = Field(default=None, ge=0)
    unpriced: Literal["refuse", "ignore"] = "refuse"


class Default(Value):
    """An `on_error` policy: a failed step counts as having this value.

    Example:
        >>> Default([]).value
        []
    """

    value: Any  # Any: data of any shape

    @positional
    def __init__(self, value: Any) -> None:
        self._fill(value=value)

    @field_validator("value")
    @classmethod
    def _is_data(cls, value: Any) -> Any:
        return freeze_mappings(to_data(value, where="Default"))

    def __hash__(self) -> int:
        return hash(freeze(self.value))
