"""Limits of providers and models: exact in every minute, fair, and nothing left behind by whoever gives up."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmorch import Limit, ProviderUnavailable, RateLimited, Usage
from llmorch.policies.limits import Admission, Aside, Limiter, Limits, admitted, limited
from llmorch.ports import Allowance, ProviderResponse
from llmorch.testing import run_virtual

pytestmark = pytest.mark.anyio
MINUTE = Fraction(60)
ANSWER = ProviderResponse("yes")


async def here(wait: Callable[[], Awaitable[None]]) -> None:
    """Waits on the spot, as a caller does that holds nothing."""
    await wait()


async def never(wait: Callable[[], Awaitable[None]]) -> None:
    raise AssertionError("nothing had to be waited for")


@dataclass
class Desk:
    """Makes calls through limiters and notes when each was sent, in seconds since the desk was opened."""

    limiters: tuple[Limiter, ...]
    opened: float = field(default_factory=anyio.current_time)
    came: list[str] = field(default_factory=list)
    sent: list[tuple[str, float]] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0
    aside: Aside = here

    @property
    def now(self) -> float:
        return anyio.current_time() - self.opened

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]

    @property
    def moments(self) -> list[float]:
        return [at for _, at in self.sent]

    async def call(
        self,
        name: str,
        tokens: int = 0,
        *,
        lasts: float = 0.0,
        answer: ProviderResponse | Exception = ANSWER,
        limiters: tuple[Limiter, ...] | None = None,
    ) -> ProviderResponse:
        async def send() -> ProviderResponse:
            self.sent.append((name, self.now))
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            try:
                await anyio.sleep(lasts)
            finally:
                self.in_flight -= 1
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.came.append(name)
        chosen = self.limiters if limiters is None else limiters
        return await limited(chosen, send, tokens=tokens, aside=self.aside)

    def left_clean(self) -> bool:
        return all(limiter.line.is_empty and limiter.in_flight == 0 for limiter in self.limiters)


def used(tokens: int) -> ProviderResponse:
    return replace(ANSWER, usage=Usage(tokens, 0, requests=1))


def told(allowance: Allowance) -> ProviderResponse:
    return replace(ANSWER, allowance=allowance)


def fullest_minute(moments: list[float]) -> int:
    exact = [Fraction(moment) for moment in moments]
    first = most = 0
    for last, moment in enumerate(exact):
        while moment - exact[first] >= MINUTE:
            first += 1
        most = max(most, last - first + 1)
    return most


# Rates


async def test_a_thousand_calls_at_600_a_minute_take_about_100_seconds_in_their_order() -> None:
    desk = Desk((Limiter(Limit(requests_per_minute=600)),))
    async with anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(desk.call, str(number))
    assert 90 <= desk.now <= 115
    assert desk.names == desk.came
    assert len(set(desk.names)) == 1000
    assert fullest_minute(desk.moments) <= 600
    assert desk.left_clean()


@pytest.mark.parametrize("per_minute", [1, 7, 11, 61])
async def test_no_minute_of_sent_calls_has_more_than_the_limit(per_minute: int) -> None:
    await anyio.sleep(1 / 3)
    desk = Desk((Limiter(Limit(requests_per_minute=per_minute)),), opened=0.0)
    async with anyio.create_task_group() as group:
        for number in range(4 * per_minute):
            group.start_soon(desk.call, str(number))
    assert fullest_minute(desk.moments) == per_minute


async def test_a_call_that_may_start_is_sent_without_a_pause() -> None:
    limit = Limit(requests_per_minute=10, tokens_per_minute=100, concurrency=1)
    limiters = Limits({"a": limit, "a:b": limit}).of("a", "a:b")

    async def send() -> ProviderResponse:
        return ANSWER

    with pytest.raises(StopIteration) as done:
        limited(limiters, send, tokens=5, aside=never).__await__().__next__()
    assert done.value.value is ANSWER


async def test_without_limiters_a_call_is_just_sent() -> None:
    assert await Desk((), aside=never).call("a", 10**9) is ANSWER


async def test_a_limit_without_numbers_lets_everything_through() -> None:
    desk = Desk((Limiter(Limit()),), aside=never)
    for number in range(500):
        await desk.call(str(number), 10**9)
    assert desk.now == 0


async def test_tokens_not_used_are_given_back_and_let_the_next_call_start_at_once() -> None:
    desk = Desk((Limiter(Limit(tokens_per_minute=100)),))
    async with anyio.create_task_group() as group:
        group.start_soon(partial(desk.call, "wide", 100, lasts=5, answer=used(2)))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(desk.call, "next", 8)
    assert desk.sent == [("wide", 0), ("next", pytest.approx(5.0))]


async def test_tokens_used_above_the_estimate_hold_the_next_calls_back() -> None:
    desk = Desk((Limiter(Limit(tokens_per_minute=100)),))
    await desk.call("more than it said", 1, answer=used(100))
    await desk.call("next", 10)
    assert desk.moments[1] == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("answer", [ANSWER, used(-5), used(2**60), ProviderUnavailable("x")])
async def test_a_call_of_unknown_usage_keeps_what_it_reserved(answer: ProviderResponse | Exception) -> None:
    desk = Desk((Limiter(Limit(tokens_per_minute=100)),))
    with suppress(ProviderUnavailable):
        await desk.call("unknown", 100, answer=answer)
    await desk.call("next", 10)
    assert desk.moments[1] == pytest.approx(60, abs=0.1)


async def test_a_call_above_the_whole_allowance_goes_alone_and_is_not_overtaken() -> None:
    desk = Desk((Limiter(Limit(tokens_per_minute=100)),))
    async with anyio.create_task_group() as group:
        for name, tokens in [("small", 5), ("huge", 1000), ("later", 5), ("last", 5)]:
            group.start_soon(desk.call, name, tokens)
            await anyio.wait_all_tasks_blocked()
    assert desk.names == ["small", "huge", "later", "last"]
    assert [round(at) for at in desk.moments] == [0, 60, 120, 120]


@dataclass(frozen=True)
class Planned:
    wait: float
    tokens: int
    used: int | None
    lasts: float
    cancelled_after: float | None


PLANS = st.lists(
    st.builds(
        Planned,
        wait=st.floats(0, 15) | st.just(0.0),
        tokens=st.integers(0, 130),
        used=st.none() | st.integers(0, 200),
        lasts=st.floats(0, 90),
        cancelled_after=st.none() | st.none() | st.floats(0, 200),
    ),
    min_size=1,
    max_size=30,
)


async def carried_out(plans: list[Planned], limit: Limit) -> None:
    """Run the calls and check every start against what was known at that moment, by other means than the code's."""
    limiter = Limiter(limit)
    counted: list[tuple[Fraction, int]] = []  # what each sent call is known to have taken
    charged: list[tuple[Fraction, int]] = []
    arrived: list[int] = []
    started: list[int] = []
    flying: set[int] = set()

    async def one(number: int, plan: Planned) -> None:
        async def send() -> ProviderResponse:
            now = Fraction(anyio.current_time())
            recent = [(at, tokens) for at, tokens in counted if now - at < MINUTE]
            late = [(at, tokens) for at, tokens in charged if now - at < MINUTE]
            assert len(recent) < (limit.requests_per_minute or math.inf)
            before = sum(tokens for _, tokens in recent + late)
            assert before == 0 or plan.tokens == 0 or before + plan.tokens <= (limit.tokens_per_minute or math.inf)
            place = len(counted)
            counted.append((now, plan.tokens))
            started.append(number)
            flying.add(number)
            assert len(flying) <= (limit.concurrency or math.inf)
            try:
                await anyio.sleep(plan.lasts)
            finally:
                flying.discard(number)
            if plan.used is None:
                raise ProviderUnavailable("x")
            counted[place] = now, min(plan.tokens, plan.used)
            if plan.used > plan.tokens:
                charged.append((Fraction(anyio.current_time()), plan.used - plan.tokens))
            return used(plan.used)

        with anyio.move_on_after(math.inf if plan.cancelled_after is None else plan.cancelled_after):
            arrived.append(number)
            try:
                await limited((limiter,), send, tokens=plan.tokens, aside=here)
            except ProviderUnavailable:
                assert plan.used is None

    async with anyio.create_task_group() as group:
        for number, plan in enumerate(plans):
            await anyio.sleep(plan.wait)
            group.start_soon(one, number, plan)
    assert started == [number for number in arrived if number in started]
    assert {number for number, plan in enumerate(plans) if plan.cancelled_after is None} <= set(started)
    assert limiter.line.is_empty
    assert limiter.in_flight == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60)
