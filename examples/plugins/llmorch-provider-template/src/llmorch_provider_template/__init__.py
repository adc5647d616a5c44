"""A provider for llmorch: llama.cpp's own completion API."""

from .provider import LlamaCpp

__all__ = ["LlamaCpp"]
