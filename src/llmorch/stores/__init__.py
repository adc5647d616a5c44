"""Where runs and their logs are kept."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .memory import MemoryStore

__all__ = ["MemoryStore"]

__getattr__, __dir__ = attach(__name__, {"MemoryStore": "llmorch.stores.memory"})