@given(
    PLANS,
    st.none() | st.integers(1, 12),
    st.none() | st.integers(1, 120),
    st.none() | st.integers(1, 3),
)
def test_limits_hold_for_any_arrivals_sizes_settlements_and_cancellations(
    backend: str, plans: list[Planned], requests: int | None, tokens: int | None, concurrency: int | None
) -> None:
    limit = Limit(requests_per_minute=requests, tokens_per_minute=tokens, concurrency=concurrency)
    run_virtual(carried_out, plans, limit, backend=backend)


# Concurrency


@pytest.mark.parametrize("bound", [1, 2, 5])
async def test_concurrency_bounds_the_calls_in_flight(bound: int) -> None:
    desk = Desk((Limiter(Limit(concurrency=bound)),))
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(partial(desk.call, str(number), lasts=1.0))
    assert desk.peak == bound
    assert desk.now == pytest.approx(10 / bound)


async def test_a_call_that_fails_gives_its_place_back_and_its_error_is_the_same() -> None:
    desk = Desk((Limiter(Limit(concurrency=1)),))
    error = ValueError("a plugin's")
    with pytest.raises(ValueError) as caught:
        await desk.call("a", answer=error)
    assert caught.value is error
    assert desk.left_clean()


async def test_an_admission_is_settled_once() -> None:
    limiter = Limiter(Limit(concurrency=2))
    first = await admitted([limiter], tokens=0, aside=never)
    assert isinstance(first, Admission)
    second = await admitted([limiter], tokens=0, aside=never)
    first.settle(0)
    first.settle(None)
    assert limiter.in_flight == 1
    second.settle(None)
    assert limiter.in_flight == 0


