"""Where runs and their logs are kept, answers, and libraries."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .memory import MemoryStore
    from .memory_cache import MemoryCache
    from .memory_library import MemoryLibrary
    from .sqlalchemy.library import SqlAlchemyLibrary
    from .sqlalchemy.store import SqlAlchemyStore
    from .sqlite.backup import BackupFile, Backups, Restored
    from .sqlite.database import Migration
    from .sqlite.library import SqliteLibrary
    from .sqlite.store import SqliteStore
    from .sqlite.vacuum import Vacuumed
    from .sqlite.verify import StoreReport

__all__ = [
    "BackupFile",
    "Backups",
    "MemoryCache",
    "MemoryLibrary",
    "MemoryStore",
    "Migration",
    "Restored",
    "SqlAlchemyLibrary",
    "SqlAlchemyStore",
    "SqliteLibrary",
    "SqliteStore",
    "StoreReport",
    "Vacuumed",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BackupFile": "llmorch.stores.sqlite.backup",
        "Backups": "llmorch.stores.sqlite.backup",
        "MemoryCache": "llmorch.stores.memory_cache",
        "MemoryLibrary": "llmorch.stores.memory_library",
        "MemoryStore": "llmorch.stores.memory",
        "Migration": "llmorch.stores.sqlite.database",
        "Restored": "llmorch.stores.sqlite.backup",
        "SqlAlchemyLibrary": "llmorch.stores.sqlalchemy.library",
        "SqlAlchemyStore": "llmorch.stores.sqlalchemy.store",
        "SqliteLibrary": "llmorch.stores.sqlite.library",
        "SqliteStore": "llmorch.stores.sqlite.store",
        "StoreReport": "llmorch.stores.sqlite.verify",
        "Vacuumed": "llmorch.stores.sqlite.vacuum",
    },
)
