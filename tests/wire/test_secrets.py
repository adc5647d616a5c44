"""A planted key never shows: not in errors, reprs, events, reports or logs, whatever a server echoes, in any provider.

The servers here say the whole request again, in the forms that proxies and error pages have it. What is looked at is
decoded first (URL, JSON, HTML, base64), so that a form nobody thought of when masking is still found.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import html
import json
import logging
import pickle
import re
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

import llmorch
from llmorch import Message, MissingCredential, Orchestrator, Payload, Retry
from llmorch.errors import AuthenticationFailed, BadRequest, LLMOrchError
from llmorch.event_lines import to_line
from llmorch.hooks import Logging
from llmorch.ports import ProviderRequest, Secret
from llmorch.providers._vendor import Vendor
from llmorch.providers.local import LocalInstances
from llmorch.stores.memory import MemoryStore
from llmorch.testing.dialects import DIALECTS, Said
from llmorch.testing.mock_server import KEEP, FaultServer, Request, Step
from tests.contract.test_provider_contract import ROWS

pytestmark = pytest.mark.anyio

CANARIES = {"plain": "canary-plain-5c1e7a90d3f8", "odd": "canary+Qz/7f=91%2Bk~e5b0&w'9"}
LEAST = 9
"""So many characters of a key in a row count as shown."""
STATUSES = (400, 401, 403, 404, 429, 500)
LOUD = ("llmorch", "httpx", "httpcore", "aiohttp", "asyncio")
SOURCE = str(Path(llmorch.__file__).parent)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")


# Looking for it


@lru_cache(4096)  # many texts repeat each other
def shown(text: str, key: str) -> bool:
    """Whether a text holds a part of the key, as it is or encoded."""
    pieces = {key[at : at + LEAST] for at in range(len(key) - LEAST + 1)}
    return any(piece in read for read in _readings(text) for piece in pieces)


def _readings(text: str) -> Iterator[str]:
    readings = {text}
    for _ in range(3):
        readings |= {undo(reading) for reading in readings for undo in (unquote, html.unescape, _unescaped)}
    yield from readings
    for reading in readings:
        for run in _BASE64.findall(reading):
            plain = run.replace("-", "+").replace("_", "/")
            for start in range(4):
                part = plain[start:]
                yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")


def _unescaped(text: str) -> str:
    plain = re.sub(r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    return re.sub(r"\\+([/\"'\\])", r"\1", plain)


def texts_of_error(error: BaseException) -> Iterator[tuple[str, str]]:
    """Everything a user can print of an error and of what stands behind it."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        name = type(one).__name__
        yield f"str of {name}", str(one)
        yield f"repr of {name}", f"{one!r} {one.args!r}"
        yield f"attributes of {name}", repr(vars(one))
        yield f"notes of {name}", repr(getattr(one, "__notes__", ()))
        if isinstance(one, json.JSONDecodeError | UnicodeError):
            yield f"the text {name} is about", repr(getattr(one, "doc", getattr(one, "object", "")))
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    yield "traceback", "".join(traceback.format_exception(error))


def locals_of(error: BaseException) -> Iterator[tuple[str, str]]:
    """Local variables of the library's frames in a traceback, as a debugging tool prints them."""
    for frame in traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), capture_locals=True):
        if frame.filename.startswith(SOURCE):
            yield from ((f"{name} in {frame.name}", value) for name, value in (frame.locals or {}).items())


def texts_of_provider(provider: Vendor) -> Iterator[tuple[str, str]]:
    """Everything a user can print of a provider."""
    yield "repr", f"{provider!r} {provider}"
    yield "vars", repr(vars(provider))
    yield "vars of its keys", repr(vars(provider._keys))
    yield "a copy", repr(vars(copy.copy(provider)))
    for how in (pickle.dumps, json.dumps, copy.deepcopy):
        try:
            made: object = how(provider)
        except Exception as error:  # that it cannot be done is as good as that it shows nothing
            yield f"why not {how.__name__}", f"{error!r}"
        else:
            yield how.__name__, made.decode("latin-1") if isinstance(made, bytes) else repr(made)


def assert_quiet(texts: Iterator[tuple[str, str]], key: str, where: str) -> None:
    told = [f"{what}: {text[:400]}" for what, text in texts if shown(text, key)]
    assert not told, f"the key shows in {where}:\n" + "\n".join(told)


