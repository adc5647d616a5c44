"""A storm of cancelled calls leaves the pool working, and neither a descriptor nor a task behind.

It blows for 3 s; with `LLMORCH_LONG=1` in the environment for 60.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from llmorch.providers import OpenAI
from llmorch.testing.mock_server import mock_server
from tests.wire.fault_client import ask

SECONDS = 60 if os.environ.get("LLMORCH_LONG") == "1" else 3
AT_ONCE = 30
LONGEST_S = 0.02
GOOD = 100
DESCRIPTORS = next((path for path in (Path("/proc/self/fd"), Path("/dev/fd")) if path.exists()), None)


@pytest.fixture(scope="module")
def fast_server() -> Iterator[str]:
    with mock_server(text="fine", tokens=20, latency_s=0.002) as url:
        yield url


def open_descriptors() -> int:
    return 0 if DESCRIPTORS is None else len(list(DESCRIPTORS.iterdir()))


async def storm(provider: OpenAI, chance: random.Random) -> Counter[str]:
    """30 callers, each with one call after the other, each call with a deadline of its own."""
    ended: Counter[str] = Counter()
    until = anyio.current_time() + SECONDS

    async def one_after_another() -> None:
        while anyio.current_time() < until:
            with anyio.move_on_after(chance.uniform(0, LONGEST_S)) as scope:
                assert (await ask(provider, stream=chance.random() < 0.5)).text.startswith("fine")
                ended["answered"] += 1
            ended["cancelled"] += scope.cancelled_caught

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(one_after_another)
    return ended


async def answers_of(provider: OpenAI) -> list[str]:
    """What 100 calls at once answer."""
    answers: list[str] = []

    async def one() -> None:
        answers.append((await ask(provider, timeout=20)).text)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(GOOD):
                group.start_soon(one)
    return answers


async def settled(descriptors: int) -> int:
    """Descriptors that are open more than that, once the loop has closed what it was told to close."""
    for _ in range(500):
        if open_descriptors() <= descriptors:
            break
        await anyio.sleep(0.01)
    return open_descriptors() - descriptors


@pytest.mark.anyio
@pytest.mark.parametrize("transport", ["pooled", "injected"])
async def test_a_storm_of_cancelled_calls_leaves_nothing_behind(transport: str, fast_server: str) -> None:
    seed = random.randrange(10**9)
    limits = httpx.Limits(max_connections=10, max_keepalive_connections=10)
    given = httpx.AsyncHTTPTransport(trust_env=False, limits=limits) if transport == "injected" else None
    provider = OpenAI(base_url=fast_server, transport=given)
    assert (await ask(provider)).text == "fine"  # whatever is opened once and for all is open now
    await provider.aclose()
    tasks = len(anyio.get_running_tasks())
    descriptors = open_descriptors()
    ended = await storm(provider, random.Random(seed))
    answers = await answers_of(provider)
    assert len(anyio.get_running_tasks()) == tasks, f"seed {seed}"
    await provider.aclose()
    left = await settled(descriptors)
    print(f"{transport}: {dict(ended)} in {SECONDS} s, {answers.count('fine')} of {GOOD} good, {left} descriptors left")
    assert answers == ["fine"] * GOOD, f"seed {seed}"
    assert ended["cancelled"] > 30 * SECONDS, f"seed {seed}"
    assert left <= 0, f"seed {seed}"