# Giving up


@pytest.mark.parametrize("cancelled", ["in flight", "first in line", "second in line", "third in line"])
async def test_a_cancelled_call_leaves_nothing_behind_and_costs_nobody_a_place(cancelled: str) -> None:
    desk = Desk((Limiter(Limit(concurrency=1)),))
    scopes: dict[str, anyio.CancelScope] = {}

    async def call(name: str) -> None:
        with anyio.CancelScope() as scopes[name]:
            await desk.call(name, lasts=10.0)

    names = ["in flight", "first in line", "second in line", "third in line", "fourth in line"]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(call, name)
            await anyio.wait_all_tasks_blocked()
        await anyio.sleep(5)
        scopes[cancelled].cancel()
    if cancelled == "in flight":
        assert desk.names == names
        assert desk.moments == pytest.approx([0, 5, 15, 25, 35])
    else:
        assert desk.names == [name for name in names if name != cancelled]
        assert desk.moments == pytest.approx([0, 10, 20, 30])
    assert desk.left_clean()


async def test_a_turn_that_comes_together_with_a_cancellation_is_handed_on() -> None:
    line = Limiter(Limit()).line
    scopes: dict[str, anyio.CancelScope] = {}
    had: list[str] = []

    async def stand(name: str) -> None:
        with anyio.CancelScope() as scopes[name]:
            await line.enter()
            had.append(name)
            line.leave()

    await line.enter()
    async with anyio.create_task_group() as group:
        for name in "bcd":
            group.start_soon(stand, name)
            await anyio.wait_all_tasks_blocked()
        line.leave()
        for name in "bc":
            scopes[name].cancel()
    assert had[-1] == "d"
    assert line.is_empty


async def test_a_call_cancelled_while_it_comes_back_gives_the_turn_on() -> None:
    limiter = Limiter(Limit(concurrency=1))
    came_back = anyio.Event()

    async def slow_to_return(wait: Callable[[], Awaitable[None]]) -> None:
        await wait()
        came_back.set()
        await anyio.sleep_forever()

    desk = Desk((limiter,))
    slow = Desk((limiter,), aside=slow_to_return)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(desk.call, "a", lasts=3.0))
        await anyio.wait_all_tasks_blocked()

        async def returning() -> None:
            with anyio.move_on_after(20):
                await slow.call("b")

        group.start_soon(returning)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(desk.call, "c")
        await came_back.wait()
        assert desk.now == pytest.approx(3)
    assert slow.sent == []
    assert desk.sent == [("a", 0), ("c", pytest.approx(20))]
    assert desk.left_clean()


async def test_calls_that_are_slow_to_come_back_are_counted_when_they_are_sent() -> None:
    async def slow_to_return(wait: Callable[[], Awaitable[None]]) -> None:
        await wait()
        await anyio.sleep(random.Random(len(desk.sent)).uniform(0, 12))

    desk = Desk((Limiter(Limit(requests_per_minute=20)),), aside=slow_to_return, opened=0.0)
    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(desk.call, str(number))
    assert desk.names == desk.came
    assert len(set(desk.names)) == 60
    assert fullest_minute(desk.moments) <= 20


