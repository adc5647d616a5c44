"""Where keys come from."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .env import EnvironmentCredentials as EnvironmentCredentials

__all__ = ["EnvironmentCredentials"]

__getattr__, __dir__ = attach(__name__, {"EnvironmentCredentials": "llmorch.credentials.env"})
