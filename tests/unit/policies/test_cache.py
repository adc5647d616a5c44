"""Answers kept by what was asked: what is kept, what comes back, and that a cache never fails a call."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch import Message, Usage, _clock
from llmorch.models.message import ToolCall
from llmorch.models.settings import Settings
from llmorch.policies.cache import Slots, fingerprint_of, keep, key_of, recall
from llmorch.ports import ProviderRequest, ProviderResponse, ResponseCache, ToolSpec
from llmorch.stores.memory_cache import MemoryCache
from llmorch.testing import run_virtual

pytestmark = pytest.mark.anyio
REQUEST = ProviderRequest("m", (Message("user", "Why?"),))
ANSWER = ProviderResponse(
    "Because \u2028 \x00 \U0001f600.",
    usage=Usage(10, 5, cached_tokens=3, requests=1),
    model="m-2026-01-01",
    raw={"finish_reason": "end_turn", "id": "x"},
)


class Broken:
    """A cache whose server is down."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, key: str) -> bytes | None:
        self.asked += 1
        raise ConnectionError("no route to redis://:sk-secretsecretsecret@cache")

    async def put(self, key: str, entry: bytes, *, ttl_s: float | None = None) -> None:
        self.asked += 1
        raise ConnectionError("no route")


class Hanging:
    """A cache whose server says nothing."""

    async def get(self, key: str) -> bytes | None:
        await anyio.sleep_forever()
        return None

    async def put(self, key: str, entry: bytes, *, ttl_s: float | None = None) -> None:
        await anyio.sleep_forever()


class WallClock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.us = 1_000_000_000
        monkeypatch.setattr(_clock, "now_us", lambda: self.us)

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)


# Keys


def test_equal_requests_have_one_fingerprint_whoever_asks_and_however_long_it_may_take() -> None:
    other = replace(REQUEST, step="elsewhere", timeout=5.0)
    assert fingerprint_of(REQUEST, "p:m") == fingerprint_of(other, "p:m")


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, messages=(Message("user", "Why not?"),)),
        replace(REQUEST, settings=Settings(temperature=0)),
        replace(REQUEST, extra={"top_k": 1}),
        replace(REQUEST, output_schema={"type": "object"}),
        replace(REQUEST, tools=(ToolSpec("add", "", {}),)),
    ],
)
def test_whatever_determines_the_answer_changes_the_fingerprint(other: ProviderRequest) -> None:
    assert fingerprint_of(REQUEST, "p:m") != fingerprint_of(other, "p:m")


def test_another_provider_or_slot_is_another_key() -> None:
    one, two = fingerprint_of(REQUEST, "p:m"), fingerprint_of(REQUEST, "q:m")
    assert len({key_of(one, 0), key_of(one, 1), key_of(one, 11), key_of(two, 0)}) == 4


def test_the_nth_equal_request_of_a_run_has_slot_n() -> None:
    slots = Slots()
    assert [slots.next("a"), slots.next("b"), slots.next("a"), slots.next("a"), slots.next("b")] == [0, 0, 1, 2, 1]
    assert Slots().next("a") == 0


def test_a_step_that_tries_again_keeps_its_slot() -> None:
    slots = Slots()
    assert [slots.next("a", step=step) for step in ("x", "y", "x", "z", "y")] == [0, 1, 0, 2, 1]


# What is kept and what comes back


async def test_an_answer_comes_back_word_for_word_and_costs_nothing() -> None:
    cache = MemoryCache()
    assert await recall(cache, "k") is None
    await keep(cache, "k", response=ANSWER)
    found = await recall(cache, "k")
    assert found is not None
    assert (found.text, found.model, found.finish_reason) == (ANSWER.text, ANSWER.model, "stop")
    assert found.usage == Usage()
    assert found.raw == {
        "cached_usage": {
            "input_tokens": 10, "output_tokens": 5, "cached_tokens": 3,
            "cache_write_tokens": 0, "reasoning_tokens": 0, "requests": 1,
        }
    }  # fmt: skip
    assert found.tool_calls == ()
    assert found.allowance is None


@given(st.text(min_size=1).filter(str.strip), st.text(), st.sampled_from(["stop", "other"]))
def test_any_text_and_model_survive(text: str, model: str, ending: str) -> None:
    async def there_and_back() -> ProviderResponse | None:
        cache = MemoryCache()
        await keep(cache, "k", response=ProviderResponse(text, model=model, finish_reason=ending))
        return await recall(cache, "k")

    found = run_virtual(there_and_back)
    assert found is not None
    assert (found.text, found.model, found.finish_reason, found.raw) == (text, model, ending, {"cached_usage": None})


@pytest.mark.parametrize(
    "answer",
    [
        replace(ANSWER, finish_reason="length"),
        replace(ANSWER, finish_reason="content_filter"),
        replace(ANSWER, finish_reason="tool_calls"),
        replace(ANSWER, tool_calls=(ToolCall("1", "add", "{}"),)),
        replace(ANSWER, text=""),
        replace(ANSWER, text=" \n"),
    ],
)
async def test_an_answer_that_is_none_to_repeat_is_not_kept(answer: ProviderResponse) -> None:
    cache = MemoryCache()
    await keep(cache, "k", response=answer)
    assert len(cache) == 0


async def test_an_entry_is_ascii_json_with_a_format_number() -> None:
    cache = MemoryCache()
    await keep(cache, "k", response=ANSWER)
    entry = await cache.get("k")
    assert entry is not None
    assert entry.isascii()
    assert json.loads(entry)["format"] == 1