# Servers that echo


def _lower(quoted: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


FORMS: Mapping[str, Callable[[str], str]] = {
    "raw": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(b"." + text.encode()).decode(),
    "quoted": lambda text: quote(text, safe=" :,"),
    "quoted-twice": lambda text: quote(_lower(quote(text, safe=" :,")), safe=" :,"),
    "escaped": lambda text: json.dumps(text).replace("/", "\\/").replace("+", "\\u002b"),
    "escaped-twice": lambda text: json.dumps(json.dumps(text).replace("/", "\\/")),
    "html": lambda text: html.escape(text).replace("=", "&#61;").replace("+", "&#x2B;"),
}


@dataclass(frozen=True)
class Way:
    """How a server says a request again.

    Attributes:
        place: `error`, `text`, `page`, `stream`, `refusal`, `models`, `reason`, `header` or `location`.
        status: Of its answer.
        pad: So many characters stand before the echo.
    """

    place: str
    status: int = 200
    pad: int = 0


WAYS = (
    *(Way(place, status) for status in STATUSES for place in ("error", "text")),
    Way("error"),
    Way("text"),
    Way("page"),
    *(Way("page", pad=pad) for pad in (120, 150, 165)),
    *(Way("text", 400, pad=pad) for pad in (440, 470)),
    Way("blanks", 400, pad=1960),
    Way("stream"),
    Way("after-a-word"),
    *(Way(place, status) for status in (401, 500) for place in ("reason", "header")),
    Way("location", 302),
    Way("location", 307),
)


class EchoDesk(FaultServer):
    """Answers with the request's own head, in the way and the form its path names, keys first."""

    def __init__(self, dialect: str | None) -> None:
        super().__init__()
        self.origin = self.url.removesuffix("/v1")
        self.dialect = DIALECTS[dialect or "openai"]

    def _next_script(self, request: Request) -> Sequence[Step]:
        self._log.requests.append(request)
        _, number, form, *_ = request.path.split("/")
        secret = {
            name: value
            for name, value in request.headers.items()
            if shown(value, CANARIES["plain"][:12]) or "canary" in value
        }
        lines = [f"{name}: {value}" for name, value in {**secret, **request.headers}.items()]
        return self._answer(WAYS[int(number)], FORMS[form], "\n".join(lines))

    def _answer(self, way: Way, form: Callable[[str], str], head: str) -> Sequence[Step]:
        said = "x" * way.pad + form(head)
        line = form(head.partition("\n")[0])
        body, kind, fields, reason = said.encode(), "text/plain", "", "Said"
        if way.place == "error":
            body, kind = json.dumps(self.dialect.error_body(way.status, said)).encode(), "application/json"
        elif way.place == "page":
            body, kind = f"<html>{said}</html>".encode(), "text/html"
        elif way.place == "blanks":
            body = (" " * way.pad + form(head)).encode()
        elif way.place in ("stream", "after-a-word"):
            kind = self.dialect.stream_kind
            start = self.dialect.events(Said("some words"))[:-2] if way.place == "after-a-word" else []
            body = b"".join(start) + self.dialect.error_event(500, said)
        elif way.place == "reason":
            reason = line
        elif way.place == "location":
            fields = f"location: http://127.0.0.1:9/{line}\r\n"
        elif way.place == "header":
            fields = f"x-echo: {line}\r\nretry-after: {line}\r\n"
        top = f"HTTP/1.1 {way.status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
        return top.encode("latin-1", "replace") + body, KEEP


def made(name: str, url: str, **given: Any) -> Vendor:
    row = ROWS[name]
    provider = row.kind(base_url=f"{url}{row.root}", **row.options, **given)
    assert isinstance(provider, Vendor)
    return provider


async def failure_of(provider: Vendor, *, stream: bool = False, timeout: float = 5) -> BaseException | None:
    """What a call raises."""
    request = ProviderRequest("mock-model", (Message("user", "Hi"),), timeout=timeout)
    try:
        await provider.complete(request, on_delta=(lambda _: None) if stream else None)
    except Exception as error:
        return error
    return None


# Every form in each dialect, and the commonest in every provider.
ECHOES = [
    (name, kind, form)
    for name in ROWS
    for kind, form in [("plain", "raw"), ("odd", "raw"), ("odd", "base64"), *(("odd", form) for form in FORMS)]
    if form in ("raw", "base64") or name in DIALECTS
]


@pytest.mark.parametrize(("name", "kind", "form"), dict.fromkeys(ECHOES))
async def test_what_a_server_echoes_shows_no_key(name: str, kind: str, form: str) -> None:
    key, failed = CANARIES[kind], 0
    with EchoDesk(ROWS[name].dialect) as desk:
        for number, way in enumerate(WAYS):
            provider = made(name, f"{desk.origin}/{number}/{form}", api_key=key)
            for stream in (False, True):
                error = await failure_of(provider, stream=stream)
                if error is not None:
                    failed += 1
                    assert isinstance(error, LLMOrchError)
                    assert_quiet(texts_of_error(error), key, f"{way}, stream={stream}")
            if way.status != 200 or number == 0:
                status = await provider.check(detailed=True)
                assert_quiet(iter([("status", repr(status))]), key, f"the status of {way}")
            assert_quiet(texts_of_provider(provider), key, f"the provider after {way}")
            await provider.aclose()
        asked = desk.requests
    assert failed > len(WAYS)
    assert any(key in value for request in asked for value in request.headers.values())


@pytest.mark.parametrize("name", ROWS)
async def test_a_list_of_models_that_echoes_shows_no_key(name: str) -> None:
    key, asked = CANARIES["odd"], "mock-model-mock-model-mock-model"
    dialect = DIALECTS.get(ROWS[name].dialect or "")
    listed = {"result": f"{asked}-{key}"} if dialect is None else dialect.model_list([f"{asked}-{key}"])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=listed)
        return httpx.Response(404, json={"error": {"message": "no such model", "code": None}})

    provider = made(name, "https://llm.example.com", api_key=key, transport=httpx.MockTransport(answer))
    statuses = [await provider.check(detailed=detailed) for detailed in (False, True)]
    assert_quiet(iter([("statuses", repr(statuses))]), key, "the statuses")
    with pytest.raises(BadRequest) as caught:
        await provider.complete(ProviderRequest(asked, (Message("user", "Hi"),)))
    assert_quiet(texts_of_error(caught.value), key, "the error")


