"""What a network or a server can do to a call, and which error comes of it; the connections work afterwards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    LLMOrchError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    StreamTruncated,
    TimedOut,
)
from llmorch.testing.mock_server import HANG, KEEP, RESET, Drip, FaultServer, Step, answer, completion, sse
from tests.wire.fault_client import KEY, SHORT, TRANSPORTS, ask, provider_on

GOOD = answer(200, completion("fine"))
GOOD_STREAM = answer(200, sse(["fi", "ne"]), kind="text/event-stream")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
CHUNKED_HEAD = STREAM_HEAD[:-2] + b"transfer-encoding: chunked\r\n\r\nffff\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n"
REFUSAL = completion("") | {
    "choices": [{"index": 0, "message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"}]
}


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", **more}}


ANSWERS: dict[str, tuple[Sequence[Step], type[LLMOrchError]]] = {
    "400": (answer(400, said("bad field")), BadRequest),
    "400 context": (answer(400, said("too long", code="context_length_exceeded")), ContextTooLong),
    "400 context in words": (answer(400, {"error": "the request exceeds the available context size"}), ContextTooLong),
    "400 filter": (answer(400, said("filtered", code="content_filter")), ContentRefused),
    "401": (answer(401, said("no such key")), AuthenticationFailed),
    "402": (answer(402, said("Insufficient Balance")), RateLimited),
    "403": (answer(403, said("not allowed")), AuthenticationFailed),
    "404": (answer(404, said("no such path")), BadRequest),
    "408": (answer(408, b""), ProviderUnavailable),
    "409": (answer(409, b""), ProviderUnavailable),
    "413": (answer(413, b"too large", kind="text/plain"), ContextTooLong),
    "422 detail": (answer(422, {"detail": [{"loc": ["body"], "msg": "field required"}]}), BadRequest),
    "429": (answer(429, said("slow down"), headers={"retry-after": "7"}), RateLimited),
    "500": (answer(500, said("oops")), ProviderUnavailable),
    "502 html": (answer(502, b"<html>bad gateway</html>", kind="text/html"), ProviderUnavailable),
    "503": (answer(503, b"", headers={"retry-after": "1"}), ProviderUnavailable),
    "504": (answer(504, b""), ProviderUnavailable),
    "529": (answer(529, said("overloaded")), ProviderUnavailable),
    "204": ((b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",), BadAnswer),
    "redirect": (answer(302, b"", headers={"location": "http://127.0.0.1:1/v1"}), BadAnswer),
    "200 html": (answer(200, b"<html>hello</html>", kind="text/html"), BadAnswer),
    "200 not json": (answer(200, b"{'a': 1}"), BadAnswer),
    "200 empty": (answer(200, b""), BadAnswer),
    "200 other json": (answer(200, {"hello": "world"}), BadAnswer),
    "200 no choices": (answer(200, {"choices": []}), BadAnswer),
    "200 odd types": (answer(200, {"choices": [{"message": "text"}]}), BadAnswer),
    "200 deep": (answer(200, b"[" * 100_000), BadAnswer),
    "200 error": (answer(200, said("upstream failed")), ProviderUnavailable),
    "200 error 429": (answer(200, said("slow", code=429)), RateLimited),
    "refusal": (answer(200, REFUSAL), ContentRefused),
    "content filter": (answer(200, completion("par", finish_reason="content_filter")), ContentRefused),
    "unknown encoding": (answer(200, b"xx", headers={"content-encoding": "br"}), BadAnswer),
    "broken gzip": (answer(200, b"xx", headers={"content-encoding": "gzip"}), BadAnswer),
    "gzip bomb": (answer(200, gzip.compress(b" " * (40 << 20)), headers={"content-encoding": "gzip"}), BadAnswer),
    "huge body": (answer(200, b" " * (33 << 20)), BadAnswer),
    "huge headers": (answer(200, b"{}", headers={f"x-{n}": "y" * 7000 for n in range(11)}), BadAnswer),
    "not http": ((b"SSH-2.0-OpenSSH_9.6\r\n\r\n",), BadAnswer),
    "closed before the answer": ((), ProviderUnavailable),
    "reset before the answer": ((RESET,), ProviderUnavailable),
    "reset in the headers": ((b"HTTP/1.1 200 OK\r\ncontent-", RESET), ProviderUnavailable),
    "hang before the answer": ((HANG,), TimedOut),
    "hang in the headers": ((b"HTTP/1.1 200 OK\r\ncontent-", HANG), TimedOut),
}
BODIES: dict[str, tuple[Sequence[Step], type[LLMOrchError]]] = {
    "short body": ((JSON_HEAD, b'{"choices": ['), ProviderUnavailable),
    "reset in the body": ((JSON_HEAD, b'{"choices": [', 0.05, RESET), ProviderUnavailable),
    "hang in the body": ((JSON_HEAD, b'{"choices": [', HANG), TimedOut),
    "drip in the body": ((JSON_HEAD, Drip(b" ", 0.05)), TimedOut),
}
EVENT = sse(["once "], finish_reason=None, usage=False, done=False)
STREAMS: dict[str, tuple[Sequence[Step], type[LLMOrchError]]] = {
    "no end": ((STREAM_HEAD, EVENT), StreamTruncated),
    "nothing": ((STREAM_HEAD,), StreamTruncated),
    "cut in an event": ((STREAM_HEAD, EVENT, b'data: {"choices"'), StreamTruncated),
    "no json": ((STREAM_HEAD, EVENT, b"data: {'a'}\n\n", HANG), StreamTruncated),
    "error event": ((STREAM_HEAD, EVENT, f"data: {json.dumps(said('oops'))}\n\n".encode(), HANG), ProviderUnavailable),
    "error 429": ((STREAM_HEAD, f"data: {json.dumps(said('oops', code=429))}\n\n".encode(), HANG), RateLimited),
    # Of a body without a length or chunks, aiohttp takes a reset for the end: it is then StreamTruncated.
    "reset": ((CHUNKED_HEAD, EVENT, 0.1, RESET), ProviderUnavailable),
    "short chunk": ((CHUNKED_HEAD, EVENT), StreamTruncated),
    "silence": ((STREAM_HEAD, EVENT, HANG), TimedOut),
    "comments": ((STREAM_HEAD, EVENT, Drip(b": still here\n\n")), TimedOut),
    "empty deltas": ((STREAM_HEAD, EVENT, Drip(b'data: {"choices":[{"delta":{}}]}\n\n')), TimedOut),
    "long line": ((STREAM_HEAD, b"data: " + b"x" * (2 << 20), HANG), BadAnswer),
    "refusal": (
        answer(
            200, b'data: {"choices":[{"delta":{"refusal":"No."},"finish_reason":"stop"}]}\n\n', kind="text/event-stream"
        ),
        ContentRefused,
    ),
}


TOLD = {
    "gzip bomb": "32 MiB",
    "huge body": "32 MiB",
    "huge headers": "headers",
    "unknown encoding": "'br'",
    "redirect": "redirects are not followed",
    "silence": "nothing of worth for 0.3 s",
    "comments": "nothing of worth for 0.3 s",
    "empty deltas": "nothing of worth for 0.3 s",
    "hang before the answer": "within 0.8 s",
}


async def fails(script: Sequence[Step], error: type[LLMOrchError], transport: str, *, stream: bool) -> LLMOrchError:
    """The error of the first call; the second one, on the same provider, is well."""
    with FaultServer(script, GOOD) as server:
        provider = provider_on(server.url, transport)
        with pytest.raises(LLMOrchError) as caught:
            await ask(provider, stream=stream, timeout=0.8)
        assert type(caught.value) is error, caught.value
        # A 404 is followed by the question for the models, which eats the next script but no error.
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
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_fault_before_the_body_has_its_class(kind: str, stream: bool, transport: str) -> None:
    script, expected = ANSWERS[kind]
    error = await fails(script, expected, transport, stream=stream)
    assert TOLD.get(kind, "") in error.message
    check_text(error)
    if isinstance(error, ProviderError):
        assert error.provider == "openai"
        assert error.model == "mock-model"


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", BODIES)
async def test_a_fault_in_the_body_has_its_class(kind: str, transport: str) -> None:
    script, expected = BODIES[kind]
    check_text(await fails(script, expected, transport, stream=False))


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_fault_in_a_stream_has_its_class(kind: str, transport: str) -> None:
    script, expected = STREAMS[kind]
    error = await fails(script, expected, transport, stream=True)
    assert TOLD.get(kind, "") in error.message
    check_text(error)


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_named() -> None:
    with FaultServer(GOOD) as server:
        url = server.url
    with pytest.raises(ProviderUnavailable, match=r"127\.0\.0\.1") as caught:
        await ask(provider_on(url))
    check_text(caught.value)


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


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stream_cut_at_any_byte_is_whole_or_truncated(transport: str) -> None:
    stream = sse(["Gr\u00fc", "\u00dfe"])
    scripts: list[Sequence[Step]] = [(STREAM_HEAD, stream[:at]) for at in range(0, len(stream), 7)]
    finish = stream.index(b'"finish_reason":"stop"')
    with FaultServer(*scripts) as server:
        provider = provider_on(server.url, transport)
        for at in range(0, len(stream), 7):
            try:
                assert (await ask(provider, stream=True)).text == "Gr\u00fc\u00dfe"
                assert at > finish
            except StreamTruncated:
                assert at < stream.index(b"\n\n", finish) + 2
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
