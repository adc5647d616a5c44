"""What a chat call costs on its way through HTTP layer, client and engine, beside bare aiohttp on the same server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from llmorch import Message, Orchestrator, Payload, Workflow, each
from llmorch.events import StepDelta
from llmorch.providers.openai import OpenAI
from llmorch.requests import ProviderRequest
from llmorch.testing.mock_server import mock_server

from .measure import best_cpu, best_wall
from .table import Result, Target

__all__ = ["burst", "calls", "streaming"]

_KEY = "no-key"
_QUESTION = "Say hello to Ada, in one sentence, and nothing else."
_CALLS = 640
_BURST = 1_000
_LATENCY_S = 0.05
_TOKENS = 2_000
Ask = Callable[[], Awaitable[object]]


def _payload() -> Payload[str]:
    return Payload("hello", "{{ question }}", model="local:mock-model")


def _request() -> ProviderRequest:
    return ProviderRequest(model="mock-model", messages=(Message("user", _QUESTION),))


def _body(*, stream: bool = False) -> bytes:
    body: dict[str, Any] = {"model": "mock-model", "messages": [{"role": "user", "content": _QUESTION}]}
    return json.dumps(body | ({"stream": True} if stream else {}), separators=(",", ":")).encode()


def _session() -> aiohttp.ClientSession:
    headers = {"content-type": "application/json", "authorization": f"Bearer {_KEY}"}
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_BURST), headers=headers)


def _bare(session: aiohttp.ClientSession, url: str) -> Ask:
    address, body = f"{url}/chat/completions", _body()

    async def ask() -> str:
        async with session.post(address, data=body) as response:
            text: str = json.loads(await response.read())["choices"][0]["message"]["content"]
            return text

    return ask


async def _at_once(ask: Ask, count: int, at_once: int) -> None:
    async def worker() -> None:
        for _ in range(count // at_once):
            await ask()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())


class _Asking:
    """The ways to ask the same question of the same server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.orchestrator = Orchestrator(providers=[OpenAI(base_url=url, api_key=_KEY, name="local")])
        self.client = OpenAI(base_url=url, api_key=_KEY, name="local")
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


async def calls() -> list[Result]:
    """CPU a call, one and 32 at once: a step of a map, a run of its own, the client alone, bare aiohttp."""
    results: list[Result] = []
    with mock_server() as url:
        async with _session() as session:
            asking = _Asking(url)
            for at_once in (1, 32):
                results += await _one_width(asking, _bare(session, url), at_once)
            await asking.aclose()
    return results


async def _one_width(asking: _Asking, bare: Ask, at_once: int) -> list[Result]:
    async def rounds(ask: Ask) -> None:
        await _at_once(ask, _CALLS, at_once)

    mapping = asking.mapping(_CALLS, at_once)
    works: list[Ask] = [
        mapping, lambda: rounds(asking.run), lambda: rounds(asking.complete), lambda: rounds(bare)
    ]  # fmt: skip
    for work in works:
        await work()  # opens connections, checks workflows
    step, run, client, floor = (s / _CALLS * 1e6 for s in await best_cpu(5, *works))
    where = f"{at_once} at once"
    return [
        Result(f"chat call as a step, {where}", step, "us", client, "own client", Target(1.3, "ratio")),
        Result(f"chat call as a step, {where}", step, "us", floor, "aiohttp", Target(3, "ratio")),
        Result(f"chat call as a run, {where}", run, "us", client, "own client"),
        Result(f"chat call as a run, {where}", run, "us", floor, "aiohttp", Target(3, "ratio")),
        Result(f"own client, {where}", client, "us", floor, "aiohttp"),
    ]


async def burst() -> list[Result]:
    """1 000 calls of 50 ms at once over connections that are not open yet."""
    with mock_server(latency_s=_LATENCY_S) as url:

        async def cold(way: str) -> None:
            async with AsyncExitStack() as stack:
                if way == "bare":
                    session = await stack.enter_async_context(_session())
                    await _at_once(_bare(session, url), _BURST, _BURST)
                    return
                asking = _Asking(url)
                stack.push_async_callback(asking.aclose)
                if way == "map":
                    await asking.mapping(_BURST, None)()
                else:
                    await _at_once(asking.run, _BURST, _BURST)

        warm = _Asking(url)
        await warm.run()  # imports what a first call needs
        await warm.aclose()
        mapped, runs, bare = await best_wall(4, lambda: cold("map"), lambda: cold("runs"), lambda: cold("bare"))
    return [
        Result("1 000 calls of 50 ms at once, one map, wall", mapped, "s", bare, "aiohttp", Target(0.6)),
        Result("1 000 calls of 50 ms at once, 1 000 runs, wall", runs, "s", bare, "aiohttp", Target(0.6)),
    ]


async def streaming() -> list[Result]:
    """CPU a token from the socket to whoever iterates `stream()`, tokens coming as fast as they can."""
    with mock_server(tokens=_TOKENS) as url:
        async with _session() as session:
            asking = _Asking(url)

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
                async with session.post(f"{url}/chat/completions", data=_body(stream=True)) as response:
                    async for line in response.content:
                        count += line.startswith(b"data:")
                assert count > _TOKENS

            assert await consumed() > 2 * _TOKENS
            ours, client, bare = (s / _TOKENS * 1e6 for s in await best_cpu(15, consumed, completed, lines))
            await asking.aclose()
    return [
        Result("streaming to the consumer, a token", ours, "us", bare, "aiohttp, reading lines", Target(10)),
        Result("streaming, own client, a token", client, "us", bare, "aiohttp, reading lines"),
    ]
