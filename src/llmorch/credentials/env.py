"""Keys from environment variables."""

from __future__ import annotations

import os

from .. import _redact
from ..errors import MissingCredential
from ..models.secret import Secret

__all__ = ["EnvironmentCredentials"]


class EnvironmentCredentials:
    """Keys as the environment has them at the moment they are asked for.

    Example:
        >>> EnvironmentCredentials().has("LLMORCH_NO_SUCH_KEY")
        False
    """

    def get(self, name: str) -> Secret:
        """The variable's value, without white space around it.

        Raises:
            MissingCredential: It is not set, or empty.
        """
        value = os.environ.get(name, "").strip()
        if not value:
            raise MissingCredential(
                f"the environment variable {name} is not set; set it (export {name}=...), or give the provider its key "
                "in code with api_key="
            )
        _redact.register(value)
        return Secret(value)

    def has(self, name: str) -> bool:
        """Whether the variable is set and not empty."""
        return bool(os.environ.get(name, "").strip())

    def __repr__(self) -> str:
        return "EnvironmentCredentials()"
