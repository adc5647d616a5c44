"""Hooks that come with llmorch."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .logs import Logging
    from .progress import Progress

__all__ = ["Logging", "Progress"]

__getattr__, __dir__ = attach(__name__, {"Logging": "llmorch.hooks.logs", "Progress": "llmorch.hooks.progress"})
