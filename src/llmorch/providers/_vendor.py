"""What every provider over HTTP has in common: its key, its address, its connections, its connectivity test.

A provider is a `Vendor` with a `Wire`: the wire knows the vendor's format and nothing of connections.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol
from urllib.parse import urlsplit

from .. import _clock, _json
from .._redact import redact
from ..errors import AuthenticationFailed, BadAnswer, BadRequest, LLMOrchError, ProviderError
from ..models.message import Message
from ..models.secret import Secret
from ..models.settings import Settings
from ..ports import CredentialSource, OnDelta
from ..requests import Capabilities, ProviderRequest, ProviderResponse, ProviderStatus
from ._allowance import allowance_in
from ._classify import Origin, error_for
from ._keys import Keys, KeySource, Quiet, clean_base_url, register_headers
from ._loose_json import parse
from ._sink import AnswerSink

if TYPE_CHECKING:
    import httpx

    from ._http import Http, Reply, Transport

__all__ = ["Home", "Sent", "Vendor", "Wire", "encoded"]

_NO_MODEL = re.compile(
    r"invalid model|unknown model|model[^.;]{0,80}(not found|does not exist|not exist)|model_not_found", re.IGNORECASE
)
_LIST_TIMEOUT_S = 10
_PROBE_TIMEOUT_S = 30


class Sent(NamedTuple):
    """One request in a vendor's wire format, and what reads its answer.

    Attributes:
        path: What stands behind the base address.
        whole: Reads an answer that came in one piece with status 200.
        stream: Makes what takes an answer that comes as a stream.
    """

    path: str
    body: bytes
    whole: Callable[[bytes], ProviderResponse]
    stream: Callable[[OnDelta], AnswerSink]


class Wire(Protocol):
    """A vendor's wire format."""

    @property
    def models_path(self) -> str:
        """Where the models are listed, behind the base address."""
        ...

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent.

        Raises:
            BadRequest: It holds what this vendor does not take.
        """
        ...

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The headers that carry the key."""
        ...

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The names in an answer of `models_path`; None when it is no such answer."""
        ...


@dataclass(frozen=True, slots=True)
class Home:
    """Where a vendor lives.

    Attributes:
        variable: Name of the stored credential.
        base_url: Its public address, used when none is given; empty when there is none.
        hosts: Host names that are its own besides that of `base_url`; one that begins with a dot stands for every host
            that ends with it. Only these are sent a stored credential, unless the credential lists another.
        needs_key: Its own hosts refuse to answer without a key.
        probe: A model for the detailed connectivity test; empty: the first one listed.
        vendor: What price lists call it; empty: as the provider's own name.
    """

    variable: str
    base_url: str = ""
    hosts: tuple[str, ...] = ()
    needs_key: bool = True
    probe: str = ""
    vendor: str = ""

    def owns(self, address: str) -> bool:
        """Whether the address is the vendor's own, over TLS."""
        parts = urlsplit(address)
        host = parts.hostname or ""
        known = (urlsplit(self.base_url).hostname or "", *self.hosts)
        return (
            parts.scheme == "https"
            and parts.port in (None, 443)
            and any(host.endswith(name) if name.startswith(".") else host == name for name in known if name)
        )


@dataclass(frozen=True, slots=True, repr=False)
class _Made:
    """The headers that carry a key; its repr shows neither, as httpx's would show all but `authorization`."""

    key: Secret
    headers: httpx.Headers


