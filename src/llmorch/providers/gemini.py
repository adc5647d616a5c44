"""Google's Gemini models over the Gemini API.

Source: https://ai.google.dev/api/generate-content (v1beta, 2026-10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..errors import MissingCredential
from ..models.secret import Secret
from ..ports import CredentialSource
from ..requests import Capabilities
from ._classify import Origin
from ._gemini_errors import headers_with_wait, plain_error, special_error
from ._gemini_models import capabilities_of
from ._gemini_wire import GeminiWire
from ._keys import KeySource
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Reply, Transport

__all__ = ["Gemini"]

_HOME: Final = Home(
    "GEMINI_API_KEY", "https://generativelanguage.googleapis.com", probe="gemini-3.1-flash-lite", vendor="gemini"
)
_OTHER_VARIABLE: Final = "GOOGLE_API_KEY"


class Gemini(Vendor):
    """Gemini's generateContent.

    An API key goes into the header `x-goog-api-key`, never into the address. What a function gives as the key is an
    OAuth token and is sent as `authorization: Bearer`. Objects in `extra` are merged into those of the request, so
    `extra={"generationConfig": {"thinkingConfig": {...}}}` keeps the other settings. An answer cut at the limit of one
    request (`CONTINUATION`) has the finish reason `length`; what goes on from there stands in
    `raw["continuation_token"]`.

    Args:
        api_key: The key, or a function (sync or async) that gives an OAuth token before each call. Unset: the stored
            `GEMINI_API_KEY`, else `GOOGLE_API_KEY`, which is sent to Google's own host only, unless the credential
            lists another.
        base_url: What stands before `/v1beta`, such as `http://localhost:8000`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> Gemini(api_key="example")
        Gemini(name='gemini', base_url='https://generativelanguage.googleapis.com')
        >>> Gemini(api_key="example").capabilities("gemini-2.5-flash").schema_with_tools
        False
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "gemini",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(
            GeminiWire(is_token=callable(api_key)),
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            transport=transport,
        )

    def use_credentials(self, source: CredentialSource) -> None:
        """Take the key from this source when none was given in code."""
        super().use_credentials(_EitherName(source))

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes; of models that are not known nothing is claimed."""
        return capabilities_of(model)

    async def _checked(self, reply: Reply, origin: Origin) -> bytes:
        """The body of an answer with status 200.

        Raises:
            ProviderError: The status is another.
        """
        if reply.status == 200:
            return reply.body
        error = special_error(origin, reply.body, status=reply.status, headers=reply.headers)
        if error is not None:
            raise error
        headers = headers_with_wait(reply.headers, reply.body)
        return await super()._checked(reply._replace(body=plain_error(reply.body), headers=headers), origin)


class _EitherName:
    """Finds Gemini's key under both names that Google's own tools read."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    def get(self, name: str) -> Secret:
        """The secret of that name, or under Google's other name for it.

        Raises:
            MissingCredential: There is neither.
        """
        try:
            return self._source.get(name)
        except MissingCredential:
            if name != _HOME.variable:
                raise
            return self._source.get(_OTHER_VARIABLE)
