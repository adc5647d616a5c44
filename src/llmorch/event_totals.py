"""What a run had used when it ended, as its row keeps it, so that lists need not read its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import cast

from .events import Event, RunFinished
from .models.usage import Usage
from .models.values import Data

__all__ = ["spent", "totals_of"]

_COUNTS = tuple(field.name for field in fields(Usage))


def totals_of(events: Sequence[Event]) -> dict[str, Data]:
    """What a store keeps as `RunRow.totals` when it commits this unit; empty when the run does not end with it.

    Money is text, as in the events, so that no digit is lost.

    Example:
        >>> end = RunFinished("succeeded", usage=Usage(12, 7, requests=1), cost=Decimal("0.00031"), run_id="r1", seq=9)
        >>> totals_of([end])["usage"]["output_tokens"], totals_of([end])["cost"]
        (7, '0.00031')
    """
    for event in reversed(events):
        if isinstance(event, RunFinished):
            usage = event.usage  # `asdict` would copy each count, several times as slowly
            counts = {name: getattr(usage, name) for name in _COUNTS}
            return {"usage": counts, "cost": None if event.cost is None else str(event.cost)}
    return {}


def spent(totals: Mapping[str, Data]) -> tuple[Usage | None, Decimal | None]:
    """Usage and cost as `totals_of` keeps them; None for each that is not there, or is none.

    Example:
        >>> usage, cost = spent({"usage": {"input_tokens": 12, "output_tokens": 7}, "cost": "0.00031"})
        >>> usage.total_tokens, cost
        (19, Decimal('0.00031'))
        >>> spent({})
        (None, None)
    """
    return _usage(totals.get("usage")), _money(totals.get("cost"))


def _usage(kept: Data) -> Usage | None:
    if not isinstance(kept, Mapping):
        return None
    found = cast("Mapping[str, Data]", kept)
    counts: dict[str, Data] = {name: found.get(name, 0) for name in _COUNTS}
    return Usage(**counts) if all(type(count) is int for count in counts.values()) else None


def _money(kept: Data) -> Decimal | None:
    try:
        amount = Decimal(kept) if isinstance(kept, str) else None
    except InvalidOperation:
        return None
    return amount if amount is None or amount.is_finite() else None
