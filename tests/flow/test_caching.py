"""The response cache: asked for, keyed by content, and never in the way."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import Orchestrator, Payload, ProviderUnavailable, Retry, StepSucceeded, Workflow, each, tool
from llmorch.ports import ProviderResponse
from llmorch.stores.memory_cache import MemoryCache
from llmorch.testing import ScriptedProvider
from tests.flow.stage import MODEL, kinds, stage

pytestmark = pytest.mark.anyio


async def test_nothing_is_cached_unless_somebody_asks_for_it() -> None:
    async with stage({"ask": ["one", "two"]}) as s:
        assert (await s.orch.run(Payload("ask", "Go."))).output == "one"
        assert (await s.orch.run(Payload("ask", "Go."))).output == "two"


async def test_a_hit_sends_nothing_costs_nothing_and_says_so() -> None:
    payload = Payload("ask", "Go.", cache=True)
    async with stage({"ask": ["one", "two"]}) as s:
        first = await s.orch.run(payload)
        second = await s.orch.run(payload)
        assert (first.output, second.output) == ("one", "one")
        assert len(s.asked) == 1
        assert (second.cost, second.usage.requests) == (Decimal(0), 0)
        response = second.steps["ask"].response
        assert response is not None
        assert (response.cached, response.calls, response.text, response.cost) == (True, 0, "one", Decimal(0))
        succeeded = next(event for event in await s.log(second) if isinstance(event, StepSucceeded))
        assert succeeded.cached
        assert "CallStarted ask" not in kinds(await s.log(second))
        assert not first.steps["ask"].cached


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": ["Go on."]},
        {"model": "scripted:other"},
        {"temperature": 0.0},
        {"extra": {"top_k": 3}},
        {"output": int},
    ],
)
async def test_another_request_is_no_hit(change: dict[str, Any]) -> None:
    async with stage({"ask": ["1", "2"]}, cache=True) as s:
        await s.orch.run(Payload("ask", "Go."))
        await s.orch.run(Payload("ask", "Go.").using(**change))
        assert len(s.asked) == 2


async def test_equal_samples_of_one_run_stay_different_and_are_found_again() -> None:
    workflow: Workflow[Any] = Workflow("samples")
    workflow.returns(workflow.map(Payload("ask", "Pick a number."), concurrency=1, _=each([1, 2, 3])))
    workflow = Workflow("samples")
    nodes = [workflow.add(Payload("ask", "Pick a number."), name=f"pick-{n}", after=[f"pick-{n - 1}"] if n else ())
             for n in range(3)]  # fmt: skip
    workflow.returns(list(nodes))
    async with stage({"pick-0": "4", "pick-1": "8", "pick-2": "15"}, cache=True) as s:
        first = await s.orch.run(workflow)
        second = await s.orch.run(workflow)
        assert first.output == second.output == ["4", "8", "15"]
        assert len(s.asked) == 3


async def test_failures_and_refused_answers_are_not_kept() -> None:
    script = [ProviderUnavailable("down"), "no number", "7", "8"]
    async with stage({"ask": script}, cache=True) as s:
        payload = Payload("ask", "Go.", output=int, retry=Retry(attempts=1))
        assert (await s.orch.run(payload)).status == "failed"
        assert (await s.orch.run(payload)).output == 7
        assert (await s.orch.run(payload)).output == 8, "the first question got a bad answer, which is not kept"


async def test_an_answer_that_was_cut_is_not_kept() -> None:
    cut = ProviderResponse("half", finish_reason="length")
    async with stage({"ask": [cut, "whole"]}, cache=True) as s:
        assert (await s.orch.run(Payload("ask", "Go."))).output == "half"
        assert (await s.orch.run(Payload("ask", "Go."))).output == "whole"


async def test_a_payload_with_tools_is_never_cached() -> None:
    @tool
    def nothing() -> None:
        """Nothing."""

    async with stage({"ask": ["one", "two"]}, cache=True) as s:
        payload = Payload("ask", "Go.", tools=[nothing], cache=True)
        assert [(await s.orch.run(payload)).output for _ in range(2)] == ["one", "two"]


async def test_a_payload_can_opt_out() -> None:
    async with stage({"ask": ["one", "two"]}, cache=timedelta(hours=1)) as s:
        assert [(await s.orch.run(Payload("ask", "Go.", cache=False))).output for _ in range(2)] == ["one", "two"]


async def test_a_cache_outlives_its_orchestrator_when_it_is_given() -> None:
    cache = MemoryCache()
    for script in ({"ask": "one"}, {"ask": "two"}):
        async with stage(script, cache=cache) as s:
            assert (await s.orch.run(Payload("ask", "Go."))).output == "one"


async def test_structured_answers_come_back_in_their_type() -> None:
    class Point(BaseModel):
        x: int

    async with stage({"ask": [{"x": 3}]}, cache=True) as s:
        for _ in range(2):
            run = await s.orch.run(Payload("ask", "Go.", output=Point))
            assert run.output == Point(x=3)


async def test_a_cache_that_is_broken_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def get(self, key: str) -> bytes | None:
            raise OSError("no disk")

        async def put(self, key: str, entry: bytes, *, ttl_s: float | None = None) -> None:
            raise OSError("no disk")

    async with stage({"ask": ["one", "two"]}, cache=Broken()) as s:
        assert [(await s.orch.run(Payload("ask", "Go."))).output for _ in range(2)] == ["one", "two"]
    assert sum("no disk" in record.getMessage() for record in caplog.records) == 1


async def test_a_retry_is_the_same_sample() -> None:
    payload = Payload("ask", "Go.", cache=True, retry=Retry(base=0))
    async with stage({"ask": [ProviderUnavailable("down"), "one", "two"]}) as s:
        assert (await s.orch.run(payload)).output == "one"
        assert (await s.orch.run(payload)).output == "one"


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1.0, ValueError), ("memory", TypeError)])
async def test_what_is_no_cache_is_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="cache="):
        Orchestrator(providers=[ScriptedProvider({})], model=MODEL, cache=wrong)
