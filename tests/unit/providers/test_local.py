"""The registry of local servers: addresses, what each server is, and what it says of itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import httpx
import pytest

from llmorch.models.message import Message
from llmorch.providers.kobold import Kobold
from llmorch.providers.local import InstanceStatus, LocalInstances
from llmorch.providers.ollama import Ollama
from llmorch.providers.openai import OpenAI
from llmorch.requests import ProviderRequest

TAGS = {"models": [{"name": "llama3.2:latest"}]}
LISTED = {"object": "list", "data": [{"id": "tiny"}]}
KOBOLD = {"result": "koboldcpp/L3"}


@contextmanager
def serving(answers: Mapping[str, Any], *, key: str = "") -> Iterator[str]:
    """A server on this machine that answers GETs by path; gives its `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = bool(key) and self.headers.get("authorization") != f"Bearer {key}"
            status = 404 if self.path not in answers else 401 if refused else 200
            body = json.dumps(answers.get(self.path, {"error": "no such page"}) if status == 200 else {}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "at", "url"),
    [
        ("localhost:11434", "localhost:11434", "http://localhost:11434"),
        ("LOCALHOST:11434/", "localhost:11434", "http://localhost:11434"),
        ("https://gpu.lan", "gpu.lan:443", "https://gpu.lan:443"),
        ("http://gpu.lan", "gpu.lan:80", "http://gpu.lan:80"),
        ("[::1]:8080", "[::1]:8080", "http://[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]:8080/proxy/", "[::1]:8080", "http://[::1]:8080/proxy"),
    ],
)
def test_an_address_is_known_by_host_and_port(address: str, at: str, url: str) -> None:
    local = LocalInstances()
    local.add(address, kind="ollama", name="it")
    assert [status.address for status in local.list()] == [at]
    assert repr(local.providers()["it"]) == f"Ollama(name='it', base_url='{url}')"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        ":8080",
        "localhost:0",
        "localhost:65536",
        "localhost:http",
        "ftp://localhost:21",
        "local host:80",
        "localhost:80\n",
        "localhost:80?key=1",
        "localhost:80#x",
        "-x:80",
        "[::1:80",
        "[::zz]:80",
        "http://",
        "a/b:80",
        "\u043b\u043e\u043a:80",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    local = LocalInstances()
    with pytest.raises(ValueError, match="write 'host:port'"):
        local.add(address)
    assert local.list() == ()


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ValueError) as caught:
        LocalInstances().add("http://me:hunter2@localhost:80")
    assert "hunter2" not in str(caught.value)


def test_names_and_addresses_are_unique_and_can_stand_in_a_model_id() -> None:
    local = LocalInstances()
    assert local.add("localhost:1") == "localhost-1"
    assert local.add("[::1]:2") == "1-2"
    with pytest.raises(ValueError, match="'localhost:1' is here already, as 'localhost-1'"):
        local.add("http://LOCALHOST:1/other", name="more")
    with pytest.raises(ValueError, match="the name 'localhost-1' is taken"):
        local.add("localhost:3", name="localhost-1")
    for bad in ("", "a:b", "a b", "-a"):
        with pytest.raises(ValueError, match="cannot be the name"):
            local.add("localhost:3", name=bad)
    with pytest.raises(ValueError, match="no kind of server 'vllm'; known are openai, ollama, kobold"):
        local.add("localhost:3", kind="vllm")  # type: ignore[arg-type]  # what a caller may write
    with pytest.raises(ValueError, match="above 0"):
        LocalInstances(timeout=0)
    assert len(local.list()) == 2


def test_a_server_is_forgotten_by_address_or_name() -> None:
    local = LocalInstances()
    local.add("localhost:1", name="a")
    local.add("localhost:2", name="b")
    local.remove("localhost:1")
    local.remove("b")
    assert local.list() == ()
    local.add("localhost:1", name="a")
    with pytest.raises(LookupError, match="no local server 'c'; known are 'localhost:1'"):
        local.remove("c")


def test_nothing_is_claimed_of_a_server_that_was_not_asked() -> None:
    local = LocalInstances()
    local.add("localhost:1")
    assert local.list() == (InstanceStatus("localhost:1", None, "localhost-1"),)
    assert local.providers() == {}


def test_each_kind_makes_its_provider_at_its_address() -> None:
    local = LocalInstances()
    local.add("localhost:1", kind="openai", name="a")
    local.add("http://localhost:2/custom/v3", kind="openai", name="b")
    local.add("localhost:3", kind="kobold", name="c")
    made: dict[str, Any] = local.providers()
    assert [(type(each), each.base_url) for each in made.values()] == [
        (OpenAI, "http://localhost:1/v1"),
        (OpenAI, "http://localhost:2/custom/v3"),
        (Kobold, "http://localhost:3"),
    ]
    again = local.providers()
    assert all(again[name] is made[name] for name in made), "connections would be opened twice"


@pytest.mark.anyio
async def test_what_a_server_is_shows_in_what_it_answers() -> None:
    local = LocalInstances(timeout=10)
    with (
        serving({"/api/tags": TAGS, "/v1/models": LISTED}) as ollama,
        serving({"/v1/models": LISTED}) as openai,
        serving({"/api/tags": {**TAGS, **LISTED}, "/v1/models": LISTED}) as llama_cpp,
        serving({"/api/v1/model": KOBOLD, "/api/tags": TAGS, "/v1/models": LISTED}) as kobold,
    ):
        for name, address in {"o": ollama, "c": openai, "l": llama_cpp, "k": kobold}.items():
            local.add(address, name=name)
        found = {status.name: status for status in await local.refresh()}
        await local.aclose()
    assert {name: (status.kind, status.models) for name, status in found.items()} == {
        "o": ("ollama", ("llama3.2:latest",)),
        "c": ("openai", ("tiny",)),
        "l": ("openai", ("tiny",)),
        "k": ("kobold", ("koboldcpp/L3",)),
    }
    for status in found.values():
        assert status.ok
        assert status.detail == ""
        assert status.latency is not None
        assert status.checked_at is not None
    assert [type(each) for each in local.providers().values()] == [Ollama, OpenAI, OpenAI, Kobold]


@pytest.mark.anyio
async def test_servers_are_asked_at_the_same_time() -> None:
    arrived: list[str] = []
    everybody = anyio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request.url.host)
        if len(arrived) == 3:
            everybody.set()
        await everybody.wait()
        return httpx.Response(200, json=TAGS)

    local = LocalInstances(timeout=2, transport=httpx.MockTransport(answer))
    for host in ("a", "b", "c"):
        local.add(f"{host}.lan:11434", kind="ollama")
    assert [status.ok for status in await local.refresh()] == [True, True, True]


@pytest.mark.anyio
async def test_servers_that_do_not_answer_say_why() -> None:
    local = LocalInstances(timeout=0.3)
    with silent() as one, silent() as two, serving({}) as other, serving({"/v1/models": LISTED}, key="s3cret") as shut:
        for address in (one, two):
            local.add(address, kind="ollama", name=f"silent-{address[-5:]}")
        local.add(nobody(), name="nobody")
        local.add(other, name="other")
        local.add(shut, name="shut")
        found = {status.name.partition("-")[0]: status for status in await local.refresh()}
        await local.aclose()
    assert not any(status.ok for status in found.values())
    assert found["silent"].detail == "no answer within 0.3 s"
    assert found["silent"].kind == "ollama"
    assert "connect" in found["nobody"].detail
    assert "not with a list of models at /api/v1/model, /api/tags and /v1/models" in found["other"].detail
    assert "no key was sent: give it with api_key=" in found["shut"].detail
    assert found["shut"].kind is None


@pytest.mark.anyio
async def test_a_key_is_sent_to_its_own_server() -> None:
    with serving({"/v1/models": LISTED}, key="s3cret-key") as shut, serving({"/api/tags": TAGS}) as other:
        local = LocalInstances(timeout=10)
        local.add(shut, name="shut", api_key="s3cret-key")
        local.add(other, name="other")
        found = {status.name: status for status in await local.refresh()}
        await local.aclose()
    assert (found["shut"].ok, found["shut"].kind, found["other"].ok) == (True, "openai", True)
    assert "s3cret-key" not in repr(found)


@pytest.mark.anyio
async def test_a_server_that_goes_away_keeps_its_kind_and_may_come_back_as_another() -> None:
    answers: dict[str, Any] = {"/api/tags": TAGS}
    with serving(answers) as address:
        local = LocalInstances(timeout=10)
        local.add(address, name="it")
        (status,) = await local.refresh()
        assert (status.ok, status.kind) == (True, "ollama")
        provider = local.providers()["it"]
        answers.clear()
        (status,) = await local.refresh()
        assert (status.ok, status.kind, status.models, status.latency) == (False, "ollama", (), None)
        assert local.providers()["it"] is provider
        answers["/v1/models"] = LISTED
        (status,) = await local.refresh()
        assert (status.ok, status.kind) == (True, "openai")
        assert isinstance(local.providers()["it"], OpenAI)
        await local.aclose()


@pytest.mark.anyio
async def test_a_kind_that_was_told_is_not_guessed_anew() -> None:
    with serving({"/v1/models": LISTED}) as address:
        local = LocalInstances(timeout=10)
        local.add(address, kind="ollama", name="it")
        (status,) = await local.refresh()
        await local.aclose()
    assert (status.ok, status.kind) == (False, "ollama")
    assert "/api/v1/model" not in status.detail


@pytest.mark.anyio
async def test_a_provider_of_the_registry_answers_calls() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/tags":
            return httpx.Response(200, json=TAGS)
        if request.url.path == "/api/chat":
            return httpx.Response(200, json={"message": {"content": "hi"}, "done": True, "done_reason": "stop"})
        return httpx.Response(404)

    local = LocalInstances(transport=httpx.MockTransport(answer))
    local.add("gpu.lan:11434", name="gpu")
    await local.refresh()
    response = await local.providers()["gpu"].complete(ProviderRequest("llama3.2", (Message("user", "Hello"),)))
    assert response.text == "hi"