# Servers that break, and honest ones


class Plain(FaultServer):
    """Says at once, and without TLS, that it does not understand."""

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65536)


@pytest.mark.parametrize("name", ROWS)
async def test_a_connection_that_fails_shows_no_key(name: str) -> None:
    key = CANARIES["odd"]
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    scripts: list[Sequence[Step]] = [
        ("reset",),
        (half, "reset"),
        (half,),
        (b"\x15\x03\x01 no HTTP\r\n\r\n",),
        ("hang",),
    ]
    with closed, FaultServer(*(script for script in scripts for _ in "12")) as server, Plain() as plain:
        at = server.url.removesuffix("/v1")
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        places = [nobody, *[at] * len(scripts), plain.url.replace("http:", "https:")]
        for place in places:
            provider = made(name, place, api_key=key, headers={"x-proxy-token": f"Bearer {key}"})
            for stream in (False, True):
                error = await failure_of(provider, stream=stream, timeout=0.2)
                assert isinstance(error, LLMOrchError)
                assert_quiet(texts_of_error(error), key, place)
                assert_quiet(locals_of(error), key, f"the frames at {place}")
            assert_quiet(texts_of_provider(provider), key, "the provider")
            await provider.aclose()


SAYS = {status: json.dumps({"error": {"message": "no", "type": "x", "code": None}}).encode() for status in STATUSES}


def recording(kept: list[httpx.Request], status: int = 401, *, echo: bool = False) -> httpx.MockTransport:
    """A transport that keeps what is sent and says no; with `echo` it says the whole request again."""

    def answer(request: httpx.Request) -> httpx.Response:
        kept.append(request)
        said = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        body = json.dumps({"error": {"message": f"{said} {base64.b64encode(said.encode()).decode()}", "code": None}})
        return httpx.Response(status, content=body.encode() if echo else SAYS[status])

    return httpx.MockTransport(answer)


def carries(request: httpx.Request, key: str) -> bool:
    return any(key in value for value in request.headers.values())


