"""What tokens cost: `Price`, `price_of` a model, `cost` of a call. Loaded lazily; prices are bundled and offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .price import FREE as FREE
    from .price import Price as Price
    from .price import cost as cost
    from .table import price_of as price_of

__all__ = ["FREE", "Price", "cost", "price_of"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "FREE": f"{__name__}.price",
        "Price": f"{__name__}.price",
        "cost": f"{__name__}.price",
        "price_of": f"{__name__}.table",
    },
)