async def damaged(change: dict[str, object]) -> bytes:
    cache = MemoryCache()
    await keep(cache, "k", response=ANSWER)
    body = json.loads(await cache.get("k") or b"")
    return json.dumps({name: value for name, value in {**body, **change}.items() if value is not ...}).encode()


async def test_an_entry_of_another_key_or_format_or_shape_is_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    cache = MemoryCache()
    await cache.put("k", await damaged({}))
    assert await recall(cache, "k") is not None
    changes: list[dict[str, object]] = [
        {"key": "j"}, {"format": 2}, {"format": "1"}, {"format": ...}, {"text": 5}, {"text": ""}, {"text": ...},
        {"finish_reason": "length"}, {"finish_reason": ["stop"]}, {"finish_reason": ...}, {"model": None},
    ]  # fmt: skip
    for change in changes:
        await cache.put("k", await damaged(change))
        assert await recall(cache, "k") is None, change
    assert not caplog.records


@pytest.mark.parametrize(
    "entry", [b"", b"\xff\xfe", b"null", b"[]", b"5", b"{", b"[" * 100_000, b"\x80\x04pickle", "text", 10**15]
)
async def test_bytes_that_are_no_entry_are_a_miss(entry: bytes, caplog: pytest.LogCaptureFixture) -> None:
    class Foreign:
        async def get(self, key: str) -> bytes | None:
            return entry

        async def put(self, key: str, entry: bytes, *, ttl_s: float | None = None) -> None: ...

    assert await recall(Foreign(), "k") is None
    assert not caplog.records


# A cache that fails


async def test_a_cache_that_raises_is_a_miss_and_is_logged_once_without_its_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = Broken()
    with caplog.at_level(logging.WARNING, "llmorch"):
        for _ in range(3):
            assert await recall(cache, "k") is None
            await keep(cache, "k", response=ANSWER)
    assert cache.asked == 6
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "Broken" in message
    assert "ConnectionError" in message
    assert "sk-secret" not in message
    with caplog.at_level(logging.WARNING, "llmorch"):
        await recall(Broken(), "k")
    assert len(caplog.records) == 2


async def test_a_cache_that_hangs_costs_ten_seconds_and_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    cache = Hanging()
    began = anyio.current_time()
    assert await recall(cache, "k") is None
    await keep(cache, "k", response=ANSWER)
    assert anyio.current_time() - began == pytest.approx(20)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("cache", [Hanging()])
async def test_cancellation_passes_through_a_cache(cache: ResponseCache) -> None:
    began = anyio.current_time()
    with anyio.move_on_after(1) as scope:
        await recall(cache, "k")
    assert scope.cancelled_caught
    with anyio.move_on_after(1) as scope:
        await keep(cache, "k", response=ANSWER)
    assert scope.cancelled_caught
    assert anyio.current_time() - began == pytest.approx(2)


async def test_an_answer_that_cannot_be_written_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    cache = MemoryCache()
    usage = Usage(float("nan"))  # type: ignore[arg-type]  # a plugin's mistake
    await keep(cache, "k", response=replace(ANSWER, usage=usage))
    assert len(cache) == 0
    assert len(caplog.records) == 1


# The cache in memory


async def test_an_entry_is_gone_when_its_time_is_over(wall_clock: WallClock) -> None:
    cache = MemoryCache()
    await keep(cache, "k", response=ANSWER, ttl_s=60)
    await keep(cache, "for good", response=ANSWER)
    wall_clock.advance(59.9)
    assert await recall(cache, "k") is not None
    wall_clock.advance(0.1)
    assert await recall(cache, "k") is None
    assert len(cache) == 1
    wall_clock.advance(1e9)
    assert await recall(cache, "for good") is not None


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("-inf")])
async def test_an_entry_without_time_is_not_kept_and_takes_the_old_one_with_it(ttl_s: float) -> None:
    cache = MemoryCache()
    await cache.put("k", b"old")
    await cache.put("k", b"new", ttl_s=ttl_s)
    assert await cache.get("k") is None
    assert cache.bytes == 0


@pytest.mark.parametrize("ttl_s", [float("inf"), 1e300])
async def test_an_endless_time_is_for_good(ttl_s: float) -> None:
    cache = MemoryCache()
    await cache.put("k", b"entry", ttl_s=ttl_s)
    assert await cache.get("k") == b"entry"


async def test_what_was_used_least_lately_goes_first() -> None:
    cache = MemoryCache(max_entries=3)
    for key in "abc":
        await cache.put(key, b"x")
    await cache.get("a")
    await cache.put("b", b"y")
    await cache.put("d", b"x")
    assert [await cache.get(key) for key in "abcd"] == [b"x", b"y", None, b"x"]


async def test_bytes_are_bounded_and_counted_exactly() -> None:
    cache = MemoryCache(max_bytes=100)
    for key in "abcd":
        await cache.put(key, b"x" * 32)
    assert (len(cache), cache.bytes) == (3, 99)
    assert await cache.get("a") is None
    await cache.put("d", b"x" * 66)
    assert (len(cache), cache.bytes) == (2, 100)
    await cache.put("d", b"x" * 100)
    assert await cache.get("d") is None
    assert (len(cache), cache.bytes) == (1, 33)


@pytest.mark.parametrize(("max_entries", "max_bytes"), [(0, 1), (1, 0), (-1, 1)])
def test_a_cache_that_could_keep_nothing_is_refused(max_entries: int, max_bytes: int) -> None:
    with pytest.raises(ValueError, match="keeps nothing"):
        MemoryCache(max_entries=max_entries, max_bytes=max_bytes)
