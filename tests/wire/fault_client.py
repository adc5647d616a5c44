"""Providers with short timers over each transport, as the fault tests use them, and a server that tells them apart."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import httpx

from llmorch.models.message import Message
from llmorch.providers._http import Http, Timers
from llmorch.providers._vendor import Vendor
from llmorch.requests import ProviderRequest, ProviderResponse
from llmorch.testing.dialects import Dialect, Said
from llmorch.testing.mock_server import FaultServer, Request, Step, answer

KEY = "sk-canary-7b1e0d2c94"
TRANSPORTS = ["pooled", "injected"]
SHORT = Timers(connect_s=2, total_s=10, stall_s=0.3, linger_s=0.2, tail_s=0.05, close_s=1)
CLASSES = {"openai": "OpenAI", "anthropic": "Anthropic", "gemini": "Gemini", "ollama": "Ollama"}
_FEW = httpx.Limits(max_connections=2)  # two connections that are not given back, and the third call hangs
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the CA file for each transport would take most of the time


def provider_class(dialect: str) -> Callable[..., Vendor]:
    """The provider that speaks the dialect."""
    made: Callable[..., Vendor] = getattr(import_module(f"llmorch.providers.{dialect}"), CLASSES[dialect])
    return made


def provider_on(
    url: str,
    transport: str = "pooled",
    timers: Timers = SHORT,
    *,
    dialect: str = "openai",
    given: httpx.AsyncBaseTransport | None = None,
) -> Vendor:
    """A provider whose timers a test can wait for."""
    if transport == "injected":
        given = httpx.AsyncHTTPTransport(verify=_TLS, trust_env=False, limits=_FEW)
    made = provider_class(dialect)(api_key=KEY, base_url=url)
    made._http_made = Http(url, dialect, transport=given, timers=timers)
    return made


async def ask(provider: Vendor, *, stream: bool = False, timeout: float | None = 5, **more: Any) -> ProviderResponse:
    """One call; the pieces of a stream must add up to its text."""
    request = ProviderRequest("mock-model", (Message("user", "Say something."),), timeout=timeout, **more)
    if not stream:
        return await provider.complete(request)
    pieces: list[str] = []
    answered = await provider.complete(request, on_delta=pieces.append)
    assert "".join(pieces) == answered.text
    return answered


class Route:
    """One case's part of a `FaultDesk`: its own address, script and count of requests."""

    def __init__(self, origin: str, name: str, dialect: Dialect, script: Sequence[Step]) -> None:
        self.dialect = dialect
        self.url = f"{origin}/{name}{dialect.root}"
        self.script = script
        self.posts = 0
        self.is_healed = False
        self._opened: Callable[[], None] | None = None

    def closed(self, opened: Callable[[], None]) -> Route:
        """The same route, whose port is opened when it is healed."""
        self._opened = opened
        return self

    def heal(self) -> None:
        """From now on its answers are good."""
        self.is_healed = True
        if self._opened is not None:
            self._opened()


class FaultDesk(FaultServer):
    """Many scripts behind one port, told apart by the first part of the path.

    A route plays its script at every request for an answer until it is healed; then its answers are good. Its models
    are always listed. What asks for a path that belongs to no route is counted in `strays`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._origin = self.url.removesuffix("/v1")
        self._names = itertools.count()
        self._routes: dict[str, Route] = {}
        self.strays = 0

    def route(self, dialect: Dialect, script: Sequence[Step]) -> Route:
        name = f"case{next(self._names)}"
        made = self._routes[name] = Route(self._origin, name, dialect, script)
        return made

    def closed_route(self, dialect: Dialect) -> Route:
        """A route on a port where nobody listens until it is healed."""
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        name = f"case{next(self._names)}"
        made = self._routes[name] = Route(f"http://127.0.0.1:{bound.getsockname()[1]}", name, dialect, ())
        return made.closed(lambda: self._listen(bound))

    def _next_script(self, request: Request) -> Sequence[Step]:
        route = self._routes.get(request.path.split("/")[1])
        if route is None:
            self.strays += 1
            return answer(404, b"")
        if request.method == "GET":
            return answer(200, route.dialect.model_list(["mock-model", "mock-model-large"]))
        route.posts += 1
        return good(route.dialect, request) if route.is_healed else route.script


def good(dialect: Dialect, request: Request) -> Sequence[Step]:
    """A good answer, in the form that is asked for."""
    path = "/" + request.path.split("/", 2)[2]
    if dialect.asked(request.method, path, request.body).is_streamed:
        return answer(200, dialect.stream(Said("fine"), ["fi", "ne"]), kind=dialect.stream_kind)
    return answer(200, dialect.whole(Said("fine")))
