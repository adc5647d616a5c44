"""Settings from the environment."""

from __future__ import annotations

import os

__all__ = ["MODEL_VARIABLE", "default_model"]

MODEL_VARIABLE = "LLMORCH_MODEL"


def default_model() -> str | None:
    """The model id in `LLMORCH_MODEL`, or None."""
    return os.environ.get(MODEL_VARIABLE) or None
