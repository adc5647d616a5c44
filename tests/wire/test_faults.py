"""What a network or a server can do to a call beyond the fault table: what is told, and what becomes of connections."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    LLMOrchError,
    ProviderUnavailable,
    RateLimited,
    StreamTruncated,
)
from llmorch.providers._vendor import Vendor
from llmorch.testing.dialects import DIALECTS, Dialect, Said
from llmorch.testing.mock_server import HANG, KEEP, RESET, FaultServer, Step, answer, completion, sse
from tests.wire.fault_client import KEY, SHORT, TRANSPORTS, ask, provider_on

GOOD = answer(200, completion("fine"))
GOOD_STREAM = answer(200, sse(["fi", "ne"]), kind="text/event-stream")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", **more}}


EVENT = sse(["once "], finish_reason=None, usage=False, done=False)


async def fails(script: Sequence[Step], error: type[LLMOrchError], transport: str, *, stream: bool) -> LLMOrchError:
    """The error of the first call; the second one, on the same provider, is well."""
    with FaultServer(script, GOOD) as server:
        provider = provider_on(server.url, transport)
        with pytest.raises(LLMOrchError) as caught:
            await ask(provider, stream=stream)
        assert type(caught.value) is error, caught.value
        assert (await ask(provider)).text == "fine"
        await provider.aclose()
    return caught.value


def check_text(error: LLMOrchError) -> None:
    chain: BaseException | None = error
    while chain is not None:
        assert KEY not in f"{chain!r} {chain} {vars(chain)}"
        chain = chain.__cause__ or chain.__context__
    assert "openai" in error.message
    assert "mock-model" in error.message or "127.0.0.1" in error.message


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_does_not_speak_tls_is_unavailable(transport: str) -> None:
    with FaultServer((b"HTTP/1.1 400 Bad Request\r\n\r\n",)) as server:
        provider = provider_on(server.url.replace("http:", "https:"), transport)
        with pytest.raises(ProviderUnavailable, match=r"127\.0\.0\.1") as caught:
            await ask(provider)
        check_text(caught.value)
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_rate_limit_tells_how_long_to_wait_and_whether_money_is_the_matter(stream: bool) -> None:
    script = answer(429, said("slow down"), headers={"retry-after-ms": "1500"})
    error = await fails(script, RateLimited, "pooled", stream=stream)
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.spend_limit, error.status) == (1.5, False, 429)
    spent = await fails(answer(429, said("no more", code="insufficient_quota")), RateLimited, "pooled", stream=stream)
    assert isinstance(spent, RateLimited)
    assert spent.spend_limit


@pytest.mark.anyio
async def test_a_key_that_a_server_echoes_is_taken_out() -> None:
    error = await fails(
        answer(401, said(f"Incorrect API key provided: {KEY}.")), AuthenticationFailed, "pooled", stream=False
    )
    assert "Incorrect API key provided" in error.message
    check_text(error)


GRUSS = "Gr\u00fc\u00dfe \U0001f600"


def stream_of(dialect: Dialect) -> tuple[bytes, int, int]:
    """A stream, where the event that ends its answer begins to say so, and where its line ends."""
    stream = dialect.stream(Said(GRUSS), ["Gr\u00fc", "\u00dfe \U0001f600"])
    start = stream.index(dialect.terminal)
    return stream, start, stream.index(b"\n", start) + 1


async def check_cut(provider: Vendor, at: int, start: int, end: int) -> None:
    try:
        answered = await ask(provider, stream=True)
    except StreamTruncated:
        assert at < end
    else:
        assert at > start
        assert answered.text == GRUSS


@pytest.mark.anyio
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_stream_cut_at_any_byte_is_whole_or_truncated(name: str) -> None:
    stream, start, end = stream_of(DIALECTS[name])
    at = 0

    def cut(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": DIALECTS[name].stream_kind}, content=stream[:at])

    provider = provider_on("http://127.0.0.1:1", dialect=name, given=httpx.MockTransport(cut))
    for at in range(len(stream)):  # read by `cut`
        await check_cut(provider, at, start, end)
    await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_connection_closed_in_the_middle_of_a_stream_is_noticed(name: str, transport: str) -> None:
    dialect = DIALECTS[name]
    stream, start, end = stream_of(dialect)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {dialect.stream_kind}\r\nconnection: close\r\n\r\n".encode()
    places = range(0, len(stream), 29)
    with FaultServer(*((head, stream[:at]) for at in places)) as server:
        provider = provider_on(server.url.removesuffix("/v1") + dialect.root, transport, dialect=name)
        for at in places:
            await check_cut(provider, at, start, end)
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_malformed_chunk_in_the_middle_of_a_body_ends_the_call(stream: bool, transport: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
    kind = b"text/event-stream" if stream else b"application/json"
    with FaultServer((head % kind, 0.1, b"2\r\n  \r\n", 0.1, b"many\r\n", HANG), GOOD) as server:
        provider = provider_on(server.url, transport, replace(SHORT, stall_s=3))
        with pytest.raises(BadAnswer):
            await ask(provider, stream=stream, timeout=4)
        assert (await ask(provider)).text == "fine"
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("surplus", ["junk", "answer"])
async def test_bytes_behind_an_answer_never_reach_the_next_one(surplus: str, stream: bool, transport: str) -> None:
    first = (GOOD_STREAM if stream else GOOD)[0]
    assert isinstance(first, bytes)
    other = answer(200, completion("of somebody else"))[0]
    behind = other if surplus == "answer" else b"junk\r\n"
    assert isinstance(behind, bytes)
    with FaultServer((first + behind, KEEP), GOOD) as server:
        provider = provider_on(server.url, transport)
        with contextlib.suppress(BadAnswer):  # which aiohttp makes of the junk
            assert (await ask(provider, stream=stream)).text == "fine"
        for _ in range(2):
            assert (await ask(provider)).text == "fine"
        assert server.connections == 2
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "tail",
    [(RESET,), (HANG,), (b"data: nonsense\n\n", HANG), (b'data: {"choices":[{"delta":{"content":"more"}}]}\n\n', HANG)],
    ids=["reset", "hang", "nonsense", "content"],
)
async def test_nothing_after_the_finish_reason_counts(tail: Sequence[Step], transport: str) -> None:
    with FaultServer((STREAM_HEAD, sse(["done"], usage=False, done=False), 0.05, *tail)) as server:
        provider = provider_on(server.url, transport)
        answered = await ask(provider, stream=True)
        assert (answered.text, answered.finish_reason, answered.usage) == ("done", "stop", None)
        await provider.aclose()


@pytest.mark.anyio
async def test_a_complete_answer_waits_only_a_moment_for_its_usage() -> None:
    timers = replace(SHORT, stall_s=8, linger_s=0.2)
    with FaultServer((STREAM_HEAD, sse(["done"], usage=False, done=False), HANG)) as server:
        provider = provider_on(server.url, timers=timers)
        with anyio.fail_after(4):
            assert (await ask(provider, stream=True, timeout=8)).text == "done"
        await provider.aclose()


@pytest.mark.anyio
async def test_a_slow_stream_lives_as_long_as_content_comes() -> None:
    pieces: list[Step] = []
    for _ in range(6):
        pieces += [EVENT, 0.1]
    with FaultServer((STREAM_HEAD, *pieces, sse([]))) as server:
        provider = provider_on(server.url)  # six tenths of a second in all, twice what stalls it
        assert (await ask(provider, stream=True)).text == "once " * 6
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stream_whose_end_comes_late_leaves_its_connection_to_the_next(transport: str) -> None:
    body = sse(["fine"])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    with FaultServer((head, b"%x\r\n%b\r\n" % (len(body), body), 0.05, b"0\r\n\r\n", KEEP)) as server:
        provider = provider_on(server.url, transport, timers=replace(SHORT, tail_s=1))
        for _ in range(3):
            assert (await ask(provider, stream=True)).text == "fine"
        assert server.connections == 1
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_is_used_again(stream: bool, transport: str) -> None:
    with FaultServer(GOOD_STREAM if stream else GOOD) as server:
        provider = provider_on(server.url, transport)
        for _ in range(4):
            assert (await ask(provider, stream=stream)).text == "fine"
        assert server.connections == 1
        await provider.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_packed_answer_is_read_although_it_was_not_asked_for(stream: bool) -> None:
    body = sse(["fi", "ne"]) if stream else json.dumps(completion("fine")).encode()
    kind = "text/event-stream" if stream else "application/json"
    script = answer(200, gzip.compress(body), headers={"content-encoding": "gzip"}, kind=kind)
    with FaultServer(script) as server:
        provider = provider_on(server.url)
        assert (await ask(provider, stream=stream)).text == "fine"
        assert server.requests[0].headers["accept-encoding"] == "identity"
        await provider.aclose()
