"""Where runs and their logs are kept, and answers."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .memory import MemoryStore
    from .memory_cache import MemoryCache
    from .sqlite.store import SqliteStore

__all__ = ["MemoryCache", "MemoryStore", "SqliteStore"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "MemoryCache": "llmorch.stores.memory_cache",
        "MemoryStore": "llmorch.stores.memory",
        "SqliteStore": "llmorch.stores.sqlite.store",
    },
)
