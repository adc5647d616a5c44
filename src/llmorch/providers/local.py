"""Model servers on this machine or network, by address: what they are, whether they answer and what they offer."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import urlsplit

from .. import _clock
from ..errors import AuthenticationFailed, LLMOrchError, ProviderUnavailable
from ..ports import Provider
from ._keys import KeySource, clean_base_url

if TYPE_CHECKING:
    from ._http import Transport
    from ._vendor import Vendor
    from .kobold import Kobold
    from .ollama import Ollama
    from .openai import OpenAI

__all__ = ["InstanceStatus", "LocalInstances", "ServerKind"]

ServerKind = Literal["openai", "ollama", "kobold"]
"""Which API a server speaks: chat completions, Ollama's, or KoboldCpp's."""

# KoboldCpp answers in the place of the others as well, so it is asked for first.
_TRIED: Final[tuple[ServerKind, ...]] = ("kobold", "ollama", "openai")
_PLACES: Final = "/api/v1/model, /api/tags and /v1/models"
_DEFAULT_TIMEOUT_S: Final = 5.0
_CLOSE_S: Final = 1.0
_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_BLANK: Final = re.compile(r"[\s\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """What is known of one server.

    Attributes:
        address: `host:port`.
        kind: Which API it speaks; None while that is not known.
        name: The part of a model id before the colon.
        ok: It answered when it was last asked.
        latency: Seconds its answer took; None without one.
        models: Names of the models it offers.
        detail: What went wrong, for people.
        checked_at: When it was last asked; None when it never was.

    Example:
        >>> InstanceStatus("localhost:11434", "ollama", "big").ok
        False
    """

    address: str
    kind: ServerKind | None
    name: str
    ok: bool = False
    latency: float | None = None
    models: tuple[str, ...] = ()
    detail: str = "not asked yet"
    checked_at: datetime | None = None


@dataclass(slots=True)
class _Instance:
    base_url: str
    path: str
    key: KeySource | None = field(repr=False)
    is_given: bool
    status: InstanceStatus
    provider: Vendor | None = None


class LocalInstances:
    """A registry of model servers by `host:port`.

    Args:
        timeout: Seconds each server has to answer `refresh`.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `timeout` is not above 0.

    Example:
        >>> local = LocalInstances()
        >>> local.add("localhost:11434", kind="ollama", name="big")
        'big'
        >>> local.add("http://10.0.0.7:8000", kind="openai")
        '10.0.0.7-8000'
        >>> local.providers()["big"]
        Ollama(name='big', base_url='http://localhost:11434')
        >>> [status.address for status in local.list()]
        ['localhost:11434', '10.0.0.7:8000']
    """

    def __init__(self, *, timeout: float = _DEFAULT_TIMEOUT_S, transport: Transport | None = None) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout!r}; give the seconds a server has to answer, above 0")
        self._timeout_s = timeout
        self._transport = transport
        self._instances: dict[str, _Instance] = {}

    def add(
        self,
        address: str,
        *,
        kind: ServerKind | None = None,
        name: str | None = None,
        api_key: KeySource | None = None,
    ) -> str:
        """Note a server; nothing is sent to it.

        Args:
            address: `host:port`, or a URL. A path is what stands before the API's own paths.
            kind: Which API it speaks. Unset: the first `refresh` that reaches it finds out.
            name: What stands before the colon in a model id. Unset: made of the host and the port.
            api_key: Sent to this server with each request.

        Returns:
            The name.

        Raises:
            ValueError: The address is none, or is here already; the name is taken or cannot be one.
        """
        if kind is not None and kind not in get_args(ServerKind):
            raise ValueError(f"there is no kind of server {kind!r}; known are {', '.join(get_args(ServerKind))}")
        scheme, at, path = _address(address)
        if at in self._instances:
            raise ValueError(f"{at!r} is here already, as {self._instances[at].status.name!r}; remove it first")
        chosen = name if name is not None else re.sub(r"[^A-Za-z0-9.]+", "-", at).strip("-.")
        if not _NAME.fullmatch(chosen):
            raise ValueError(f"{chosen!r} cannot be the name of a server; use letters, digits, '.', '_' and '-'")
        if any(chosen == other.status.name for other in self._instances.values()):
            raise ValueError(f"the name {chosen!r} is taken by another server; give this one its own with name=")
        status = InstanceStatus(at, kind, chosen)
        self._instances[at] = _Instance(f"{scheme}://{at}", path, api_key, kind is not None, status)
        return chosen

    def remove(self, address: str) -> None:
        """Forget a server.

        Args:
            address: Its `host:port`, or its name.

        Raises:
            LookupError: There is none.
        """
        for at, instance in self._instances.items():
            if address in (at, instance.status.name):
                del self._instances[at]
                return
        known = ", ".join(repr(at) for at in self._instances) or "none"
        raise LookupError(f"there is no local server {address!r}; known are {known}")

    def list(self) -> tuple[InstanceStatus, ...]:
        """What is known of every server, in the order they were added."""
        return tuple(instance.status for instance in self._instances.values())

    def providers(self) -> dict[str, Provider]:
        """A provider for each server whose kind is known, by name, for `Orchestrator(providers=...)`."""
        return {
            instance.status.name: self._provider(instance, instance.status.kind)
            for instance in self._instances.values()
            if instance.status.kind is not None
        }

    async def refresh(self) -> tuple[InstanceStatus, ...]:
        """Ask every server at the same time what models it offers; takes no longer than `timeout`.

        A server that does not answer is no error: its status says so.
        """
        import anyio

        async with anyio.create_task_group() as group:
            for instance in tuple(self._instances.values()):
                group.start_soon(self._ask, instance)
        return self.list()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        for instance in self._instances.values():
            if instance.provider is not None:
                await instance.provider.aclose()

    async def _ask(self, instance: _Instance) -> None:
        import anyio

        was = instance.status
        found = replace(was, ok=False, latency=None, models=(), detail=f"no answer within {self._timeout_s:g} s")
        with anyio.move_on_after(self._timeout_s):
            found = await self._asked(instance, found)
        instance.status = replace(found, checked_at=_clock.from_us(_clock.now_us()))

    async def _asked(self, instance: _Instance, found: InstanceStatus) -> InstanceStatus:
        """The status after one round of questions; of an unknown kind, the first that fits is kept."""
        known = found.kind
        kinds: tuple[ServerKind, ...] = _TRIED
        if known is not None:
            kinds = (known,) if instance.is_given else (known, *(kind for kind in _TRIED if kind != known))
        failures: list[LLMOrchError] = []
        for kind in kinds:
            start = _clock.monotonic()
            try:
                models = tuple(await self._models(instance, kind))
            except LLMOrchError as error:
                failures.append(error)
                if isinstance(error, ProviderUnavailable) and error.status is None:
                    break  # nobody listens there
            else:
                took = _clock.monotonic() - start
                return replace(found, kind=kind, ok=True, latency=took, models=models, detail="")
        return replace(found, detail=_told(failures))

    async def _models(self, instance: _Instance, kind: ServerKind) -> Sequence[str]:
        """The models of a server, asked in one way; a way that does not fit leaves no connection behind."""
        import anyio

        asked = instance.provider
        if asked is None or instance.status.kind != kind:
            asked = self._made(instance, kind)
        try:
            models = await asked.models()
            instance.provider = asked
        finally:
            if instance.provider is not asked:
                with anyio.move_on_after(_CLOSE_S, shield=True):
                    await asked.aclose()
        return models

    def _provider(self, instance: _Instance, kind: ServerKind) -> Vendor:
        if instance.provider is None:
            instance.provider = self._made(instance, kind)
        return instance.provider

    def _made(self, instance: _Instance, kind: ServerKind) -> Vendor:
        # The path of chat completions ends with the version; the others have it in their own paths.
        path = instance.path or ("/v1" if kind == "openai" else "")
        return _maker(kind)(
            base_url=instance.base_url + path,
            name=instance.status.name,
            api_key=instance.key,
            transport=self._transport,
        )


def _maker(kind: ServerKind) -> type[OpenAI | Ollama | Kobold]:
    match kind:
        case "openai":
            from .openai import OpenAI

            return OpenAI
        case "ollama":
            from .ollama import Ollama

            return Ollama
        case "kobold":
            from .kobold import Kobold

            return Kobold


def _told(failures: Sequence[LLMOrchError]) -> str:
    """Why a server is not known: the first failure where only one way was tried, or the one about a key."""
    for error in failures:
        if len(failures) == 1 or isinstance(error, AuthenticationFailed):
            return error.message
    return f"it answers, but not with a list of models at {_PLACES}; {failures[-1].message}"


def _address(given: str) -> tuple[str, str, str]:
    """The scheme, `host:port` and path of an address.

    Raises:
        ValueError: It is none.
    """
    has_scheme = "://" in given
    try:
        parts = urlsplit(clean_base_url(given if has_scheme else f"http://{given}"))
        host, port = parts.hostname or "", parts.port or (_PORTS[parts.scheme] if has_scheme else None)
        if ":" in host:
            host = f"[{ipaddress.ip_address(host).compressed}]"
        elif not _HOST.fullmatch(host):
            port = None
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if port is None or _BLANK.search(given):
        shown = "this" if "@" in given or "?" in given else repr(given)  # there may be a password in it
        raise ValueError(
            f"{shown} is no address of a server; write 'host:port', such as 'localhost:11434', or 'http://host:port' "
            "without a user, a query or a fragment"
        )
    return parts.scheme, f"{host}:{port}", parts.path.rstrip("/")
