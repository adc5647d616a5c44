"""OpenAI's chat completions, and every server that speaks them.

Source: https://platform.openai.com/docs/api-reference/chat (2026-02).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import _clock
from ..errors import BadAnswer, BadRequest, LLMOrchError
from ..models.secret import Secret
from ..ports import CredentialSource, OnDelta
from ..requests import Capabilities, ProviderRequest, ProviderResponse, ProviderStatus
from ._classify import Origin, error_for
from ._keys import Keys, KeySource, clean_base_url, register_headers
from ._openai_models import capabilities_of

if TYPE_CHECKING:
    import httpx

    from ._http import Http, Reply, Transport

__all__ = ["OpenAI"]

_BASE_URL = "https://api.openai.com/v1"
_VARIABLE = "OPENAI_API_KEY"
_CHAT = "/chat/completions"
_MODELS = "/models"
_LIST_TIMEOUT_S = 10
_MAX_FORMATS = 64


class OpenAI:
    """Chat completions of OpenAI or of any server that speaks them.

    `max_tokens` is sent as `max_completion_tokens` to OpenAI's own host, which no longer takes the old name for its
    reasoning models, and as `max_tokens` to every other, where the new name is often unknown. An answer is streamed
    only when somebody watches.

    Args:
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `OPENAI_API_KEY`, which is sent to OpenAI's own host only, unless the credential lists another.
        base_url: What stands before `/chat/completions`, such as `http://localhost:8000/v1`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> local = OpenAI(base_url="http://localhost:8000/v1", name="local")
        >>> local
        OpenAI(name='local', base_url='http://localhost:8000/v1')
        >>> sorted(OpenAI(api_key="sk-example").capabilities("o1").unsupported)
        ['frequency_penalty', 'presence_penalty', 'temperature', 'top_p']
    """

    keeps_time = True

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "openai",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._name = name
        self._base_url = clean_base_url(base_url or _BASE_URL)
        parts = urlsplit(self._base_url)
        self._host = parts.netloc
        self._is_vendor = parts.scheme == "https" and parts.hostname == urlsplit(_BASE_URL).hostname
        self._keys = Keys(api_key, variable=_VARIABLE, host=parts.hostname or "", is_vendor=self._is_vendor)
        self._own_headers = dict(headers or {})
        register_headers(self._own_headers)
        self._transport = transport
        self._http_made: Http | None = None
        self._headers_made: tuple[Secret, httpx.Headers] | None = None
        self._headers_kept: httpx.Headers | None = None
        self._formats: dict[int, tuple[object, tuple[dict[str, Any], bool]]] = {}

    def __repr__(self) -> str:
        return f"OpenAI(name={self._name!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        """The part of a model id before the colon."""
        return self._name

    def use_credentials(self, source: CredentialSource) -> None:
        """Take the key from this source when none was given in code."""
        self._keys.source = source

    def missing_credential(self) -> str | None:
        """The name of the variable that must be set before a call can work; None when nothing is missing."""
        return self._keys.missing()

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes; of another host's models nothing is known, and nothing is claimed."""
        return capabilities_of(model) if self._is_vendor else Capabilities(images=True)

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """Send one request and give its whole answer.

        Args:
            on_delta: Called with the answer's text as it comes; given, the request asks for a stream.

        Raises:
            ProviderError: The classes of the error tree.
            TimedOut: The call took too long or the stream stalled.
            MissingCredential: OpenAI's own host was to be asked without a key.
        """
        from ._chat_answer import StreamReader, read_answer
        from ._chat_request import body_of

        origin = self._origin(request.model)
        shape, wrapped = self._format(request)
        body = body_of(
            request,
            origin,
            stream=on_delta is not None,
            max_tokens_name="max_completion_tokens" if self._is_vendor else "max_tokens",
            response_format=shape,
        )
        http = self._http()
        headers = self._headers_kept or await self._headers(origin)
        if on_delta is None:
            reply = await http.post_json(_CHAT, body, headers=headers, model=request.model, timeout=request.timeout)
            return read_answer(await self._checked(reply, origin), origin, wrapped=wrapped)
        reader = StreamReader(origin, on_delta, wrapped=wrapped)
        streamed = await http.stream(
            _CHAT, body, headers=headers, sink=reader, model=request.model, timeout=request.timeout
        )
        if streamed is None:
            return reader.response()
        answer = read_answer(await self._checked(streamed, origin), origin, wrapped=wrapped)
        if answer.text:
            on_delta(answer.text)
        return answer

    async def models(self) -> list[str]:
        """The names of the models the server offers, sorted.

        Raises:
            ProviderError: The classes of the error tree.
        """
        from ._loose_json import is_list, is_object, parse

        origin = self._origin("")
        reply = await self._http().get(_MODELS, headers=await self._headers(origin), timeout=_LIST_TIMEOUT_S)
        body = await self._checked(reply, origin)
        try:
            listed = parse(body)
        except ValueError:
            listed = None
        entries = listed.get("data") if is_object(listed) else listed
        if not is_list(entries):
            raise BadAnswer(
                f"{self._name} at {self._host} did not answer with a list of its models; check base_url",
                provider=self._name,
                status=reply.status,
            )
        return sorted(str(entry["id"]) for entry in entries if is_object(entry) and "id" in entry)

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        """Whether the server answers and takes the key; costs nothing.

        Args:
            detailed: Also tell how many models it offers and name some.
        """
        start = _clock.monotonic()
        try:
            names = await self.models()
        except LLMOrchError as error:
            return ProviderStatus(False, latency=_clock.monotonic() - start, detail=error.message)
        some = f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
        return ProviderStatus(
            True,
            model=names[0] if len(names) == 1 else None,
            latency=_clock.monotonic() - start,
            detail=f"{len(names)} models{some}" if detailed else "",
        )

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if self._http_made is not None:
            await self._http_made.aclose()

    def _origin(self, model: str) -> Origin:
        return Origin(self._name, self._host, model, _VARIABLE if self._is_vendor else "")

    def _http(self) -> Http:
        if self._http_made is None:
            from ._http import Http

            self._http_made = Http(self._base_url, self._name, transport=self._transport)
        return self._http_made

    async def _headers(self, origin: Origin) -> httpx.Headers:
        key = await self._keys.current(origin) or ""
        if self._headers_made is None or self._headers_made[0].reveal() != key:
            from ._http import json_headers

            made = json_headers(self._own_headers, {"authorization": f"Bearer {key}"} if key else {})
            self._headers_made = (Secret(key), made)
            if self._keys.is_fixed:
                self._headers_kept = made  # nobody needs to be asked for the key again
        return self._headers_made[1]

    def _format(self, request: ProviderRequest) -> tuple[dict[str, Any] | None, bool]:
        schema = request.output_schema
        if schema is None:
            return None, False
        known = self._formats.get(id(schema))
        if known is None or known[0] is not schema:
            from ._chat_schema import response_format

            if len(self._formats) >= _MAX_FORMATS:
                self._formats.clear()
            known = self._formats[id(schema)] = (schema, response_format(schema))
        return known[1]

    async def _checked(self, reply: Reply, origin: Origin) -> bytes:
        if reply.status == 200:
            return reply.body
        error = error_for(origin, status=reply.status, headers=reply.headers, body=reply.body)
        if reply.status == 404 and isinstance(error, BadRequest) and origin.model:
            near = await self._nearest(origin.model)
            if near:
                names = ", ".join(repr(name) for name in near)
                error = BadRequest(
                    f"{error.message}; models it offers with a similar name: {names}",
                    provider=error.provider,
                    model=error.model,
                    status=404,
                )
        raise error

    async def _nearest(self, model: str) -> list[str]:
        try:
            return difflib.get_close_matches(model, await self.models(), 3, 0.4)
        except LLMOrchError:  # the answer to the call itself is what matters
            return []
