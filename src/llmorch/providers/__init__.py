"""Providers: each speaks one vendor's HTTP API. They are loaded when they are first asked for."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .offline import Offline as Offline
    from .openai import OpenAI as OpenAI

__all__ = ["Offline", "OpenAI"]

__getattr__, __dir__ = attach(
    __name__,
    {"OpenAI": "llmorch.providers.openai", "Offline": "llmorch.providers.offline"},
)
