"""A value that never shows itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import urlsplit

__all__ = ["Secret"]

_SHOWN = "Secret('**********')"


class Secret:
    """A key or token; only `reveal()` gives it, no repr, format, JSON or pickle does.

    Args:
        value: The key itself.
        hosts: Names of the hosts that may be sent a stored key besides the vendor's own, such as `llm.example.com`;
            without scheme, port or path.

    Raises:
        TypeError: The value is no text.
        ValueError: One of the hosts is no host name.

    Example:
        >>> print(Secret("sk-123"))
        Secret('**********')
        >>> Secret("sk-123", hosts=("LLM.example.com",)).hosts
        ('llm.example.com',)
    """

    __slots__ = ("_hosts", "_value")

    def __init__(self, value: str, *, hosts: str | Iterable[str] = ()) -> None:
        if not isinstance(value, str):
            raise TypeError(f"a Secret holds text, not {type(value).__name__}")
        self._value = value
        self._hosts = tuple(_host(name) for name in ((hosts,) if isinstance(hosts, str) else hosts))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that may be sent it besides the vendor's own, in lower case."""
        return self._hosts

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

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self  # values that hold one can then be copied

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; read the credential again where it is needed")

    def __getstate__(self) -> NoReturn:
        self.__reduce__()  # Python's own gives the slots to whoever asks


def _host(name: str) -> str:
    """A host name as addresses are compared with it."""
    plain = name.removeprefix("[").removesuffix("]").lower()
    try:
        found = urlsplit(f"//[{plain}]" if ":" in plain else f"//{plain}").hostname
    except ValueError:
        found = None
    if not plain or found != plain or not plain.isprintable() or set(plain) & set(" *\\%"):
        raise ValueError(f"hosts= takes names of hosts such as 'llm.example.com', without scheme or port, not {name!r}")
    return plain
