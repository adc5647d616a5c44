"""The fault table holds: over both transports and backends, in every dialect, whole or streamed."""

from __future__ import annotations

import functools
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from llmorch.errors import ProviderError, RateLimited
from llmorch.models.policy import Retry
from llmorch.policies.retry import retrying
from llmorch.providers._http import Timers
from llmorch.requests import ProviderResponse
from llmorch.testing.dialects import DIALECTS
from tests.wire.fault_client import KEY, FaultDesk, ask, provider_on
from tests.wire.fault_page import PAGE, as_page
from tests.wire.fault_table import FAULTS, MODES, Answers, Fails, Fault, cells

PLACES = [("pooled", "asyncio"), ("injected", "asyncio"), ("pooled", "trio"), ("injected", "trio")]
HTTP = {"httpx", "httpcore", "h11", "aiohttp", "httpx_aiohttp"}
AT_ONCE = 24
MAX_GROWTH = 64 << 20
PATIENT_S = 60


@dataclass
class Played:
    """What came of one fault."""

    result: ProviderResponse | BaseException | None = None
    attempts: int = 0
    posts: int = 0
    waits: list[float] = field(default_factory=list[float])
    after: str = ""
    growth: int = 0


async def play(desk: FaultDesk, fault: Fault, dialect: str, mode: str, transport: str) -> Played:
    """Call until the retry layer gives up, with the waits recorded instead of slept; then call once more."""
    spoken = DIALECTS[dialect]
    stream = MODES[mode]
    route = desk.closed_route(spoken) if fault.script is None else desk.route(spoken, fault.script(spoken, stream))
    timers = Timers(connect_s=10, total_s=30, stall_s=fault.stall_s, linger_s=0.2, tail_s=0.05, close_s=1)
    provider = provider_on(route.url, transport, timers, dialect=dialect)
    played = Played()

    async def attempt() -> ProviderResponse:
        played.attempts += 1
        return await ask(provider, stream=stream, timeout=fault.timeout_s)

    async def pause(_: BaseException, wait_s: float) -> None:
        played.waits.append(wait_s)

    try:
        with anyio.fail_after(PATIENT_S):
            played.result = await retrying(attempt, Retry(), pause=pause)
    except Exception as error:  # a wrong class is told by the row's own test
        played.result = error
    played.posts = route.posts
    route.heal()
    try:
        with anyio.fail_after(PATIENT_S):
            played.after = (await ask(provider, timeout=20)).text
    except Exception as error:  # as above
        played.after = repr(error)
    await provider.aclose()
    return played


Place = tuple[str, str, str, str]


@functools.cache
def table(backend: str) -> dict[Place, Played]:
    """Every fault by name, dialect, mode and transport: many at once, and the large ones one by one, measured."""
    played: dict[Place, Played] = {}
    places = [
        (fault, dialect, mode, transport)
        for fault, dialect, mode in cells()
        for transport, where in PLACES
        if where == backend
    ]
    places.sort(
        key=lambda place: place[0].timeout_s + place[0].stall_s
    )  # the slow ones first: none is waited for alone

    async def main() -> None:
        with FaultDesk() as desk:
            limiter = anyio.CapacityLimiter(AT_ONCE)

            async def one(fault: Fault, dialect: str, mode: str, transport: str) -> None:
                async with limiter:
                    played[fault.name, dialect, mode, transport] = await play(desk, fault, dialect, mode, transport)

            async with anyio.create_task_group() as group:
                for place in places:
                    if not place[0].is_large:
                        group.start_soon(one, *place)
            for fault, dialect, mode, transport in places:
                if fault.is_large:
                    played[fault.name, dialect, mode, transport] = await measured(desk, fault, dialect, mode, transport)
            assert desk.strays == 0, "a redirect was followed"

    anyio.run(main, backend=backend)
    return played


async def measured(desk: FaultDesk, fault: Fault, dialect: str, mode: str, transport: str) -> Played:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        played = await play(desk, fault, dialect, mode, transport)
        played.growth = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return played


def backoff(number: int, hint: tuple[float, float]) -> tuple[float, float]:
    """The least and the most that may be waited after that attempt, under the default `Retry`."""
    ceiling = min(30.0, 0.5 * 2.0 ** (number - 1))
    return max(ceiling / 2, hint[0]), max(ceiling, hint[1])


def check_error(error: Any, expected: Fails, dialect: str) -> None:
    assert type(error) is expected.error, repr(error)
    assert expected.told in error.message
    assert getattr(error, "spend_limit", False) is expected.spent
    assert dialect in error.message
    assert "mock-model" in error.message or "127.0.0.1" in error.message
    if isinstance(error, ProviderError):
        assert (error.provider, error.model) == (dialect, "mock-model")
        assert isinstance(error.first, ProviderError) is (expected.attempts > 1)
    if isinstance(error, RateLimited) and expected.hint is not None:
        assert error.retry_after is not None
        assert expected.hint[0] <= error.retry_after <= expected.hint[1]
    link: BaseException | None = error
    while link is not None:
        assert KEY not in f"{link!r} {link} {vars(link)}"
        assert type(link).__module__.partition(".")[0] not in HTTP, "the transport's own error holds the request"
        link = link.__cause__ or link.__context__


def same(arguments: str) -> object:
    """Arguments as data, where they are JSON."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def check_answer(answered: Any, expected: Answers) -> None:
    assert isinstance(answered, ProviderResponse), repr(answered)
    assert answered.text == expected.text
    assert (answered.usage is not None) is expected.has_usage
    assert [same(call.arguments) for call in answered.tool_calls] == [same(text) for text in expected.arguments]


def rows() -> Sequence[Any]:
    return [
        pytest.param(
            fault.name, dialect, mode, transport, backend, id=f"{fault.name}-{dialect}-{mode}-{transport}-{backend}"
        )
        for fault, dialect, mode in cells()
        for transport, backend in PLACES
    ]


@pytest.mark.parametrize(("name", "dialect", "mode", "transport", "backend"), rows())
def test_a_fault_has_its_class_attempts_and_waits(
    name: str, dialect: str, mode: str, transport: str, backend: str
) -> None:
    fault = FAULTS[name]
    expected = fault.outcome(dialect, mode, aiohttp=(transport, backend) == ("pooled", "asyncio"))
    assert expected is not None
    played = table(backend)[name, dialect, mode, transport]
    attempts = 1
    if isinstance(expected, Fails):
        check_error(played.result, expected, dialect)
        attempts = expected.attempts
    else:
        check_answer(played.result, expected)
    assert played.attempts == attempts
    # A call that was soon given up may not have come as far as the server.
    least = 0 if fault.script is None else 1
    assert least <= played.posts <= attempts, "something below the retry layer tries again"
    hint = (expected.hint if isinstance(expected, Fails) else None) or (0.0, 0.0)
    for number, wait_s in enumerate(played.waits, 1):
        shortest, longest = backoff(number, hint)
        assert shortest <= wait_s <= longest
    assert len(played.waits) == attempts - 1
    assert played.after == "fine", "the connections do not work afterwards"
    assert played.growth < MAX_GROWTH


def test_the_table_has_forty_kinds_and_every_dialect_in_each_mode() -> None:
    assert len(FAULTS) >= 40
    for dialect in DIALECTS:
        for mode in MODES:
            assert sum((spoken, how) == (dialect, mode) for _, spoken, how in cells()) >= 40


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_page(), "run: python -m tests.wire.fault_page"