async def test_a_hold_that_begins_while_a_call_comes_back_holds_that_call() -> None:
    limiter = Limiter(Limit())

    async def held_on_return(wait: Callable[[], Awaitable[None]]) -> None:
        await wait()
        if desk.now < 10:
            limiter.hold(20)

    desk = Desk((limiter,), aside=held_on_return)
    limiter.hold(5)
    await desk.call("a")
    assert desk.moments == pytest.approx([25])
    assert desk.left_clean()


# Two limits at once


async def test_a_model_and_its_provider_both_bound_a_call() -> None:
    limits = Limits({"a": Limit(requests_per_minute=60), "a:slow": Limit(requests_per_minute=6)})
    desk = Desk(limits.of("a", "a:slow"), opened=0.0)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(desk.call, f"slow-{number}")
            for copy in range(4):
                group.start_soon(partial(desk.call, f"{number}-{copy}", limiters=limits.of("a", "a:fast")))
    slow = [at for name, at in desk.sent if name.startswith("slow")]
    assert len(desk.sent) == 100
    assert fullest_minute(desk.moments) <= 60
    assert fullest_minute(slow) <= 6
    assert slow[-1] - slow[0] > 150


async def test_a_model_that_waits_for_its_own_limit_keeps_no_other_waiting() -> None:
    limits = Limits({"a": Limit(concurrency=5), "a:slow": Limit(requests_per_minute=1)})
    slow, fast = limits.of("a", "a:slow"), limits.of("a", "a:fast")
    desk = Desk(slow)
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(desk.call, f"slow-{number}")
        await anyio.sleep(1)
        await desk.call("fast", limiters=fast)
        assert desk.now == 1
    assert [round(at) for name, at in desk.sent if name.startswith("slow")] == [0, 60, 120]


async def test_a_model_held_back_at_the_head_of_its_provider_lets_others_pass_and_stands_in_front_again() -> None:
    limits = Limits({"a": Limit(concurrency=1), "a:x": Limit(), "a:y": Limit(), "a:z": Limit()})
    x, y, z = limits.of("a", "a:x"), limits.of("a", "a:y"), limits.of("a", "a:z")
    desk = Desk(x)
    async with anyio.create_task_group() as group:
        for name, limiters in [("first", y), ("x", x), ("y1", y), ("z", z), ("y2", y)]:
            group.start_soon(partial(desk.call, name, lasts=10.0, limiters=limiters))
            await anyio.wait_all_tasks_blocked()
        x[0].hold(15)  # x is the first in the provider's line, and may not go when the first call ends
    assert desk.names == ["first", "y1", "z", "x", "y2"]  # z was the first when x came back, y2 waited behind it
    assert desk.moments == pytest.approx([0, 10, 20, 30, 40])
    assert all(limiter.line.is_empty and limiter.in_flight == 0 for limiter in {*x, *y, *z})


async def test_what_a_model_may_send_counts_when_it_is_sent_not_when_it_stood_in_line() -> None:
    limits = Limits({"a": Limit(), "a:x": Limit(requests_per_minute=10)})
    model, provider = limits.of("a", "a:x")
    desk = Desk((model, provider), opened=0.0)
    provider.hold(100)
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(desk.call, str(number))
    assert len(desk.moments) == 40
    assert fullest_minute(desk.moments) <= 10


# What the vendor says


async def test_nothing_starts_before_a_hold_ends_and_a_longer_one_counts() -> None:
    limiter = Limiter(Limit())
    desk = Desk((limiter,))
    limiter.hold(10)
    async with anyio.create_task_group() as group:
        group.start_soon(desk.call, "a")
        await anyio.sleep(5)
        limiter.hold(20)
        limiter.hold(1)
    assert desk.moments == pytest.approx([25])


@pytest.mark.parametrize(("seconds", "held"), [(1e9, 120), (math.inf, 120), (math.nan, 0), (-5, 0), ("7", 0)])
async def test_an_absurd_hold_is_cut(seconds: float, held: float) -> None:
    limiter = Limiter(Limit())
    desk = Desk((limiter,))
    limiter.hold(seconds)
    await desk.call("a")
    assert desk.moments == pytest.approx([held])


@pytest.mark.parametrize(
    ("error", "held"),
    [
        (RateLimited("x", retry_after=7), 7),
        (RateLimited("x"), 0),
        (RateLimited("x", retry_after=7, spend_limit=True), 0),
        (ProviderUnavailable("x"), 0),
    ],
)
async def test_a_429_with_a_hint_holds_every_call_of_its_keys(error: Exception, held: float) -> None:
    limiters = Limits({"a": Limit(), "a:x": Limit()}).of("a", "a:x")
    desk = Desk(limiters)
    with pytest.raises(type(error)) as caught:
        await desk.call("refused", answer=error)
    assert caught.value is error
    now = anyio.current_time()
    assert [limiter.delay(0, now=now) for limiter in limiters] == [held, held]
    await desk.call("next")
    assert desk.moments[-1] == pytest.approx(held)


