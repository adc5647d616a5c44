"""The provider itself: connections, time, errors. What is sent and read stands in `wire.py`."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import httpx
from anyio.lowlevel import RunVar

from llmorch.errors import BadAnswer, LLMOrchError, ProviderUnavailable, StreamTruncated, TimedOut
from llmorch.ports import Capabilities, OnDelta, ProviderRequest, ProviderResponse, ProviderStatus, Secret

from .wire import body_of, error_in, error_of, messages_of, read_json, response_of

_TIMEOUT_S = 600.0
_LIST_TIMEOUT_S = 10.0


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


class LlamaCpp:
    """The model that a llama.cpp server has loaded, asked through its `/completion` API.

    Found by its entry point it is made without arguments, so what it needs comes from the environment then.

    Args:
        base_url: The server's address. Unset: `LLAMACPP_BASE_URL`, else `http://localhost:8080`.
        api_key: The key the server was started with. Unset: `LLAMACPP_API_KEY`, else none.
        name: The part of a model id before the colon.
    """

    # Every call is bounded by `request.timeout` here, so the engine need not do it.
    keeps_time = True

    def __init__(self, *, base_url: str | None = None, api_key: str | None = None, name: str = "llamacpp") -> None:
        self._name = name
        self._base_url = (base_url or os.environ.get("LLAMACPP_BASE_URL") or "http://localhost:8080").rstrip("/")
        self._key = Secret(
            api_key or os.environ.get("LLAMACPP_API_KEY") or ""
        )  # a Secret shows itself in no repr, log or pickle
        # Connections belong to the event loop that opened them, and one provider may be used on several.
        self._client: RunVar[httpx.AsyncClient | None] = RunVar(f"{name} client {id(self)}")

    def __repr__(self) -> str:
        return f"LlamaCpp(name={self._name!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        """The part of a model id before the colon."""
        return self._name

    def capabilities(self, model: str) -> Capabilities:
        """What the server can do; asked while planning, so it sends nothing."""
        return Capabilities(tools=False)

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """Send one request and give its whole answer.

        Raises:
            ProviderError: The classes of the error tree.
            TimedOut: It took longer than `request.timeout`.
        """
        async with self._limits(_TIMEOUT_S if request.timeout is None else request.timeout):
            conversation = json.dumps({"messages": messages_of(request)}).encode()
            made = read_json(await self._exchange("POST", "/apply-template", conversation))
            prompt = made.get("prompt")
            if not isinstance(prompt, str):
                raise BadAnswer("the server made no prompt of the messages; it may be older than /apply-template")
            body = body_of(request, prompt, stream=on_delta is not None)
            if on_delta is not None:
                return await self._stream(body, request.model, on_delta)
            answer = read_json(await self._exchange("POST", "/completion", body))
            return response_of(answer, answer.get("content"), request.model)

    async def models(self) -> list[str]:
        """The name of the model the server has loaded."""
        async with self._limits(_LIST_TIMEOUT_S):
            listed = read_json(await self._exchange("GET", "/v1/models")).get("data")
        if not isinstance(listed, list):
            raise BadAnswer(f"{self._name} did not answer with a list of its models; check base_url")
        return [row["id"] for row in listed if isinstance(row, dict) and isinstance(row.get("id"), str)]

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        """Whether the server answers and takes the key."""
        start = anyio.current_time()
        try:
            names = await self.models()
        except LLMOrchError as error:
            return ProviderStatus(False, detail=error.message)
        return ProviderStatus(True, next(iter(names), None), anyio.current_time() - start, f"serves {', '.join(names)}")

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next call opens new ones."""
        client = self._client.get(None)
        if client is not None:
            self._client.set(None)
            await client.aclose()

    def _http(self) -> httpx.AsyncClient:
        client = self._client.get(None)
        if client is None:
            key = self._key.reveal()
            client = httpx.AsyncClient(
                base_url=self._base_url,
                headers={"authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(None, connect=10),
                verify=_tls(),
                trust_env=False,
            )
            self._client.set(client)
        return client

    @contextlib.asynccontextmanager
    async def _limits(self, timeout_s: float) -> AsyncGenerator[None]:
        """Bounds a call in time, and turns errors of the connection into those of the tree."""
        try:
            with anyio.fail_after(timeout_s):
                yield
        except TimeoutError:
            raise TimedOut(f"{self._name} did not finish its answer within {timeout_s:g} s; try again") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise ProviderUnavailable(
                f"{self._name} at {self._base_url} cannot be reached ({type(error).__name__}); is the server running?"
            ) from None

    async def _exchange(self, method: str, path: str, body: bytes | None = None) -> bytes:
        reply = await self._http().request(method, path, content=body, headers={"content-type": "application/json"})
        if reply.status_code != 200:
            raise error_of(reply.status_code, reply.headers, reply.content, key=self._key.reveal())
        return reply.content

    async def _stream(self, body: bytes, model: str, on_delta: OnDelta) -> ProviderResponse:
        pieces: list[str] = []
        answer: ProviderResponse | None = None
        headers = {"content-type": "application/json"}
        async with self._http().stream("POST", "/completion", content=body, headers=headers) as reply:
            if reply.status_code != 200:
                raise error_of(reply.status_code, reply.headers, await reply.aread(), key=self._key.reveal())
            async for data in _events(reply):
                if answer is not None:
                    continue  # the rest is read only so that the connection can be used again
                event = read_json(data)
                if "error" in event:
                    raise error_in(event, data, key=self._key.reveal())
                piece = event.get("content")
                if isinstance(piece, str) and piece:
                    pieces.append(piece)
                    on_delta(piece)
                if event.get("stop") is True:
                    answer = response_of(event, "".join(pieces), model)
        if answer is None:  # only the server's own last event makes an answer whole
            raise StreamTruncated(f"the stream of {self._name} ended before its last event; try again")
        return answer


async def _events(reply: httpx.Response) -> AsyncIterator[bytes]:
    """The data of each server-sent event.

    Lines are cut at LF only: httpx's `aiter_lines` also cuts at U+2028, which within JSON is text.
    """
    rest = b""
    async for chunk in reply.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()
