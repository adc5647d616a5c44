"""Models of Ollama's library whose template has no place for tools, by the beginning of their names.

Source: what the server answered about each, as told in https://github.com/ollama/ollama/issues/5793 (2024-07) and /9680
(2025-03), and https://github.com/ItzCrazyKns/Vane/issues/1137 (2026-05). Of a name that is not here nothing is known:
the template decides on the server, which refuses what a model cannot do.
"""

from __future__ import annotations

from typing import Final

__all__ = ["takes_tools"]

_NO_TOOLS: Final = ("llama2:", "llama3:", "gemma3:", "phi4:", "orca2:", "deepseek-r1:14b")


def takes_tools(model: str) -> bool:
    """False where the library's template is known to have no place for tools."""
    name = model.lower()  # the server does not tell names apart by case, and adds the tag
    return not (name if ":" in name else f"{name}:latest").startswith(_NO_TOOLS)
