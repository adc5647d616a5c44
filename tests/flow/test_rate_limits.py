"""Rate limits as workflows meet them: what starts when, and what goes on meanwhile."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from llmorch import Limit, Payload, RateLimited, Retry, Workflow, each
from llmorch.ports import Allowance, ProviderRequest, ProviderResponse, Usage
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import slow, stage

pytestmark = pytest.mark.anyio


def many(count: int, **fields: Any) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("many")
    return workflow.returns(workflow.map(Payload("ask", "{{ n }}", **fields), n=each(list(range(count)))))


class Moments:
    """Answers at once and notes when it was asked."""

    def __init__(self, answer: object = "ok") -> None:
        self.at: list[float] = []
        self.answer = answer

    async def __call__(self, request: ProviderRequest) -> object:
        self.at.append(anyio.current_time())
        return self.answer


def worst_minute(moments: list[float]) -> int:
    """The most that stands in any window of 60 s."""
    return max(sum(start <= moment < start + 60 for moment in moments) for start in moments)


@pytest.mark.parametrize("limit", [7, 60, 500])
async def test_requests_a_minute_are_never_above_the_limit_in_any_window(limit: int) -> None:
    asked = Moments()
    async with stage({"ask": asked}, limits={"scripted": Limit(requests_per_minute=limit)}) as s:
        run = await s.orch.run(many(3 * limit))
        assert run.status == "succeeded"
    assert len(asked.at) == 3 * limit
    assert worst_minute(asked.at) <= limit
    assert asked.at[-1] - asked.at[0] <= 190, "the limit is used, too"


async def test_tokens_a_minute_count_what_calls_really_used() -> None:
    answer = ProviderResponse("ok", (), Usage(100, 0, requests=1), "stop", "m")
    asked = Moments(answer)
    async with stage({"ask": asked}, limits={"scripted": Limit(tokens_per_minute=1_000)}) as s:
        await s.orch.run(many(30, max_tokens=100), timeout=600)
    assert len(asked.at) == 30
    assert worst_minute(asked.at) <= 10
    assert asked.at[-1] - asked.at[0] <= 240


async def test_concurrency_bounds_the_calls_of_a_provider_and_not_other_steps() -> None:
    now = most = 0

    async def answer(request: ProviderRequest) -> object:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.sleep(1)
        now -= 1
        return "ok"

    began = anyio.current_time()
    async with stage({"ask": answer}, limits={"scripted": Limit(concurrency=3)}, concurrency=4) as s:
        workflow = many(12)
        workflow.add(lambda: "free", name="free")
        run = await s.orch.run(workflow)
        assert most == 3
        assert anyio.current_time() - began == pytest.approx(4)
        free = run.steps["free"].finished_at
        assert free is not None
        assert (free - run.started_at).total_seconds() < 1, "who waits for a limit holds no place"


async def test_the_limits_of_a_model_and_of_its_provider_both_apply() -> None:
    asked = Moments()
    limits = {"scripted": Limit(requests_per_minute=600), "scripted:m": Limit(requests_per_minute=60)}
    async with stage({"ask": asked}, limits=limits) as s:
        await s.orch.run(many(90))
    assert worst_minute(asked.at) <= 60


async def test_one_limit_is_over_all_runs() -> None:
    asked = Moments()
    limits = {"scripted": Limit(requests_per_minute=60)}
    async with stage({"ask": asked}, limits=limits) as s, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(s.orch.run, many(40))
    assert len(asked.at) == 160
    assert worst_minute(asked.at) <= 60


async def test_retries_are_limited_too() -> None:
    asked = Moments(RateLimited("slow down", retry_after=1))
    async with stage({"ask": asked}, limits={"scripted": Limit(requests_per_minute=6)}) as s:
        run = await s.orch.run(Payload("ask", "Go.", retry=Retry(attempts=5)))
        assert run.status == "failed"
    assert len(asked.at) == 5
    assert asked.at[-1] - asked.at[0] >= 30


async def test_a_429_holds_back_the_others_too() -> None:
    at: list[float] = []

    async def answer(request: ProviderRequest) -> object:
        at.append(anyio.current_time())
        return RateLimited("slow down", retry_after=20) if len(at) == 1 else "ok"

    workflow: Workflow[Any] = Workflow("two")
    first = workflow.add(Payload("ask", "Go."), name="ask-1")
    second = workflow.add(slow, name="later", seconds=1)
    workflow.returns([first, workflow.add(Payload("ask", "Go."), name="ask-2", after=["later"])])
    async with stage({"*": answer}, limits={"scripted": Limit(concurrency=5)}) as s:
        assert (await s.orch.run(workflow)).status == "succeeded"
    assert second.name == "later"
    assert all(moment - at[0] >= 20 for moment in at[1:])


async def test_what_the_vendor_says_is_left_slows_down() -> None:
    used_up = ProviderResponse("ok", (), Usage(1, 1), "stop", "m", allowance=Allowance(requests=0, requests_reset_s=30))
    asked = Moments(used_up)
    async with stage({"ask": asked}, limits={"scripted": Limit(requests_per_minute=600)}) as s:
        await s.orch.run(many(3), timeout=600)
        workflow: Workflow[Any] = Workflow("chain")
        last: Any = None
        for n in range(3):
            last = workflow.add(Payload("ask", "Go."), name=f"s{n}", after=[f"s{n - 1}"] if n else ())
        workflow.returns(last)
        asked.at.clear()
    async with stage({"*": asked}, limits={"scripted": Limit()}) as s:
        await s.orch.run(workflow)
    assert [round(b - a) for a, b in zip(asked.at, asked.at[1:], strict=False)] == [30, 30]


async def test_without_limits_nothing_waits() -> None:
    began = anyio.current_time()
    async with stage({"ask": Reply("ok", 1)}) as s:
        await s.orch.run(many(500))
    assert anyio.current_time() - began == pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "error"), [({"scripted": 5}, TypeError), ({"": Limit()}, ValueError), ({"a b": Limit()}, ValueError)]
)
async def test_what_is_no_limit_is_refused(wrong: Any, error: type[Exception]) -> None:
    from llmorch import Orchestrator

    with pytest.raises(error, match="limits"):
        Orchestrator(providers=[ScriptedProvider({})], limits=wrong)