@pytest.mark.parametrize("name", ROWS)
async def test_the_frames_of_an_error_show_no_key(name: str) -> None:
    key = CANARIES["odd"]
    for status in STATUSES:
        kept: list[httpx.Request] = []
        provider = made(name, "https://llm.example.com", api_key=key, transport=recording(kept, status))
        for stream in (False, True):
            error = await failure_of(provider, stream=stream)
            assert isinstance(error, LLMOrchError)
            assert_quiet(locals_of(error), key, f"the frames for {status}, stream={stream}")
        assert carries(kept[0], key)


class Stored:
    """A source with one secret under every name."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def get(self, name: str) -> Secret:
        return self._secret


class Empty:
    def get(self, name: str) -> Secret:
        raise MissingCredential(f"{name} is not set")


VENDORS = {
    "openai": "https://api.openai.com/v1",
    "azure": "https://acme.openai.azure.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "ollama": "https://ollama.com",
    "deepseek": "https://api.deepseek.com",
    "mistral": "https://api.mistral.ai/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "xai": "https://api.x.ai/v1",
}
VARIABLES = {
    "azure": "AZURE_OPENAI_API_KEY",
    **{name: f"{name.upper()}_API_KEY" for name in VENDORS if name != "azure"},
}


def at_address(name: str, base_url: str, **given: Any) -> Vendor:
    provider = ROWS[name].kind(base_url=base_url, **given)
    assert isinstance(provider, Vendor)
    return provider


@pytest.mark.parametrize("source", ["text", "Secret", "function", "async function", "environment", "headers"])
@pytest.mark.parametrize("name", VENDORS)
async def test_a_key_from_anywhere_is_sent_and_never_shown(
    name: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"canary+/{hashlib.sha256(f'{name} {source}'.encode()).hexdigest()[:20]}=%"  # known from this source only

    async def token() -> str:
        return key

    ways: dict[str, dict[str, Any]] = {
        "text": {"api_key": key},
        "Secret": {"api_key": Secret(key)},
        "function": {"api_key": lambda: Secret(key)},
        "async function": {"api_key": token},
        "environment": {},
        "headers": {"api_key": "another-key", "headers": {"Proxy-Authorization": f"Basic {key}"}},
    }
    kept: list[httpx.Request] = []
    provider = at_address(name, VENDORS[name], transport=recording(kept, echo=True), **ways[source])
    if source == "environment":
        monkeypatch.setenv(VARIABLES[name], key)
    orchestrator = Orchestrator(providers=[provider])
    for stream in (False, True):
        error = await failure_of(provider, stream=stream)
        assert isinstance(error, AuthenticationFailed)
        assert_quiet(texts_of_error(error), key, "the error")
    assert kept
    assert all(carries(request, key) for request in kept)
    assert not any(shown(str(request.url), key) for request in kept)
    assert_quiet(texts_of_provider(provider), key, "the provider")
    assert_quiet(iter([("repr", f"{orchestrator!r} {vars(orchestrator)!r}")]), key, "the orchestrator")


@pytest.mark.parametrize("key", ["canary-two words-3141592", "canary-umlaut-ü-2718281", "canary-line\nbreak-1618033"])
async def test_a_key_that_cannot_be_sent_is_refused_unseen(key: str) -> None:
    kept: list[httpx.Request] = []
    for given in (key, lambda: key, Secret(key)):
        provider = at_address("openai", VENDORS["openai"], api_key=given, transport=recording(kept))
        error = await failure_of(provider)
        assert isinstance(error, AuthenticationFailed)
        assert_quiet(texts_of_error(error), key, "the error")
        assert_quiet(locals_of(error), key, "the frames")
    assert not kept


async def test_a_function_that_gives_no_text_is_told_without_what_it_gave() -> None:
    key = CANARIES["plain"]
    provider = at_address("openai", VENDORS["openai"], api_key=lambda: key.encode(), transport=recording([]))
    error = await failure_of(provider)
    assert isinstance(error, AuthenticationFailed)
    assert "gave bytes" in str(error)
    assert_quiet(texts_of_error(error), key, "the error")
    assert_quiet(locals_of(error), key, "the frames")
    with pytest.raises(TypeError, match="not bytes") as caught:
        at_address("openai", VENDORS["openai"], api_key=key.encode())
    assert_quiet(texts_of_error(caught.value), key, "the error")


# Which host is sent a stored key


def _another_host(url: str, change: Callable[[str], str]) -> str:
    host = httpx.URL(url).host
    return url.replace(host, change(host))


SENT: Mapping[str, Callable[[str], str]] = {
    "own": str,
    "slash": lambda url: f"{url}/",
    "upper case": lambda url: _another_host(url, str.upper),
    "port 443": lambda url: _another_host(url, lambda host: f"{host}:443"),
}
NOT_SENT: Mapping[str, Callable[[str], str]] = {
    "plain http": lambda url: url.replace("https:", "http:"),
    "plain http on the TLS port": lambda url: _another_host(url, "{}:443".format).replace("https:", "http:"),
    "another port": lambda url: _another_host(url, "{}:8443".format),
    "a longer name": lambda url: _another_host(url, "{}.evil.test".format),
    "a longer first name": lambda url: _another_host(
        url, lambda host: host.replace(".", "-evil.", 1).replace("-evil.openai.azure", ".evil-azure")
    ),
    "a trailing dot": lambda url: _another_host(url, "{}.".format),
    "in the path": lambda url: url.replace("https://", "https://evil.test/"),
    "an escaped dot": lambda url: _another_host(url, "{}%2eevil.test".format),
    "a local server": lambda url: "http://127.0.0.1:9/v1",
}
REFUSED: Mapping[str, Callable[[str], str]] = {
    "as a user": lambda url: _another_host(url, "{}@evil.test".format),
    "as a user and a password": lambda url: _another_host(url, "{}:443@evil.test".format),
    "behind a user": lambda url: _another_host(url, "evil.test@{}".format),
    "a backslash": lambda url: _another_host(url, "evil.test\\{}".format),
    "a backslash behind": lambda url: _another_host(url, "{}\\.evil.test".format),
    "a tab": lambda url: _another_host(url, "{}\t.evil.test".format),
    "a blank before": lambda url: f" {url}",
    "a fragment": lambda url: _another_host(url, "evil.test#{}".format),
    "a query": lambda url: _another_host(url, "evil.test?{}".format),
    "a key in the query": lambda url: f"{url}?key={CANARIES['plain']}",
}


async def heads_of(name: str, base_url: str, secret: Secret) -> list[httpx.Request]:
    """What is sent to the address by each way there is, with a stored key."""
    kept: list[httpx.Request] = []
    provider = at_address(name, base_url, transport=recording(kept, 500))
    provider.use_credentials(Stored(secret))
    for stream in (False, True):
        await failure_of(provider, stream=stream)
    await provider.check(detailed=True)
    assert len(kept) >= 3
    return kept


@pytest.mark.parametrize("name", VENDORS)
async def test_a_stored_key_goes_to_the_vendors_own_host_over_tls_and_nowhere_else(name: str) -> None:
    key = CANARIES["plain"]
    for how, address in SENT.items():
        assert all(carries(sent, key) for sent in await heads_of(name, address(VENDORS[name]), Secret(key))), how
    for how, address in NOT_SENT.items():
        heads = await heads_of(name, address(VENDORS[name]), Secret(key))
        assert not any(carries(sent, key) or shown(str(sent.url), key) for sent in heads), how


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("name", VENDORS)
async def test_an_address_that_reads_in_two_ways_is_refused(name: str, how: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        at_address(name, REFUSED[how](VENDORS[name]))
    assert not shown(str(caught.value), CANARIES["plain"])


@pytest.mark.parametrize("name", ROWS)
async def test_a_stored_key_goes_to_the_hosts_its_credential_lists(name: str) -> None:
    key = CANARIES["plain"]
    for hosts in (("other.test", "LLM.Example.com"), "llm.example.com"):
        secret = Secret(key, hosts=hosts)
        assert all(carries(sent, key) for sent in await heads_of(name, "https://llm.example.com/v1", secret))
        for address in (
            "https://example.com",
            "https://llm.example.com.evil.test",
            "https://evil-llm.example.com",
            "https://example",
        ):
            assert not any(carries(sent, key) for sent in await heads_of(name, address, secret)), address


@pytest.mark.parametrize("name", VENDORS)
async def test_the_vendors_own_host_is_not_asked_without_a_key(name: str) -> None:
    kept: list[httpx.Request] = []
    provider = at_address(name, VENDORS[name], transport=recording(kept))
    provider.use_credentials(Empty())
    assert isinstance(await failure_of(provider), MissingCredential)
    assert not kept


@pytest.mark.parametrize("name", ROWS)
async def test_a_redirect_carries_nothing_away(name: str) -> None:
    key = CANARIES["plain"]
    with FaultServer(_said(200, b"{}")) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            with FaultServer(_said(status, b"", f"location: {elsewhere.url}/x\r\n")) as server:
                provider = made(name, server.url.removesuffix("/v1"), api_key=key)
                for stream in (False, True):
                    assert isinstance(await failure_of(provider, stream=stream), LLMOrchError)
                assert not (await provider.check()).ok
                await provider.aclose()
                assert all(any(key in value for value in sent.headers.values()) for sent in server.requests)
        assert elsewhere.requests == []


def _said(status: int, body: bytes, fields: str = "") -> Sequence[Step]:
    return f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\n{fields}\r\n".encode() + body, KEEP


async def test_a_local_instance_shows_no_key() -> None:
    key = CANARIES["plain"]
    instances = LocalInstances(transport=recording([]))
    instances.add("llm.example.com:8000", kind="openai", api_key=key)
    statuses = await instances.refresh()
    assert_quiet(iter([("statuses", repr(statuses)), ("vars", repr(vars(instances)))]), key, "the registry")


# Whole runs


def heard(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[str, str]]:
    for record in caplog.records:
        yield f"log of {record.name}", f"{record.getMessage()} {record.args!r} {vars(record)!r}"


@pytest.mark.parametrize("name", ROWS)
async def test_a_run_shows_no_key(
    name: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    key = CANARIES["odd"]
    store = MemoryStore()
    for logger in LOUD:
        caplog.set_level(logging.DEBUG, logger=logger)
    with EchoDesk(ROWS[name].dialect) as desk:
        for number in (0, 2, 10, 13, 21):
            provider = made(name, f"{desk.origin}/{number}/raw", api_key=key)
            ask = Payload("ask", "Say it.", model=f"{name}:mock-model", retry=Retry(attempts=2, base=0))
            hooks = [Logging()]
            async with Orchestrator(providers=[provider], hooks=hooks, store=store) as orchestrator:
                plan = orchestrator.plan(ask)
                events = []
                async with orchestrator.stream(ask) as stream:
                    async for event in stream:
                        events.append(event)
                run = stream.run
                texts = {
                    "plan": f"{plan!r} {plan} {plan._repr_html_()}",
                    "report": run.report(),
                    "dict": json.dumps(run.to_dict()),
                    "page": run._repr_html_(),
                    "run": f"{run!r} {run} {run.warnings!r} {run.failures!r} {[*run.steps.values()]!r}",
                    "events": "\n".join(f"{to_line(event)} {event!r}" for event in events),
                    "store": "\n".join(to_line(event) for event in await store.events(run.id)),
                }
                assert run.status == "failed"
                assert_quiet(iter(texts.items()), key, f"the run of {WAYS[number]}")
                assert run.error is not None
                assert_quiet(texts_of_error(run.error), key, "its error")
    # The echo stands in no header of these answers: what other packages log of answers' headers is not ours to mask.
    assert any(record.name == "llmorch.runs" for record in caplog.records)
    assert_quiet(heard(caplog), key, "the logs")
    assert_quiet((("warning", str(one.message)) for one in recwarn), key, "the warnings")
    assert_quiet(iter([("output", " ".join(capfd.readouterr()))]), key, "what was printed")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("print(KEY)", "captured stdout call"),
        ("print(KEY, file=sys.stderr)", "captured stderr call"),
        ("os.write(2, KEY.encode())", "captured stderr call"),
        ("logging.getLogger('x').warning('with %s', KEY)", "captured log call"),
        ("print(KEY[:3])", None),
    ],
)
def test_a_test_that_prints_a_key_fails(body: str, where: str | None, tmp_path: Path) -> None:
    """What `tests/conftest.py` does for the whole suite."""
    lines = ("import logging, os, sys", f"KEY = {CANARIES['plain']!r}", f"def test_it():\n    {body}\n")
    (tmp_path / "test_it.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "/dev/null",
         "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (1 if where else 0), done.stdout + done.stderr
    assert where is None or f"a test key shows in the {where}" in done.stdout
