"""Runs that another process made are read without its code."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import BadRequest, CallStarted, CodeMissing, Orchestrator, Payload, Price, Workflow, tool
from llmorch.testing import ScriptedProvider

pytestmark = pytest.mark.anyio


class Facts(BaseModel):
    title: str


class Numbers(BaseModel):
    numbers: set[int]


@tool
def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}"


def doubled(facts: Facts, given: Numbers) -> Numbers:
    return Numbers(numbers={number * 2 for number in given.numbers})


def workflow() -> Workflow[Numbers]:
    wf = Workflow("wf")
    given = wf.input("given", Numbers)
    facts = wf.add(Payload("facts", "F {{ given }}", output=Facts, tools=[look]))
    return wf.returns(wf.add(doubled, facts=facts, given=given))


async def begun(url: str) -> str:
    provider = ScriptedProvider({"facts": ['{"title": "T"}']})
    async with Orchestrator(url, providers=[provider], model="scripted:m") as orch:
        run = await orch.run(workflow(), given={"numbers": [3]})
        assert run.output == Numbers(numbers={6})
        return run.id


async def test_a_run_is_read_as_plain_data_where_its_code_is_not_at_hand(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run_id = await begun(url)
    async with Orchestrator(url) as orch:
        run = await orch.attach(run_id).result()
        assert run.output == {"numbers": [6]}
        assert run["facts"] == {"title": "T"}
        assert run.steps["facts"].messages[0].content == 'F {"numbers": [3]}'
        assert "succeeded" in run.report()


async def test_with_the_workflow_its_values_are_typed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run_id = await begun(url)
    async with Orchestrator(url) as orch:
        run = await orch.get(run_id, workflow=workflow())
        assert run.output == Numbers(numbers={6})
    async with Orchestrator(url, workflows=[workflow()]) as orch:
        assert (await orch.get(run_id))["facts"] == Facts(title="T")


async def test_what_needs_code_says_all_that_is_missing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run_id = await begun(url)
    async with Orchestrator(url) as orch:
        with pytest.raises(CodeMissing) as caught:
            await orch.fork(run_id)
    for name in ("Numbers", "Facts", "look", "doubled"):
        assert name in str(caught.value)
    assert "Orchestrator(workflows=[...])" in str(caught.value)


async def test_a_call_whose_end_is_unknown_shows_what_it_may_have_cost(tmp_path: Path) -> None:
    provider = ScriptedProvider({"facts": ['{"title": "T"}']})
    prices = {"scripted:m": Price(input=2, output=8)}
    async with Orchestrator(
        f"sqlite:///{tmp_path}/runs.db", providers=[provider], model="scripted:m", prices=prices
    ) as orch:
        handle = await orch.start(workflow(), given={"numbers": [3]})
        (started,) = [event async for event in handle.events() if isinstance(event, CallStarted)]
    assert started.estimate is not None
    assert Decimal("0.06") < started.estimate < Decimal("0.07"), "the answer's bound of 8 192 tokens, and the prompt"


@pytest.mark.parametrize("is_kept", [False, True], ids=["memory", "sqlite"])
async def test_a_list_tells_what_each_run_used_and_cost_when_it_last_ended(tmp_path: Path, *, is_kept: bool) -> None:
    answers = {"one": "1", "other": [BadRequest("not so"), "2"], "free": "3"}
    provider = ScriptedProvider(answers)
    store = f"sqlite:///{tmp_path}/runs.db" if is_kept else "memory"
    prices = {"scripted:m": Price(input=1, output=2)}
    async with Orchestrator(store, providers=[provider], model="scripted:m", prices=prices) as orch:
        wf: Workflow[Any] = Workflow("two")
        wf.add(Payload("other", "And of {{ one }}"), one=wf.add(Payload("one", "Tell me of tea")))
        failed = await orch.run(wf)
        (listed,) = await orch.runs()
        assert (listed.status, listed.usage, listed.cost) == ("failed", failed.usage, failed.cost)
        assert listed.usage is not None
        assert listed.usage.requests == 2
        assert listed.cost
        done = await (await orch.resume(failed.id)).result()
        (listed,) = await orch.runs("two", "succeeded")
        assert (listed.usage, listed.cost) == (done.usage, done.cost)
        assert done.usage.requests == 3
        asking: Workflow[Any] = Workflow("asking")
        asking.ask("ask", "Which?")
        waiting = await (await orch.start(asking)).result()
        (listed,) = await orch.runs(status="waiting")
        assert (listed.id, listed.usage, listed.cost) == (waiting.id, None, None)


async def test_a_run_without_a_price_is_listed_with_what_it_used(tmp_path: Path) -> None:
    provider = ScriptedProvider({"one": "1"})
    async with Orchestrator(f"sqlite:///{tmp_path}/runs.db", providers=[provider], model="scripted:m") as orch:
        run = await orch.run(Payload("one", "Tell me of tea"))
        (listed,) = await orch.runs()
        assert (listed.usage, listed.cost) == (run.usage, None)
