"""Stores by the scheme of their URL: the built-in ones and those that installed packages register."""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, cast

from ..ports import RunStore

__all__ = ["GROUP", "Durability", "given", "opened", "schemes"]

GROUP = "llmorch.stores"
"""The entry point group; each entry is named after a URL's scheme and names a class with `from_url(url, *,
durability)`."""

Durability = Literal["power", "process"]
_BUILT_IN = {
    "postgres": "llmorch.stores.sqlalchemy.store:SqlAlchemyStore",
    "postgresql": "llmorch.stores.sqlalchemy.store:SqlAlchemyStore",
    "sqlite": "llmorch.stores.sqlite.store:SqliteStore",
}


@cache
def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def schemes() -> list[str]:
    """Every scheme that has a store, sorted."""
    return sorted({*_BUILT_IN, *_installed()})


def opened(url: str, *, durability: Durability = "power") -> RunStore:
    """The store that a URL names; `memory` is one of its own.

    Args:
        durability: `power` survives the loss of power, `process` only the death of the process, and is quicker.

    Raises:
        ValueError: No store has that scheme, or the URL is none of its.
        MissingExtra: The store's extra is not installed.
    """
    if durability not in ("power", "process"):
        raise ValueError(f"durability= is 'power' or 'process', not {durability!r}")
    if url in ("memory", "memory:", "memory://"):
        from .memory import MemoryStore

        return MemoryStore()
    scheme = url.partition(":")[0].partition("+")[0]
    made: Any = _find(scheme)  # Any: whatever the package registered
    if made is None:
        near = difflib.get_close_matches(scheme, schemes(), 1, 0.7)
        hint = f"did you mean {near[0]!r}? Give" if near else "give"
        raise ValueError(
            f"no store is known for {_shown(url)!r}; {hint} 'memory', 'sqlite:///runs.db', "
            f"'postgresql://user@host/database' or a RunStore (a package registers one with the entry point group "
            f"{GROUP!r})"
        )
    if not hasattr(made, "from_url"):
        raise ValueError(
            f"the store registered for {scheme!r} cannot be opened by URL: {made!r} has no "
            "from_url(url, *, durability); make it in code and pass it as store="
        )
    store: RunStore = made.from_url(url, durability=durability)
    return store


def given(store: object, *, durability: Durability = "power") -> RunStore:
    """The store that `Orchestrator(store=...)` means.

    Raises:
        TypeError: It is neither a URL nor a store.
        ValueError: It is a URL that names none.
    """
    if isinstance(store, str):
        return opened(store, durability=durability)
    if isinstance(store, type):
        raise TypeError(f"store= takes an instance: write {store.__name__}(...)")
    if not all(hasattr(store, name) for name in ("create", "append", "load", "events", "claim")):
        raise TypeError(f"store= takes a URL such as 'sqlite:///runs.db', or a RunStore, not {store!r}")
    return cast("RunStore", store)


def _find(scheme: str) -> Any:  # Any: as above
    home = _BUILT_IN.get(scheme)
    if home is not None:
        module, _, attribute = home.partition(":")
        return getattr(importlib.import_module(module), attribute)
    entry = _installed().get(scheme)
    return None if entry is None else entry.load()


def _shown(url: str) -> str:
    """The URL without what may be a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
