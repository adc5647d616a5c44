"""A value that never shows itself."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Secret"]

_SHOWN = "Secret('**********')"


class Secret:
    """A key or token; only `reveal()` gives it, no repr, format, JSON or pickle does.

    Example:
        >>> print(Secret("sk-123"))
        Secret('**********')
    """

    __slots__ = ("_value", "hosts")

    def __init__(self, value: str, *, hosts: tuple[str, ...] = ()) -> None:
        self._value = value
        self.hosts = hosts

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return _SHOWN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _SHOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; read the credential again where it is needed")
