"""Budgets: what a call may cost is set aside before it is sent, and settled on its bill."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from llmorch import (
    Budget,
    BudgetExceeded,
    CallStarted,
    Payload,
    Price,
    ProviderUnavailable,
    Retry,
    Run,
    TimedOut,
    Usage,
    Workflow,
    WorkflowInvalid,
    each,
    tool,
)
from llmorch.ports import Capabilities, ProviderRequest, ProviderResponse
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import MODEL, stage

pytestmark = pytest.mark.anyio

PRICES = {MODEL: Price(1, 10)}
"""One US dollar for a million tokens of a prompt, ten for a million of an answer."""


def used(tokens_in: int, tokens_out: int, text: str = "ok") -> ProviderResponse:
    return ProviderResponse(text, (), Usage(tokens_in, tokens_out, requests=1), "stop", "m")


def many(count: int, **fields: Any) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("many")
    return workflow.returns(workflow.map(Payload("ask", "x" * 30 + "{{ n }}", **fields), n=each(list(range(count)))))


async def ran(workflow: Any, answer: object, budget: Budget, **options: Any) -> tuple[Run[Any], ScriptedProvider]:
    async with stage({"ask": answer}, prices=PRICES, **options) as s:
        return await s.orch.run(workflow, budget=budget), s.provider


async def test_calls_are_counted_and_the_next_one_is_not_sent() -> None:
    run, provider = await ran(many(5), used(1, 1), Budget(calls=3), concurrency=1)
    assert run.status == "failed"
    assert isinstance(run.error, BudgetExceeded)
    assert "3 of 3 calls are made" in str(run.error)
    assert len(provider.requests) == 3


async def test_retries_count_as_calls() -> None:
    payload = Payload("ask", "Go.", retry=Retry(attempts=5, base=0))
    run, provider = await ran(payload, ProviderUnavailable("down"), Budget(calls=2))
    assert isinstance(run.error, BudgetExceeded)
    assert len(provider.requests) == 2


async def test_tool_rounds_count_as_calls() -> None:
    from llmorch.ports import ToolCall

    @tool
    def again() -> str:
        """Again."""
        return "once more"

    wish = ProviderResponse("", (ToolCall("1", "again", "{}"),), Usage(1, 1), "tool_calls")
    run, provider = await ran(Payload("ask", "Go.", tools=[again]), wish, Budget(calls=3))
    assert isinstance(run.error, BudgetExceeded)
    assert len(provider.requests) == 3


async def test_the_error_policy_of_a_step_does_not_hide_it() -> None:
    workflow: Workflow[Any] = Workflow("skipping", on_error="skip")
    workflow.returns(workflow.map(Payload("ask", "{{ n }}"), n=each([1, 2, 3]), on_error="skip"))
    run, _ = await ran(workflow, used(1, 1), Budget(calls=1))
    assert run.status == "failed"
    assert isinstance(run.error, BudgetExceeded)


async def test_parallel_calls_never_take_the_same_tokens() -> None:
    """Each call may take 111 of 400 tokens, so three are on their way at most, and the rest wait for their bills."""
    at_once = most = 0

    async def answer(request: ProviderRequest) -> object:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(1)
        at_once -= 1
        return used(11, 20)

    began = anyio.current_time()
    run, provider = await ran(many(9, max_tokens=100), answer, Budget(tokens=400))
    assert run.status == "succeeded", run.error
    assert most == 3
    assert run.usage.total_tokens == 9 * 31
    assert len(provider.requests) == 9
    assert anyio.current_time() - began < 9


async def test_what_no_longer_fits_fails_when_nothing_is_on_its_way() -> None:
    run, provider = await ran(many(9, max_tokens=100), used(11, 100), Budget(tokens=400))
    assert isinstance(run.error, BudgetExceeded)
    assert "tokens are wanted and" in str(run.error)
    assert len(provider.requests) == 3
    assert run.usage.total_tokens <= 400


async def test_money_is_never_overshot() -> None:
    """11 tokens in and 100 out cost 0.001011 dollars at most."""
    run, provider = await ran(many(50, max_tokens=100), used(11, 100), Budget(usd=0.0101))
    assert isinstance(run.error, BudgetExceeded)
    assert "US dollars" in str(run.error)
    assert len(provider.requests) == 9
    assert run.cost is not None
    assert run.cost <= Decimal("0.0101")


async def test_an_answer_without_a_bound_gets_one() -> None:
    _, provider = await ran(Payload("ask", "Go."), used(1, 1), Budget(usd=5))
    assert provider.requests[0].settings.max_tokens == 8192
    _, provider = await ran(Payload("ask", "Go."), used(1, 1), Budget(tokens=1000))
    assert provider.requests[0].settings.max_tokens == 999
    _, provider = await ran(Payload("ask", "Go."), used(1, 1), Budget(calls=5))
    assert provider.requests[0].settings.max_tokens is None


async def test_a_models_own_limit_is_the_bound_when_it_is_smaller() -> None:
    provider = ScriptedProvider({"ask": used(1, 1)}, capabilities=Capabilities(max_output_tokens=500))
    async with stage(prices=PRICES) as s:
        s.orch.catalog._providers["scripted"] = provider
        await s.orch.run(Payload("ask", "Go."), budget=Budget(usd=5))
    assert provider.requests[0].settings.max_tokens == 500


async def test_the_log_has_what_was_set_aside() -> None:
    async with stage({"ask": used(1, 1)}, prices=PRICES) as s:
        run = await s.orch.run(Payload("ask", "x" * 30, max_tokens=100), budget=Budget(usd=5))
        started = next(event for event in await s.log(run) if isinstance(event, CallStarted))
        assert started.estimate == Decimal("0.00101")
        assert started.reserved_tokens == 110


async def test_a_call_whose_end_nobody_knows_keeps_what_was_set_aside() -> None:
    """Each attempt times out after 111 tokens were promised to it; a fourth does not fit 400."""
    run, provider = await ran(
        many(1, max_tokens=100, retry=Retry(attempts=9, base=0)), TimedOut("too slow"), Budget(tokens=400)
    )
    assert isinstance(run.error, BudgetExceeded)
    assert len(provider.requests) == 3


async def test_a_refused_call_gives_everything_back() -> None:
    script = [ProviderUnavailable("down")] * 5 + [used(11, 20)]
    run, provider = await ran(many(1, max_tokens=100, retry=Retry(attempts=9, base=0)), script, Budget(tokens=130))
    assert run.status == "succeeded", run.error
    assert len(provider.requests) == 6


async def test_a_model_without_a_price_is_refused_before_anything_is_sent() -> None:
    async with stage({"ask": "ok"}, budget=Budget(usd=1)) as s:
        with pytest.raises(WorkflowInvalid, match=r"'ask': the price of 'scripted:m' is unknown"):
            await s.orch.run(Payload("ask", "Go."))
        with pytest.raises(WorkflowInvalid, match="unpriced='ignore'"):
            s.orch.plan(Payload("ask", "Go."))
        assert s.asked == []
        run = await s.orch.run(Payload("ask", "Go."), budget=Budget(usd=1, unpriced="ignore"))
        assert (run.status, run.unpriced_calls) == ("succeeded", 1)


async def test_a_fallback_and_a_nested_model_count_too() -> None:
    inner = Workflow.of(Payload("ask", "Go.", fallback=["scripted:other"]), name="inner")
    outer: Workflow[Any] = Workflow("outer")
    outer.returns(outer.add(inner, name="inside"))
    async with stage({"ask": "ok"}, prices=PRICES) as s:
        with pytest.raises(WorkflowInvalid, match=r"'inside/ask': the price of 'scripted:other'"):
            await s.orch.run(outer, budget=Budget(usd=1))


async def test_the_orchestrators_budget_is_each_runs_own() -> None:
    async with stage({"ask": used(1, 1)}, budget=Budget(calls=1)) as s:
        for _ in range(3):
            assert (await s.orch.run(Payload("ask", "Go."))).status == "succeeded"
        run = await s.orch.run(many(2), budget=Budget(calls=2))
        assert run.status == "succeeded"


async def test_who_waits_for_a_bill_holds_no_place() -> None:
    """With one place, the call on its way holds it; the other waits for money beside it and must not."""
    workflow: Workflow[Any] = Workflow("two")
    workflow.returns(
        [workflow.add(Payload("ask", "x" * 30, max_tokens=100), name=f"ask-{n}") for n in range(2)]
        + [workflow.add(lambda: "free", name="free")]
    )
    began = anyio.current_time()
    async with stage({"*": Reply(used(10, 10), 5)}, concurrency=2) as s:
        run = await s.orch.run(workflow, budget=Budget(tokens=150))
        assert run.status == "succeeded", run.error
        assert anyio.current_time() - began == pytest.approx(10)
        assert (run.steps["free"].finished_at or run.started_at) < (run.steps["ask-0"].finished_at or run.started_at)


@pytest.mark.parametrize("wrong", [5, "5 dollars", {"usd": 5}])
async def test_only_a_budget_is_a_budget(wrong: Any) -> None:
    async with stage({"ask": "ok"}) as s:
        with pytest.raises(TypeError, match=r"budget= takes a Budget"):
            await s.orch.run(Payload("ask", "Go."), budget=wrong)
