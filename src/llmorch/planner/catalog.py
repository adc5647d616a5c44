"""What the planner asks about models; answered from above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..pricing import Price
from ..requests import Capabilities

__all__ = ["Catalog", "ResolvedModel"]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that can be called.

    Attributes:
        id: `provider:model`.
        provider: The provider's name.
        model: The part after the colon.
        price: US dollars per million tokens, or None when unknown.
    """

    id: str
    provider: str
    model: str
    capabilities: Capabilities
    price: Price | None = None


class Catalog(Protocol):
    """Knows which models there are."""

    def resolve(self, model: str | None) -> ResolvedModel:
        """The model of that id, or the default for None.

        Raises:
            LookupError: There is no such provider or key, or no default; the text says what to do.
        """
        ...
