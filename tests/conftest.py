"""What holds for every test: both async backends, no network beyond this machine, no keys from the environment."""

from __future__ import annotations

import gc
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# `ci` draws the same examples every time; `explore` looks for new ones and prints how to draw a failure again.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_PRIVATE = re.compile(
    r"LLMORCH_.*|.*_API_KEY|.*_API_TOKEN|.*_ACCESS_TOKEN|(OPENAI|ANTHROPIC|AZURE|GEMINI|GOOGLE|OLLAMA|DEEPSEEK|MISTRAL|OPENROUTER"
    r"|XAI|KOBOLD)_.*|(https?|all|no)_proxy",
    re.IGNORECASE,
)


CANARY = "canary"
"""A word of every key the tests give to a provider."""


_HERE = Path(__file__).parent


class NetworkRefused(Exception):
    """A test reached for the network; no OSError, so that no code under test takes it for a connection error."""


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked `anyio` runs on both."""
    return str(request.param)


# Whatever takes long begins early, so that no worker is left alone with it at the end.
_ORDER = ("durability", "contract", "wire", "flow", "typing", "faces", "docs", "mutants", "architecture", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folder by folder; within a folder the order stays."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""
    return _ORDER.index(folder) if folder in _ORDER else len(_ORDER)


def pytest_collection_finish() -> None:
    """Thousands of collected tests are here to stay: each garbage collection would walk them again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)  # when the file's fixtures are gone
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """So are the libraries that a file's tests loaded; what they left open is told here, of a file with a name."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test whose output or log holds a key fails: every key of the tests holds the word `canary`.

    What pytest captured of the test's standard output, standard error and log anyway is looked through, so that it
    costs nothing and depends on no timing. A test that wants a key printed must capture it itself (`capsys`).
    """
    report = yield
    shown = next((name for name, text in report.sections if CANARY in text), None)
    if shown is not None and report.passed:
        report.outcome, report.longrepr = "failed", f"{item.nodeid}: a test key shows in the {shown.lower()}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if _PRIVATE.fullmatch(name)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded_connect(getattr(socket.socket, name)))
        patch.setattr(socket.socket, "sendto", _guarded_sendto(socket.socket.sendto))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, name, _guarded_lookup(getattr(socket, name)))
        yield


def _guarded_connect(real: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        _check_address(self, address)
        return real(self, address)

    return connect


def _guarded_sendto(real: Callable[..., Any]) -> Callable[..., Any]:
    def sendto(self: socket.socket, data: Any, *flags_and_address: Any) -> Any:
        _check_address(self, flags_and_address[-1])
        return real(self, data, *flags_and_address)

    return sendto


def _guarded_lookup(real: Callable[..., Any]) -> Callable[..., Any]:
    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if name not in (None, "", "localhost") and _ip(name) is None:
            raise NetworkRefused(f"a test looked up {name!r}; tests may only reach localhost")
        return real(host, *args, **kwargs)

    return lookup


def _check_address(sock: socket.socket, address: Any) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = address[0]
    ip = _ip(host)
    if host != "localhost" and (ip is None or not ip.is_loopback):
        raise NetworkRefused(f"a test connected to {host!r}; tests may only reach 127.0.0.1 and ::1")


def _ip(host: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return None
