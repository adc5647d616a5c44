"""Hooks that come with llmorch."""

from .._lazy import attach

__all__ = ["Logging", "Progress"]

__getattr__, __dir__ = attach(__name__, {"Logging": "llmorch.hooks.logs", "Progress": "llmorch.hooks.progress"})