class Vendor:
    """Base of the providers that speak over HTTP; what differs between them is the wire.

    Args:
        wire: The vendor's format.
        home: Its address and credential.
        name: The part of a model id before the colon.
        api_key: The key, or a function (sync or async) that gives it before each call.
        base_url: Used instead of the vendor's own.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.
    """

    keeps_time: ClassVar[bool] = True

    def __init__(
        self,
        wire: Wire,
        home: Home,
        *,
        name: str,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._wire = wire
        self._home = home
        self._name = name
        self._base_url = clean_base_url(base_url or home.base_url)
        parts = urlsplit(self._base_url)
        self._host = parts.netloc
        self._is_own = home.owns(self._base_url)
        is_needed = self._is_own and home.needs_key
        self._keys = Keys(
            api_key, variable=home.variable, host=parts.hostname or "", is_vendor=self._is_own, is_needed=is_needed
        )
        self._own_headers = Quiet(headers or {})
        register_headers(self._own_headers)
        self._transport = transport
        self._http_made: Http | None = None
        self._made: _Made | None = None
        self._asked = Origin(name, self._host, "", home.variable if self._is_own else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self._name!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        """The part of a model id before the colon."""
        return self._name

    @property
    def base_url(self) -> str:
        """What stands before each path, without a slash at its end."""
        return self._base_url

    @property
    def needs_key(self) -> bool:
        """Whether the address answers nobody without a key, as far as that is known."""
        return self._is_own and self._home.needs_key

    def use_credentials(self, source: CredentialSource) -> None:
        """Take the key from this source when none was given in code."""
        self._keys.source = source

    def missing_credential(self) -> str | None:
        """The name of the variable that must be set before a call can work; None when nothing is missing."""
        return self._keys.missing()

    def capabilities(self, model: str) -> Capabilities:
        """What the model can do, as far as it is known."""
        return Capabilities(images=True)

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """Send one request and give its whole answer.

        Args:
            on_delta: Called with the answer's text as it comes; given, the request asks for a stream.

        Raises:
            ProviderError: The classes of the error tree.
            TimedOut: The call took too long or the stream stalled.
            MissingCredential: The vendor's own host was to be asked without a key.
        """
        origin = self._origin(request.model)
        sent = self._wire.sent(request, origin, stream=on_delta is not None)
        http = self._http()
        made = self._made
        headers = made.headers if made is not None and self._keys.is_fixed else await self._headers(origin)
        if on_delta is None:
            reply = await http.post_json(
                sent.path, sent.body, headers=headers, model=request.model, timeout=request.timeout
            )
            return _with_allowance(sent.whole(await self._checked(reply, origin)), reply)
        sink = sent.stream(on_delta)
        reply = await http.stream(
            sent.path, sent.body, headers=headers, sink=sink, model=request.model, timeout=request.timeout
        )
        if reply.is_streamed:
            return _with_allowance(sink.response(), reply)
        answer = sent.whole(await self._checked(reply, origin))
        if answer.text:
            on_delta(answer.text)
        return _with_allowance(answer, reply)

    async def models(self) -> list[str]:
        """The names of the models the server offers, sorted.

        Raises:
            ProviderError: The classes of the error tree.
        """
        origin = self._origin("")
        reply = await self._http().get(
            self._wire.models_path, headers=await self._headers(origin), timeout=_LIST_TIMEOUT_S
        )
        body = await self._checked(reply, origin)
        try:
            names = self._wire.models_in(parse(body))
        except ValueError:
            names = None
        if names is None:
            raise BadAnswer(
                f"{self._name} at {self._host} did not answer with a list of its models; check base_url",
                provider=self._name,
                status=reply.status,
            )
        return sorted(redact(name) for name in names)

    async def check(self, *, detailed: bool = False, model: str | None = None) -> ProviderStatus:
        """Whether the server answers and takes the key: one look at its models, which costs nothing.

        Args:
            detailed: Also ask a model for one token, which may cost a little, and tell of each address what it
                answered.
            model: The one to ask; unset: a small one of the vendor's, or the first one the server lists.
        """
        self._http()  # loading the HTTP client is no part of the server's time
        wanted = model or (self._home.probe if self._is_own else "")
        start = _clock.monotonic()
        try:
            names = await self.models()
        except LLMOrchError as error:
            took = _clock.monotonic() - start
            if not detailed:
                return ProviderStatus(False, latency=took, detail=error.message)
            line = f"GET {self._wire.models_path}: {error.message}"
            if wanted and isinstance(error, BadRequest):  # many gateways answer calls and list nothing
                return await self._probed(wanted, line)
            return ProviderStatus(False, latency=took, detail=line)
        took = _clock.monotonic() - start
        if not detailed:
            return ProviderStatus(True, model=names[0] if len(names) == 1 else None, latency=took)
        some = f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
        count = f"{len(names)} model{'' if len(names) == 1 else 's'}"
        listed = f"GET {self._wire.models_path}: {count}{some} ({took:.2f} s)"
        wanted = wanted or (names[0] if names else "")
        if not wanted:
            return ProviderStatus(True, latency=took, detail=f"{listed}\nno model to ask")
        return await self._probed(wanted, listed)

    async def _probed(self, model: str, listed: str) -> ProviderStatus:
        """One small answer of the model, as the last line of the detailed test."""
        settings = Settings() if "max_tokens" in self.capabilities(model).unsupported else Settings(max_tokens=16)
        request = ProviderRequest(model, (Message("user", "Hi"),), settings, timeout=_PROBE_TIMEOUT_S)
        path = self._wire.sent(request, self._origin(model), stream=False).path
        start = _clock.monotonic()
        try:
            answer = await self.complete(request)
        except LLMOrchError as error:
            took = _clock.monotonic() - start
            return ProviderStatus(False, model, took, f"{listed}\nPOST {path}: {error.message}")
        took = _clock.monotonic() - start
        said = f"{answer.model or model} answered, finish reason {answer.finish_reason!r}"
        return ProviderStatus(True, model, took, f"{listed}\nPOST {path}: {said} ({took:.2f} s)")

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if self._http_made is not None:
            await self._http_made.aclose()

    def _origin(self, model: str) -> Origin:
        if self._asked.model != model:  # most programs ask the same one again and again
            self._asked = self._asked._replace(model=model)
        return self._asked

    def _http(self) -> Http:
        if self._http_made is None:
            from ._http import Http

            self._http_made = Http(self._base_url, self._name, transport=self._transport)
        return self._http_made

    async def _headers(self, origin: Origin) -> httpx.Headers:
        key = await self._keys.current(origin) or ""
        if self._made is None or self._made.key.reveal() != key:
            from ._http import json_headers

            headers = json_headers(self._own_headers, self._wire.key_headers(key) if key else {})
            self._made = _Made(Secret(key), headers)
        return self._made.headers

    async def _checked(self, reply: Reply, origin: Origin) -> bytes:
        """The body of an answer with status 200.

        Raises:
            ProviderError: The status is another.
        """
        if reply.status == 200:
            return reply.body
        error = error_for(origin, status=reply.status, headers=reply.headers, body=reply.body)
        if isinstance(error, AuthenticationFailed) and self._made is not None and not self._made.key.reveal():
            error = self._keyless(error)
        elif origin.model and isinstance(error, BadRequest) and _is_about_the_model(error):
            error = await self._not_found(error, origin)
        raise error

    def _keyless(self, error: AuthenticationFailed) -> AuthenticationFailed:
        """The error of a server that wants a key and got none."""
        stored = f"; {self._home.variable} goes to the vendor's own host only" if self._home.variable else ""
        return AuthenticationFailed(
            f"{error.message.partition('; check the key')[0]}; no key was sent: give it with api_key={stored}",
            provider=error.provider,
            model=error.model,
            status=error.status,
        )

    def priced_as(self, model: str) -> str | None:
        """The id under which price lists know the model, such as `openai:gpt-5`; None: the one it is called by."""
        return f"{self._home.vendor}:{model}" if self._home.vendor and self._is_own else None

    async def _not_found(self, error: ProviderError, origin: Origin) -> ProviderError:
        """The error for a model the server does not have, with the names that are like it."""
        try:
            near = difflib.get_close_matches(origin.model, await self.models(), 3, 0.4)
        except LLMOrchError:  # the answer to the call itself is what matters
            near = []
        if not near:
            return error
        names = ", ".join(repr(name) for name in near)
        return BadRequest(
            f"{error.message}; models it offers with a similar name: {names}",
            provider=error.provider,
            model=error.model,
            status=error.status,
        )


def _is_about_the_model(error: BadRequest) -> bool:
    return error.status == 404 or (error.status == 400 and _NO_MODEL.search(error.message) is not None)


def _with_allowance(answer: ProviderResponse, reply: Reply) -> ProviderResponse:
    left = allowance_in(reply.headers)
    return answer if left is None else replace(answer, allowance=left)


def encoded(body: Mapping[str, Any], request: ProviderRequest, origin: Origin) -> bytes:
    """The body as JSON bytes.

    Raises:
        BadRequest: `extra` or the schema of a tool holds what is no JSON.
    """
    try:
        return _json.dumps(body).encode("ascii")
    except (TypeError, ValueError) as error:
        of = f"of step {request.step!r} " if request.step else ""
        raise BadRequest(
            f"the request {of}to {origin.provider} cannot be written as JSON ({error}); check extra= and the schemas "
            "of the tools",
            provider=origin.provider,
            model=origin.model,
        ) from None
