"""The folders that scripts may come from, as `Orchestrator(scripts=...)` names them."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from .scripts.find import default_roots

__all__ = ["script_roots"]


def script_roots(given: Iterable[str | PathLike[str]]) -> tuple[Path, ...]:
    """The folders, or those of the project when none is named.

    Raises:
        TypeError: One text instead of several.
        ValueError: One is no folder.
    """
    if isinstance(given, str | PathLike):
        raise TypeError(f"scripts= takes several folders: write [{str(given)!r}]")
    roots = tuple(Path(folder).expanduser().resolve() for folder in given)
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"scripts=: {str(root)!r} is no folder; make it, or name another")
    return roots or default_roots()
