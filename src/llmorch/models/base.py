"""What all frozen values share: strict, closed, hashable, and a positional constructor that survives a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Annotated, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from .values import FrozenDict, freeze, to_data

__all__ = ["FrozenData", "Seconds", "Value", "positional", "several"]

F = TypeVar("F", bound=Callable[..., None])


class Value(BaseModel):
    """A frozen value: no unknown fields, no silent conversion, equal and hashable by content."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    def _fill(self, **fields: object) -> None:
        """What a `positional` constructor ends with: validation of the fields by name."""
        BaseModel.__init__(self, **fields)


def positional(init: F) -> F:
    """Mark a constructor that only renames arguments, so that `model_validate` goes past it.

    pydantic calls a custom `__init__` with the fields as keywords, which `*blocks` cannot take; the mark is the one
    `BaseModel.__init__` itself carries.
    """
    init.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic's own mark, see above
    return init


FrozenData = Annotated[
    FrozenDict[str, object],
    BeforeValidator(lambda given: freeze(to_data(given, where="mapping")) if isinstance(given, dict) else given),
]


def several(given: object) -> object:
    """What was given as a tuple; a bare text, whose letters would be taken, is refused."""
    if isinstance(given, str):
        raise ValueError(f"takes several: write [{given!r}]")
    return tuple(cast("Iterable[object]", given)) if isinstance(given, Iterable) else given


def _positive(span: float | timedelta | None) -> float | timedelta | None:
    amount = span.total_seconds() if isinstance(span, timedelta) else span
    if amount is not None and not amount > 0:
        raise ValueError("must be more than 0 seconds (leave it out for no limit)")
    return span


Seconds = Annotated[float | timedelta, AfterValidator(_positive)]
