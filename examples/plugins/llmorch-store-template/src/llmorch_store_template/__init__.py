"""A run store and a library for llmorch, each of which keeps everything in one file of JSON lines."""

from .library import LinesLibrary
from .store import LinesStore

__all__ = ["LinesLibrary", "LinesStore"]
