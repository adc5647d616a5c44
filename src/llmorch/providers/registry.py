"""Providers by name: the built-in ones and those that installed packages register."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..ports import Provider

__all__ = ["GROUP", "create", "find", "names", "nearest"]

GROUP = "llmorch.providers"
"""The entry point group; each entry names a class or function that makes a provider without arguments."""

_BUILT_IN = {
    "anthropic": "llmorch.providers.anthropic:Anthropic",
    "azure": "llmorch.providers.azure:Azure",
    "deepseek": "llmorch.providers.deepseek:DeepSeek",
    "gemini": "llmorch.providers.gemini:Gemini",
    "kobold": "llmorch.providers.kobold:Kobold",
    "mistral": "llmorch.providers.mistral:Mistral",
    "offline": "llmorch.providers.offline:Offline",
    "ollama": "llmorch.providers.ollama:Ollama",
    "openai": "llmorch.providers.openai:OpenAI",
    "openrouter": "llmorch.providers.openrouter:OpenRouter",
    "xai": "llmorch.providers.xai:XAI",
}


@cache
def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def names() -> list[str]:
    """Every name that `find` knows, sorted."""
    return sorted({*_BUILT_IN, *_installed()})


def find(name: str) -> Callable[[], Provider] | None:
    """What makes the provider of that name, or None when there is none.

    A built-in name cannot be taken over by an installed package.

    Example:
        >>> find("nobody") is None
        True
    """
    home = _BUILT_IN.get(name)
    if home is not None:
        module, _, attribute = home.partition(":")
        made: Callable[[], Provider] = getattr(importlib.import_module(module), attribute)
        return made
    entry = _installed().get(name)
    if entry is None:
        return None
    loaded: Any = entry.load()  # Any: whatever the package registered
    return loaded  # type: ignore[no-any-return]  # what it makes is checked by use


def nearest(name: str) -> str | None:
    """The known name most like this one, for "did you mean"; None when none is like it."""
    close = difflib.get_close_matches(name, names(), 1, 0.7)
    return close[0] if close else None


def create(name: str) -> Provider:
    """A new provider of that name.

    Raises:
        LookupError: Nobody registered that name; the text has the known ones. Or it needs arguments.
    """
    make = find(name)
    if make is None:
        near = nearest(name)
        hint = f"did you mean {near!r}? " if near else ""
        raise LookupError(
            f"there is no provider named {name!r}; {hint}known are {', '.join(names())}; a package registers one with "
            f"the entry point group {GROUP!r}"
        )
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise LookupError(
            f"provider {name!r} cannot be made without arguments: {error}; make it in code and give it with "
            "Orchestrator(providers=[...])"
        ) from error
