"""Connections belong to a loop and are closed by themselves at its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import Iterator

import anyio
import httpx
import pytest

from llmorch.errors import ProviderUnavailable
from llmorch.providers import OpenAI
from llmorch.testing.mock_server import HANG, FaultServer, answer, completion, mock_server, sse
from tests.wire.fault_client import TRANSPORTS, ask, provider_on

GOOD = answer(200, completion("fine"))


@pytest.fixture(scope="module")
def fast_server() -> Iterator[str]:
    with mock_server(text="fine", tokens=20, latency_s=0.002) as url:
        yield url


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cancelling_a_call_ends_it_at_once(transport: str, stream: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    hangs = (head, sse(["a"], finish_reason=None, usage=False, done=False), HANG)
    with FaultServer(GOOD, hangs, GOOD) as server:
        provider = provider_on(server.url, transport)
        assert (await ask(provider)).text == "fine"  # what a first call loads takes longer than the time below
        start = anyio.current_time()
        with anyio.move_on_after(0.1) as scope:
            await ask(provider, stream=stream)
        assert scope.cancelled_caught
        assert anyio.current_time() - start < 1
        assert (await ask(provider)).text == "fine"
        await provider.aclose()


@pytest.mark.anyio
async def test_many_calls_at_once_are_all_answered(fast_server: str) -> None:
    provider = OpenAI(base_url=fast_server)
    answers: list[str] = []

    async def one() -> None:
        answers.append((await ask(provider)).text)

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(one)
    assert answers == ["fine"] * 200
    await provider.aclose()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_provider_nobody_closes_is_closed_with_its_loop(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(GOOD) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        provider = OpenAI(base_url=server.url)

        async def main() -> None:
            await ask(provider)
            await ask(OpenAI(base_url=server.url), stream=True)

        with caplog.at_level(logging.DEBUG):
            anyio.run(main, backend=backend)
            anyio.run(main, backend=backend)
            gc.collect()
        assert "Unclosed" not in caplog.text
        assert len(server.requests) == 4


def test_a_provider_used_on_loops_that_were_only_closed_complains_of_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with FaultServer(GOOD) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's own, of the transports the loop left open
        provider = OpenAI(base_url=server.url)
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(ask(provider)).text == "fine"
            loop.close()
        del provider
        gc.collect()
        assert len(server.requests) == 3
    assert "Unclosed" not in caplog.text + capfd.readouterr().err


@pytest.mark.anyio
async def test_a_closed_provider_opens_again_when_it_is_used() -> None:
    with FaultServer(GOOD) as server:
        provider = OpenAI(base_url=server.url)
        for _ in range(2):
            assert (await ask(provider)).text == "fine"
            await provider.aclose()
            await provider.aclose()
        assert server.connections == 2


@pytest.mark.anyio
async def test_closing_closes_the_transport_that_was_passed_in() -> None:
    class Given(httpx.MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    given = Given(lambda request: httpx.Response(200, json=completion("fine")))
    provider = OpenAI(base_url="http://localhost:1/v1", transport=given)
    assert (await ask(provider)).text == "fine"
    await provider.aclose()
    assert given.closed


@pytest.mark.anyio
async def test_a_transport_that_raises_anything_gives_an_error_without_the_request() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise RuntimeError(f"cannot send {request.headers!r} {request.headers['authorization']}")

    secret = "sk-canary-transport-99"
    provider = OpenAI(api_key=secret, base_url="http://localhost:1/v1", transport=httpx.MockTransport(fail))
    with pytest.raises(ProviderUnavailable) as caught:
        await ask(provider)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_whole_and_streamed_calls_say_the_same_to_a_server(transport: str) -> None:
    streamed = answer(200, sse(["fine"]), kind="text/event-stream")
    with FaultServer(GOOD, streamed) as server:
        provider = provider_on(server.url, transport)
        assert (await ask(provider)).text == (await ask(provider, stream=True)).text == "fine"
        await provider.aclose()
        whole, stream = (dict(request.headers) for request in server.requests)
    assert int(whole.pop("content-length")) < int(stream.pop("content-length"))
    assert whole == stream
    assert whole["host"] == server.url.split("/")[2]


@pytest.mark.anyio
async def test_a_key_that_changes_is_sent_from_the_next_call_on() -> None:
    keys = iter(["sk-one", "sk-one", "sk-two"])
    with FaultServer(GOOD) as server:
        provider = OpenAI(api_key=lambda: next(keys), base_url=server.url)
        for _ in range(3):
            await ask(provider)
        await provider.aclose()
        sent = [dict(request.headers)["authorization"] for request in server.requests]
    assert sent == ["Bearer sk-one", "Bearer sk-one", "Bearer sk-two"]