@pytest.mark.parametrize(
    ("allowance", "waits"),
    [
        (Allowance(requests=0, requests_reset_s=9), 9),
        (Allowance(requests=1, requests_reset_s=9), 0),
        (Allowance(requests=0, requests_reset_s=None), 0),
        (Allowance(requests=0, requests_reset_s=1e6), 120),
        (Allowance(tokens=49, tokens_reset_s=4), 4),
        (Allowance(tokens=50, tokens_reset_s=4), 0),
        (Allowance(requests=0, requests_reset_s=3, tokens=0, tokens_reset_s=8), 8),
        (Allowance(requests=5, requests_reset_s=3, tokens=0, tokens_reset_s=None), 0),
        (Allowance(requests="0", requests_reset_s="9"), 0),  # type: ignore[arg-type]  # a plugin's mistake
    ],
)
async def test_what_the_vendor_has_left_holds_the_next_call_until_the_reset(allowance: Allowance, waits: float) -> None:
    desk = Desk((Limiter(Limit()),))
    await desk.call("first", answer=told(allowance))
    await desk.call("next", 50)
    assert desk.moments[1] == pytest.approx(waits)


async def test_what_was_started_since_counts_against_what_the_vendor_has_left() -> None:
    desk = Desk((Limiter(Limit()),))
    await desk.call("first", answer=told(Allowance(requests=2, requests_reset_s=30)))
    for name in "abc":
        await desk.call(name)
    assert desk.moments == pytest.approx([0, 0, 0, 30])


async def test_tokens_started_since_count_against_what_the_vendor_has_left() -> None:
    desk = Desk((Limiter(Limit()),))
    await desk.call("first", answer=told(Allowance(tokens=100, tokens_reset_s=30)))
    for name in "abc":
        await desk.call(name, 50)
    assert desk.moments == pytest.approx([0, 0, 0, 30])


async def test_the_vendors_news_wake_whoever_waits() -> None:
    limiter = Limiter(Limit())
    desk = Desk((limiter,))
    limiter.observe(Allowance(requests=0, requests_reset_s=60))
    async with anyio.create_task_group() as group:
        group.start_soon(desk.call, "a")
        await anyio.sleep(5)
        limiter.observe(Allowance(requests=3, requests_reset_s=60))
    assert desk.moments == pytest.approx([5])


async def test_news_of_more_lets_the_waiting_call_start_before_the_reset() -> None:
    desk = Desk((Limiter(Limit()),))
    async with anyio.create_task_group() as group:
        group.start_soon(partial(desk.call, "long", lasts=5, answer=told(Allowance(requests=9, requests_reset_s=60))))
        await anyio.wait_all_tasks_blocked()
        await desk.call("short", answer=told(Allowance(requests=0, requests_reset_s=60)))
        group.start_soon(desk.call, "next")
    assert desk.names[-1] == "next"
    assert desk.moments[-1] == pytest.approx(5)


async def test_a_vendor_that_promises_more_than_the_limit_is_not_believed() -> None:
    desk = Desk((Limiter(Limit(requests_per_minute=1, concurrency=1)),))
    generous = told(Allowance(requests=10**6, requests_reset_s=0, tokens=10**9, tokens_reset_s=0))
    for name in "abc":
        await desk.call(name, answer=generous)
    assert [round(at) for at in desk.moments] == [0, 60, 120]


# The limiters of an orchestrator


def test_the_models_limiter_comes_first_and_both_apply() -> None:
    limits = Limits({"a": Limit(concurrency=1), "a:b:c": Limit(concurrency=1), "x": Limit()})
    model, provider = limits.of("a", "a:b:c")
    assert limits.of("a", "a:other") == (provider,)
    assert limits.of("y", "y:z") == ()
    assert model is not provider


@pytest.mark.parametrize("key", ["", " ", "open ai", "openai ", "openai:", ":gpt", "a:b c", "a\n", 5, None])
def test_a_key_that_names_nothing_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no provider and no model id; write 'openai'"):
        Limits({key: Limit()})


@pytest.mark.parametrize("limit", [500, None, {"concurrency": 1}, Limit])
def test_a_value_that_is_no_limit_is_refused_with_what_to_write(limit: Limit) -> None:
    with pytest.raises(TypeError, match=r"'openai' has .* write Limit"):
        Limits({"openai": limit})
