"""What a chat call costs on its way through HTTP layer, client and engine, beside bare aiohttp on the same server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from llmorch import Message, Orchestrator, Payload, Workflow, each
from llmorch.events import StepDelta
from llmorch.providers.anthropic import Anthropic
from llmorch.providers.openai import OpenAI
from llmorch.requests import ProviderRequest
from llmorch.testing.mock_server import mock_server

from .measure import best_cpu, best_wall, cpu_turns
from .table import Result, Target

__all__ = [
    "burst",
    "burst_of_anthropic",
    "calls",
    "calls_of_anthropic",
    "streaming",
    "streaming_of_anthropic",
]

_KEY = "no-key"
_QUESTION = "Say hello to Ada, in one sentence, and nothing else."
_CALLS = 640
_ROUNDS = 15
_BURST = 1_000
_LATENCY_S = 0.05
_TOKENS = 2_000
Ask = Callable[[], Awaitable[object]]


def _payload() -> Payload[str]:
    return Payload("hello", "{{ question }}", model="local:mock-model")


def _request() -> ProviderRequest:
    return ProviderRequest(model="mock-model", messages=(Message("user", _QUESTION),))


@dataclass(frozen=True)
class _Dialect:
    """How one vendor is asked, by the library and without it.

    Attributes:
        provider: Makes the library's client for an address.
        path: Where answers are asked for.
        headers: What a bare client sends.
        fields: What a bare body holds besides model and messages.
        text: Takes the text out of a whole answer.
    """

    name: Literal["openai", "anthropic"]
    provider: Callable[[str], OpenAI | Anthropic]
    path: str
    headers: Mapping[str, str]
    fields: Mapping[str, Any]
    text: Callable[[Any], str]

    @property
    def prefix(self) -> str:
        """What the names of its rows begin with."""
        return "" if self.name == "openai" else f"{self.name}: "

    def body(self, *, stream: bool = False) -> bytes:
        """A bare body."""
        body: dict[str, Any] = {"model": "mock-model", "messages": [{"role": "user", "content": _QUESTION}]}
        body |= self.fields
        return json.dumps(body | ({"stream": True} if stream else {}), separators=(",", ":")).encode()

    def session(self) -> aiohttp.ClientSession:
        """A bare client."""
        headers = {"content-type": "application/json", **self.headers}
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_BURST), headers=headers)

    def bare(self, session: aiohttp.ClientSession, url: str) -> Ask:
        """Asks once over a bare client."""
        address, body, text = f"{url}{self.path}", self.body(), self.text

        async def ask() -> str:
            async with session.post(address, data=body) as response:
                return text(json.loads(await response.read()))

        return ask


_OPENAI = _Dialect(
    "openai",
    lambda url: OpenAI(base_url=url, api_key=_KEY, name="local"),
    "/chat/completions",
    {"authorization": f"Bearer {_KEY}"},
    {},
    lambda answer: str(answer["choices"][0]["message"]["content"]),
)
_ANTHROPIC = _Dialect(
    "anthropic",
    lambda url: Anthropic(base_url=url, api_key=_KEY, name="local"),
    "/v1/messages",
    {"x-api-key": _KEY, "anthropic-version": "2023-06-01"},
    {"max_tokens": 8192},
    lambda answer: str(answer["content"][0]["text"]),
)


async def _at_once(ask: Ask, count: int, at_once: int) -> None:
    async def worker() -> None:
        for _ in range(count // at_once):
            await ask()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())


class _Asking:
    """The ways to ask the same question of the same server."""

    def __init__(self, url: str, dialect: _Dialect) -> None:
        self.url = url
        self.orchestrator = Orchestrator(providers=[dialect.provider(url)])
        self.client = dialect.provider(url)
        self.workflow = Workflow.of(_payload(), name="hello")

    async def run(self) -> None:
        done = await self.orchestrator.run(self.workflow, question=_QUESTION)
        assert done.status == "succeeded", done.error

    async def complete(self) -> None:
        await self.client.complete(_request())

    def mapping(self, count: int, at_once: int | None) -> Ask:
        """One run that maps the payload over so many questions."""
        workflow: Workflow[Any] = Workflow("mapped")
        asked = workflow.input("asked", list[str])
        workflow.returns(workflow.map(_payload(), question=each(asked), concurrency=at_once))
        questions = [_QUESTION] * count

        async def run() -> None:
            done = await self.orchestrator.run(workflow, asked=questions)
            assert len(done.output) == count, done.error

        return run

    async def aclose(self) -> None:
        await self.client.aclose()
        await self.orchestrator.aclose()


async def calls(dialect: _Dialect = _OPENAI) -> list[Result]:
    """CPU a call, one and 32 at once: a step of a map, a run of its own, the client alone, bare aiohttp."""
    results: list[Result] = []
    with mock_server(dialect=dialect.name) as url:
        async with dialect.session() as session:
            asking = _Asking(url, dialect)
            for at_once in (1, 32):
                results += await _one_width(asking, dialect.bare(session, url), at_once, dialect.prefix)
            await asking.aclose()
    return results


async def _one_width(asking: _Asking, bare: Ask, at_once: int, prefix: str) -> list[Result]:
    async def rounds(ask: Ask) -> None:
        await _at_once(ask, _CALLS, at_once)

    mapping = asking.mapping(_CALLS, at_once)
    works: list[Ask] = [
        mapping, lambda: rounds(asking.run), lambda: rounds(asking.complete), lambda: rounds(bare)
    ]  # fmt: skip
    for work in works:
        await work()  # opens connections, checks workflows
    turns, where = await cpu_turns(_ROUNDS, *works), f"{at_once} at once"
    step, run, client, floor = range(len(works))

    def beside(name: str, work: int, other: int, target: Target | None = None) -> Result:
        us, floor_us = (s / _CALLS * 1e6 for s in turns.middle(work, floor=other))
        return Result(
            f"{prefix}{name}, {where}", us, "us", floor_us, "aiohttp" if other == floor else "own client", target
        )

    return [
        beside("chat call as a step", step, client, Target(1.3, "ratio")),
        beside("chat call as a step", step, floor, Target(3, "ratio")),
        beside("chat call as a run", run, client),
        beside("chat call as a run", run, floor, Target(3, "ratio")),
        beside("own client", client, floor),
    ]


async def burst(dialect: _Dialect = _OPENAI) -> list[Result]:
    """1 000 calls of 50 ms at once over connections that are not open yet."""
    with mock_server(latency_s=_LATENCY_S, dialect=dialect.name) as url:

        async def cold(way: str) -> None:
            async with AsyncExitStack() as stack:
                if way == "bare":
                    session = await stack.enter_async_context(dialect.session())
                    await _at_once(dialect.bare(session, url), _BURST, _BURST)
                    return
                asking = _Asking(url, dialect)
                stack.push_async_callback(asking.aclose)
                if way == "map":
                    await asking.mapping(_BURST, None)()
                else:
                    await _at_once(asking.run, _BURST, _BURST)

        warm = _Asking(url, dialect)
        await warm.run()  # imports what a first call needs
        await warm.aclose()
        mapped, runs, bare = await best_wall(4, lambda: cold("map"), lambda: cold("runs"), lambda: cold("bare"))
    return [
        Result(
            f"{dialect.prefix}1 000 calls of 50 ms at once, one map, wall", mapped, "s", bare, "aiohttp", Target(0.6)
        ),
        Result(
            f"{dialect.prefix}1 000 calls of 50 ms at once, 1 000 runs, wall", runs, "s", bare, "aiohttp", Target(0.6)
        ),
    ]


async def streaming(dialect: _Dialect = _OPENAI) -> list[Result]:
    """CPU a token from the socket to whoever iterates `stream()`, tokens coming as fast as they can."""
    with mock_server(tokens=_TOKENS, dialect=dialect.name) as url:
        async with dialect.session() as session:
            asking = _Asking(url, dialect)

            async def consumed() -> int:
                length = 0
                async with asking.orchestrator.stream(asking.workflow, question=_QUESTION) as events:
                    async for event in events:
                        if isinstance(event, StepDelta):
                            length += len(event.text)
                assert events.run.status == "succeeded", events.run.error
                assert length >= len(events.run.output.strip())
                return length

            async def completed() -> None:
                pieces: list[str] = []
                await asking.client.complete(_request(), on_delta=pieces.append)
                assert pieces

            async def lines() -> None:
                count = 0
                async with session.post(f"{url}{dialect.path}", data=dialect.body(stream=True)) as response:
                    async for line in response.content:
                        count += line.startswith(b"data:")
                assert count > _TOKENS

            assert await consumed() > 2 * _TOKENS
            ours, client, bare = (s / _TOKENS * 1e6 for s in await best_cpu(15, consumed, completed, lines))
            await asking.aclose()
    return [
        Result(
            f"{dialect.prefix}streaming to the consumer, a token",
            ours,
            "us",
            bare,
            "aiohttp, reading lines",
            Target(10),
        ),
        Result(f"{dialect.prefix}streaming, own client, a token", client, "us", bare, "aiohttp, reading lines"),
    ]


async def calls_of_anthropic() -> list[Result]:
    """The same in Anthropic's dialect."""
    return await calls(_ANTHROPIC)


async def burst_of_anthropic() -> list[Result]:
    """The same in Anthropic's dialect."""
    return await burst(_ANTHROPIC)


async def streaming_of_anthropic() -> list[Result]:
    """The same in Anthropic's dialect."""
    return await streaming(_ANTHROPIC)
