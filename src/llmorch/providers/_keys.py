"""Where a provider's key comes from, and to which host it may go."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn
from urllib.parse import urlsplit

from .. import _redact
from ..errors import AuthenticationFailed, MissingCredential
from ..models.secret import Secret
from ..ports import CredentialSource
from ._classify import Origin

__all__ = ["KeySource", "Keys", "Quiet", "clean_base_url", "register_headers"]

Key = str | Secret
KeySource = Key | Callable[[], Key | Awaitable[Key]]

_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class Quiet(dict[str, str]):
    """Headers whose repr and pickle show none of them: one may carry a key."""

    def __repr__(self) -> str:
        return f"Quiet({len(self)} headers)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("headers that may carry a key are not pickled; make the provider again where it is needed")


class Keys:
    """One provider's key.

    A key given in code goes to the address it was given with. A stored one goes to the vendor's own host, and to those
    the credential lists; every other host is asked without it.

    Args:
        given: The key, or what gives it, from code.
        variable: Name of the stored credential.
        host: Host name of the address.
        is_vendor: The address is the vendor's own, over TLS.
        is_needed: It refuses to answer without a key.

    Raises:
        TypeError: The key is neither text nor a Secret nor a function.
    """

    def __init__(self, given: KeySource | None, *, variable: str, host: str, is_vendor: bool, is_needed: bool) -> None:
        if not (given is None or isinstance(given, str | Secret) or callable(given)):
            raise TypeError(f"api_key= takes text, a Secret or a function that gives one, not {type(given).__name__}")
        self._given = Secret(given) if isinstance(given, str) and given else given or None
        self._variable = variable
        self._host = host
        self._is_vendor = is_vendor
        self._is_needed = is_needed
        self._checked: Secret | None = None
        self.source: CredentialSource | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether every call sends the same key."""
        return isinstance(self._given, Secret)

    def missing(self) -> str | None:
        """The variable's name when a call needs a key and there is none; asks nobody but the source."""
        if self._given is not None or not self._is_needed or self._stored() is not None:
            return None
        return self._variable

    async def current(self, origin: Origin) -> str | None:
        """The key to send now; None when the host is asked without one.

        Raises:
            MissingCredential: The vendor's own host needs one.
            AuthenticationFailed: It holds characters that no header may hold.
        """
        # No variable here or below holds the key in clear: whoever prints the frames of an error prints these, too.
        secret = await self._found(origin)
        if secret is not None and secret.reveal().strip():
            return self._ready(secret, origin)
        if self._is_needed:
            raise MissingCredential(
                f"{origin.provider} needs a key and has none: set {self._variable}, or give it in code with api_key=; "
                'model="offline:auto" works without a key, but is no LLM'
            )
        return None

    async def _found(self, origin: Origin) -> Secret | None:
        if self._given is None:
            return self._stored()
        if isinstance(self._given, Secret):
            return self._given
        given: object = self._given() if callable(self._given) else None
        if inspect.isawaitable(given):
            given = await given
        if given is None or isinstance(given, Secret):
            return given
        if isinstance(given, str):
            return Secret(given)
        kind, given = type(given).__name__, None
        raise AuthenticationFailed(
            f"the function in api_key= of {origin.provider} gave {kind}; it must give text or a Secret",
            provider=origin.provider,
            model=origin.model,
        )

    def _stored(self) -> Secret | None:
        if self.source is None:
            return None
        try:
            secret = self.source.get(self._variable)
        except MissingCredential:
            return None
        return secret if self._is_vendor or self._host in secret.hosts else None

    def _ready(self, secret: Secret, origin: Origin) -> str:
        if secret != self._checked:
            _redact.register(secret.reveal().strip(), passing=callable(self._given))
            if not _is_sendable(secret.reveal().strip()):
                raise AuthenticationFailed(
                    f"the key for {origin.provider} holds blanks or characters that no header may hold; copy it again",
                    provider=origin.provider,
                    model=origin.model,
                )
            self._checked = secret
        return secret.reveal().strip()


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def clean_base_url(base_url: str) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: It is no http(s) address, or holds a password, a query or a fragment.
    """
    try:
        parts = urlsplit(base_url)
        is_clean = base_url.isprintable() and not set(base_url) & set(" \\")
        is_address = is_clean and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_more = "@" in parts.netloc or bool(parts.query or parts.fragment)
    except ValueError:
        is_address = has_more = False
    if not is_address:
        raise ValueError("base_url is no http(s) address; it must look like 'https://host/v1'")
    if has_more:
        raise ValueError("base_url holds a user, a query or a fragment; give the key as api_key=, the rest as headers=")
    return base_url.rstrip("/")


def register_headers(headers: Mapping[str, str]) -> None:
    """Keep the values of headers that look secret out of every text."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            _redact.register(value)
            _redact.register(value.rpartition(" ")[2])
