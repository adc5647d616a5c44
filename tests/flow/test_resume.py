"""Resume: recorded results are taken as they are, what failed or was cut runs again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from llmorch import (
    Budget,
    BudgetExceeded,
    Default,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    RunNotFound,
    RunResumed,
    ToolStarted,
    Workflow,
    each,
    optional,
    tool,
)
from llmorch.engine.state.resume import folded
from llmorch.ports import ProviderResponse, ToolCall, Usage
from tests.flow.stage import Stage, kinds, stage

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)


class Flaky:
    """Fails so many times, then gives its value; counts how often it was called."""

    def __init__(self, fails: int, value: Any = "well") -> None:
        self.left = fails
        self.value = value
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise ValueError("not yet")
        return self.value


def single(flaky: Flaky) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("w")
    return workflow.returns(workflow.add(lambda: flaky(), name="step"))


def counted(log: list[str], name: str) -> Callable[[], str]:
    async def work() -> str:
        log.append(name)
        return name

    work.__name__ = name
    return work


async def same_when_read(s: Stage, run_id: str) -> None:
    """What a reader folds from the log is what the run that was carried out shows."""
    run = await s.orch.get(run_id)
    again = folded(run._state.definition, await s.log(run_id))
    assert {path: (step.status, step.value) for path, step in again.steps.items()} == {
        path: (step.status, step.value) for path, step in run._state.steps.items()
    }
    assert (again.usage, again.unpriced_calls) == (run._state.usage, run._state.unpriced_calls)


async def test_what_failed_runs_again_and_what_is_recorded_does_not() -> None:
    ran: list[str] = []
    flaky = Flaky(1)
    wf: Workflow[Any] = Workflow("w")
    first = wf.add(counted(ran, "first"))
    middle = wf.add(lambda first: flaky(), name="middle")
    wf.returns(wf.add(lambda first, middle: f"{first} and {middle}", name="last"))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        done = await (await s.orch.resume(run.id)).result()
        assert (done.status, done.output) == ("succeeded", "first and well")
        assert (ran, flaky.calls) == (["first"], 2)
        assert done.id == run.id
        resumed = next(event for event in await s.log(run) if isinstance(event, RunResumed))
        assert (resumed.reset, resumed.epoch) == (("middle",), 2)
        await same_when_read(s, run.id)
    assert first.name == "first"
    assert middle.name == "middle"


async def test_a_run_that_fails_again_can_be_taken_up_again() -> None:
    flaky = Flaky(3)
    async with stage() as s:
        run = await s.orch.run(single(flaky))
        for _ in range(2):
            again = await (await s.orch.resume(run.id)).result()
            assert again.status == "failed"
        assert (await (await s.orch.resume(run.id)).result()).output == "well"
        assert flaky.calls == 4
        log = await s.log(run)
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert kinds(log).count("RunResumed") == 3
        await same_when_read(s, run.id)


async def test_of_a_run_that_succeeded_nothing_changes() -> None:
    async with stage({"ask": "one"}) as s:
        run = await s.orch.run(Payload("ask", "Go."))
        before = len(await s.log(run))
        assert (await (await s.orch.resume(run.id)).result()).output == "one"
        assert len(await s.log(run)) == before
        with pytest.raises(RunNotFound):
            await s.orch.resume("nonesuch")


async def test_a_run_that_is_carried_out_here_goes_on_as_it_is() -> None:
    async with stage() as s:

        async def long() -> None:
            await anyio.sleep(100)

        handle = await s.orch.start(Workflow.of(long, name="long"))
        await anyio.sleep(1)
        again = await s.orch.resume(handle.id)
        await again.cancel()
        log = [event async for event in handle.events()]
        assert not any(isinstance(event, RunResumed) for event in log)


async def test_only_the_failed_items_of_a_map_run_again() -> None:
    left = {2, 4}
    ran: list[int] = []

    def work(n: int) -> int:
        ran.append(n)
        if n in left:
            left.discard(n)
            raise ValueError("not yet")
        return n * 10

    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(work, n=each([1, 2, 3, 4, 5])))
    async with stage(concurrency=1) as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        while run.status == "failed":
            run = await (await s.orch.resume(run.id)).result()
        assert run.output == [10, 20, 30, 40, 50]
        assert sorted(ran) == [1, 2, 2, 3, 4, 4, 5]
        await same_when_read(s, run.id)


async def test_inside_a_nested_workflow_only_the_failed_step_runs_again() -> None:
    ran: list[str] = []
    flaky = Flaky(1)
    inner: Workflow[Any] = Workflow("inner")
    inner.add(counted(ran, "one"))
    inner.returns(inner.add(lambda one: flaky() + one, name="two"))
    outer: Workflow[Any] = Workflow("outer")
    nested = outer.add(inner, name="nested")
    outer.returns(outer.add(lambda nested: nested.upper(), name="loud"))
    async with stage() as s:
        run = await s.orch.run(outer)
        assert run.status == "failed"
        run = await (await s.orch.resume(run.id)).result()
        assert (run.output, ran) == ("WELLONE", ["one"])
        await same_when_read(s, run.id)
    assert nested.name == "nested"


async def test_a_map_of_workflows_goes_on_inside_its_items() -> None:
    ran: list[str] = []
    left = {"b"}

    def prepare(word: str) -> str:
        ran.append(f"prepare {word}")
        return word

    def finish(prepare: str) -> str:
        ran.append(f"finish {prepare}")
        if prepare in left:
            left.discard(prepare)
            raise ValueError("not yet")
        return prepare.upper()

    inner: Workflow[Any] = Workflow("inner")
    inner.input("word", str)
    inner.add(prepare)
    inner.returns(inner.add(finish))
    outer: Workflow[Any] = Workflow("outer")
    outer.returns(outer.map(inner, word=each(["a", "b", "c"])))
    async with stage(concurrency=1) as s:
        run = await s.orch.run(outer)
        assert run.status == "failed"
        run = await (await s.orch.resume(run.id)).result()
        assert run.output == ["A", "B", "C"]
        assert sorted(ran) == sorted([f"prepare {w}" for w in "abc"] + [f"finish {w}" for w in "abc"] + ["finish b"])
        await same_when_read(s, run.id)


async def test_a_cancelled_run_goes_on_where_it_was() -> None:
    ran: list[str] = []

    async def slow() -> str:
        ran.append("slow")
        await anyio.sleep(10)
        return "slow"

    wf: Workflow[Any] = Workflow("w")
    wf.add(counted(ran, "quick"))
    wf.add(slow)
    wf.returns([Node("quick"), Node("slow")])
    async with stage() as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(1)
        await handle.cancel()
        assert (await handle.result()).status == "cancelled"
        run = await (await s.orch.resume(handle.id)).result()
        assert (run.status, run.output) == ("succeeded", ["quick", "slow"])
        assert ran == ["quick", "slow", "slow"]
        await same_when_read(s, run.id)


async def test_calls_that_were_made_stay_on_the_bill() -> None:
    down = ProviderUnavailable("down")
    good = ProviderResponse("ok", (), Usage(10, 5, requests=1), "stop", "m")
    async with stage({"one": good, "two": [down, good]}) as s:
        wf: Workflow[Any] = Workflow("w")
        one = wf.add(Payload("one", "Go."))
        wf.returns(wf.add(Payload("two", "On: {{ one }}", retry=ONCE)))
        run = await s.orch.run(wf)
        assert (run.status, run.usage.requests) == ("failed", 2)
        run = await (await s.orch.resume(run.id)).result()
        assert (run.status, run.usage.requests, run.usage.input_tokens) == ("succeeded", 3, 20)
        assert [call.call for call in run.steps["two"].calls] == [1, 2]
        assert len(s.provider.requests_of("one")) == 1
    assert one.name == "one"


async def test_a_larger_budget_lets_a_run_go_on() -> None:
    answer = ProviderResponse("ok", (), Usage(10, 5, requests=1), "stop", "m")
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each([1, 2, 3, 4]), concurrency=1))
    async with stage({"ask": answer}, concurrency=1) as s:
        run = await s.orch.run(wf, budget=Budget(calls=2))
        assert isinstance(run.error, BudgetExceeded)
        same = await (await s.orch.resume(run.id)).result()
        assert isinstance(same.error, BudgetExceeded)
        run = await (await s.orch.resume(run.id, budget=Budget(calls=4))).result()
        assert run.output == ["ok"] * 4
        assert len(s.asked) == 4


async def test_tools_that_have_run_are_not_run_again() -> None:
    ran: list[int] = []

    @tool
    def note(n: int) -> str:
        """Note."""
        ran.append(n)
        return f"noted {n}"

    def wish(n: int) -> ProviderResponse:
        return ProviderResponse("", (ToolCall(f"c{n}", "note", f'{{"n": {n}}}'),), Usage(1, 1), "tool_calls")

    script = [wish(1), wish(2), ProviderUnavailable("down"), "done"]
    async with stage({"ask": script}) as s:
        run = await s.orch.run(Payload("ask", "Go.", tools=[note], retry=ONCE))
        assert run.status == "failed"
        run = await (await s.orch.resume(run.id)).result()
        assert (run.output, ran) == ("done", [1, 2])
        assert [message.text for message in s.provider.requests[-1].messages if message.role == "tool"] == [
            "noted 1", "noted 2",
        ]  # fmt: skip
        assert sum(isinstance(event, ToolStarted) for event in await s.log(run)) == 2
        response = run.steps["ask"].response
        assert response is not None
        assert response.messages == s.provider.requests[-1].messages


async def test_bad_answers_from_before_are_not_shown_again() -> None:
    async with stage({"ask": ["x", "y", "7"]}) as s:
        run = await s.orch.run(Payload("ask", "A number.", output=int))
        assert run.status == "failed"
        run = await (await s.orch.resume(run.id)).result()
        assert run.output == 7
        assert len(s.provider.requests[-1].messages) == 1
        response = run.steps["ask"].response
        assert response is not None
        assert response.messages == s.provider.requests[-1].messages


async def test_an_absorbed_failure_on_which_a_result_rests_stays() -> None:
    flaky, last = Flaky(1), Flaky(1)
    wf: Workflow[Any] = Workflow("w")
    vote = wf.add(lambda: flaky(), name="vote", on_error=Default("none"))
    summed = wf.add(lambda vote: f"sum of {vote}", name="summed")
    wf.returns(wf.add(lambda summed: last() + summed, name="last"))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        run = await (await s.orch.resume(run.id)).result()
        assert (run.status, run.output) == ("partial", "wellsum of none")
        assert flaky.calls == 1
        await same_when_read(s, run.id)
    assert (vote.name, summed.name) == ("vote", "summed")


async def test_an_absorbed_failure_that_nobody_has_used_runs_again() -> None:
    flaky, last = Flaky(1), Flaky(1)
    wf: Workflow[Any] = Workflow("w")
    vote = wf.add(lambda: flaky(), name="vote", on_error="skip")
    reader = wf.add(lambda vote: vote, name="reader")
    wf.add(lambda: last(), name="other")
    wf.returns([optional(reader, "nothing"), Node("other")])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        run = await (await s.orch.resume(run.id)).result()
        assert (run.status, run.output) == ("succeeded", ["well", "well"])
        await same_when_read(s, run.id)
    assert vote.name == "vote"


async def test_events_go_on_in_one_log() -> None:
    flaky = Flaky(1)
    seen: list[int] = []
    async with stage(hooks=[lambda event: seen.append(event.seq or 0)]) as s:
        run = await s.orch.run(single(flaky))
        last = len(await s.log(run))
        handle = await s.orch.resume(run.id)
        after = [event.seq async for event in handle.events(after=last)]
        assert after == list(range(last + 1, last + 1 + len(after)))
        assert len(after) >= 3
    assert seen == sorted(set(seen)), "a hook sees each event once"
