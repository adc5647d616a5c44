"""Prices of known models, from the table that genai-prices bundles; nothing is fetched.

Source: https://github.com/pydantic/genai-prices (data and Python package, read 2026-11-20).
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from .._clock import from_us, now_us
from .price import FREE, Price

__all__ = ["price_of"]

# Our provider's name -> the table's, where they differ.
_NAMES = {"gemini": "google", "xai": "x-ai"}


@lru_cache(maxsize=1024)
def price_of(provider: str, model: str) -> Price | None:
    """The list price of a model today, or None when the table does not know it.

    Where a price depends on the length of the prompt, this is its lowest tier. Models that are also billed per request
    are unknown here, because tokens alone would give too low a sum. Batch, priority and regional prices are not looked
    at. The `offline` provider costs nothing.

    Args:
        provider: Name of the provider, the part of a model id before the colon.
        model: The part after the colon.
    """
    if provider == "offline":
        return FREE
    from genai_prices.data import providers  # 0.5 s and 47 providers: only when a price is asked for

    wanted = _NAMES.get(provider, provider)
    known = next((item for item in providers if item.id == wanted), None)
    found = known.find_model(model, all_providers=providers) if known is not None else None
    if found is None or not found.prices:
        return None
    listed = found.get_prices(from_us(now_us()))
    amounts = {name: _base(getattr(listed, f"{name}_mtok", None)) for name in _FIELDS}
    if amounts["input"] is None or amounts["output"] is None or getattr(listed, "requests_kcount", None):
        return None
    return Price(amounts["input"], amounts["output"], cached=amounts["cache_read"], cache_write=amounts["cache_write"])


_FIELDS = ("input", "output", "cache_read", "cache_write")


def _base(amount: Any) -> Decimal | None:  # Any: Decimal or the table's own tiers
    base: Decimal | None = getattr(amount, "base", amount)
    return base
