"""What planner tests build from: a catalog that knows some models, and payloads with little text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from llmorch.models.payload import Payload
from llmorch.planner.catalog import ResolvedModel
from llmorch.pricing import Price
from llmorch.requests import Capabilities


class Facts(BaseModel):
    """A typed output."""

    title: str
    claims: list[str]


@dataclass
class Shelf:
    """A catalog of these models; `asked` counts look-ups."""

    models: dict[str, ResolvedModel] = field(default_factory=dict[str, ResolvedModel])
    default: str | None = None
    asked: int = 0

    def resolve(self, model: str | None) -> ResolvedModel:
        """The model of that id."""
        self.asked += 1
        name = model or self.default
        if name is None:
            raise LookupError("no model is set; set LLMORCH_MODEL, or use offline")
        if name not in self.models:
            raise LookupError(f"there is no model {name!r}")
        return self.models[name]


def shelf(
    *names: str, price: Price | None = None, capabilities: Capabilities | None = None, default: str | None = None
) -> Shelf:
    """A catalog of models that are all alike."""
    alike = capabilities or Capabilities()
    return Shelf({name: ResolvedModel(name, *name.split(":", 1), alike, price) for name in names}, default)


def ask(name: str, text: str = "Say something.", **fields: Any) -> Payload[Any]:
    """A payload on a model that `shelf("a:m")` knows."""
    return Payload(name, text, **{"model": "a:m", **fields})
