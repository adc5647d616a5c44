"""A run store for llmorch that keeps everything in one file of JSON lines."""

from .store import LinesStore

__all__ = ["LinesStore"]
