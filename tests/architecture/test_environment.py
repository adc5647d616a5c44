"""The tests cannot reach beyond this machine, and see no key that happens to be set on it."""

from __future__ import annotations

import os
import socket

import anyio
import pytest

from tests.conftest import NetworkRefused


@pytest.mark.parametrize("verb", ["connect", "connect_ex"])
def test_a_connection_beyond_this_machine_is_refused(verb: str) -> None:
    with socket.socket() as sock, pytest.raises(NetworkRefused, match=r"192\.0\.2\.1"):
        getattr(sock, verb)(("192.0.2.1", 80))


def test_a_datagram_beyond_this_machine_is_refused() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(NetworkRefused):
        sock.sendto(b"x", ("192.0.2.1", 53))


def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(NetworkRefused, match=r"api\.example\.invalid"):
        socket.getaddrinfo("api.example.invalid", 443)


@pytest.mark.anyio
async def test_async_code_is_refused_too_and_loopback_works() -> None:
    with pytest.raises(NetworkRefused):
        await anyio.connect_tcp("api.example.invalid", 443)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with await anyio.connect_tcp("localhost", port):
            pass


def test_keys_and_proxies_of_this_machine_are_hidden() -> None:
    assert not [name for name in os.environ if name.endswith("_API_KEY") or name.startswith("LLMORCH_")]
    assert not [name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}]
