"""Lazy module attributes (PEP 562): a name is imported when it is first asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["attach", "require"]


def attach(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a module whose names live elsewhere.

    Args:
        module: The module's `__name__`.
        homes: Public name -> module that defines it.
    """

    def __getattr__(name: str) -> Any:  # Any: a module attribute can be anything
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[module], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(homes)

    return __getattr__, __dir__


def require(module: str, *, extra: str, purpose: str) -> Any:  # Any: a module
    """Import a module that an extra brings, or raise `MissingExtra` with the pip line."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        from .errors import MissingExtra

        raise MissingExtra(
            f"{purpose} needs {module!r}, which is not installed; run: pip install 'llmorch[{extra}]'"
        ) from error
