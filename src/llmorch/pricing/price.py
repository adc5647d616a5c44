"""The price of a model and the cost of a call."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

__all__ = ["FREE", "Price", "cost"]

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, init=False)
class Price:
    """What a model costs, in US dollars per million tokens.

    Args:
        input: Tokens of the prompt.
        output: Tokens of the answer, thinking included.
        cached: Tokens of the prompt read from the vendor's cache; None: as `input`.
        cache_write: Tokens of the prompt written to the vendor's cache; None: as `input`.

    Raises:
        TypeError: An amount that is no number.
        ValueError: An amount below zero, NaN or infinity.

    Example:
        >>> Price(0.25, 2, cached=0.025)
        Price(input=Decimal('0.25'), output=Decimal('2'), cached=Decimal('0.025'), cache_write=None)
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None
    cache_write: Decimal | None

    def __init__(
        self,
        input: Decimal | float,
        output: Decimal | float,
        *,
        cached: Decimal | float | None = None,
        cache_write: Decimal | float | None = None,
    ) -> None:
        object.__setattr__(self, "input", _amount(input, "input"))
        object.__setattr__(self, "output", _amount(output, "output"))
        object.__setattr__(self, "cached", None if cached is None else _amount(cached, "cached"))
        object.__setattr__(self, "cache_write", None if cache_write is None else _amount(cache_write, "cache_write"))


def _amount(given: object, name: str) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, Decimal | float | int):
        raise TypeError(f"Price: {name} is a number of US dollars per million tokens, not {type(given).__name__}")
    amount = given if isinstance(given, Decimal) else Decimal(str(given))  # str: 0.1 means 0.1, not its binary form
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"Price: {name} is {given}; give US dollars per million tokens, 0 or more")
    return amount


FREE: Final = Price(0, 0)


def cost(
    price: Price | None,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
) -> Decimal | None:
    """US dollars of one call, or None when the price is unknown.

    Args:
        input_tokens: All tokens of the prompt; `cached_tokens` and `cache_write_tokens` are parts of them.
        output_tokens: All tokens of the answer.
    """
    if price is None:
        return None
    plain = max(0, input_tokens - cached_tokens - cache_write_tokens)
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    total = plain * price.input + cached_tokens * cached + cache_write_tokens * written + output_tokens * price.output
    return total / _MILLION
