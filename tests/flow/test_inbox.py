"""What others leave for a run: a wish to stop it, and answers that were paid for by an owner who lost it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anyio
import pytest

from llmorch import (
    Budget,
    BudgetExceeded,
    CallFinished,
    CallStarted,
    ClaimLost,
    Default,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    RunCancelRequested,
    RunResumed,
    StepSucceeded,
    Workflow,
    each,
    optional,
)
from llmorch.event_lines import to_line
from llmorch.ports import InboxItem, ProviderResponse, Usage
from llmorch.pricing import Price
from llmorch.testing import Reply
from tests.flow.elsewhere import SharedStore, dying, process, whole
from tests.flow.stage import Stage, kinds

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)
PRICES = {"scripted:m": Price(input=Decimal(1_000_000), output=Decimal(1_000_000))}  # a dollar a token


def answer(text: str, tokens: int = 10) -> ProviderResponse:
    return ProviderResponse(text, (), Usage(tokens, 0, requests=1), "stop", "m")


def asking(**options: Any) -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns(wf.add(Payload("ask", "Go."), **options))


# A wish to stop


@asynccontextmanager
async def two(script: dict[str, object], **options: Any) -> AsyncIterator[tuple[Stage, Stage]]:
    """Two processes on one store; the first answers from the script."""
    here = SharedStore("a")
    async with process(here, script, **options) as a, process(SharedStore("b", of=here), {}, **options) as b:
        yield a, b


@pytest.mark.parametrize("waited", [0.01, 0.3, 0.5, 0.7, 3.0, 61.25])
async def test_a_run_that_is_idle_in_a_long_call_stops_within_a_second(waited: float) -> None:
    async with two({"ask": Reply("one", 1_000)}) as (a, b):
        handle = await a.orch.start(asking())
        await anyio.sleep(waited)
        begun = anyio.current_time()
        await b.orch.attach(handle.id).cancel()
        assert anyio.current_time() - begun < 1.2
        run = await handle.result()
        assert (run.status, run.steps["ask"].status) == ("cancelled", "cancelled")
        assert kinds(await a.log(run)).count("RunCancelRequested") == 1
        assert await a.store.inbox(handle.id) == []
        assert (await b.orch.attach(handle.id).result()).status == "cancelled"


async def test_a_run_that_commits_all_the_time_is_stopped_too() -> None:
    async with two({"ask": Reply("one", 0.3)}) as (a, b):
        wf: Workflow[Any] = Workflow("w")
        wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each(list(range(200))), concurrency=1))
        handle = await a.orch.start(wf)
        await anyio.sleep(5)
        begun = anyio.current_time()
        await b.orch.attach(handle.id).cancel()
        assert anyio.current_time() - begun < 1.2
        assert (await handle.result()).status == "cancelled"


async def test_every_run_is_stopped_alone() -> None:
    async with two({"ask": Reply("one", 20)}) as (a, b):
        handles = [await a.orch.start(asking()) for _ in range(5)]
        await anyio.sleep(2)
        await b.orch.attach(handles[3].id).cancel()
        statuses = [(await handle.result()).status for handle in handles]
        assert statuses == ["succeeded"] * 3 + ["cancelled", "succeeded"]


async def test_two_may_ask_for_the_same() -> None:
    async with two({"ask": Reply("one", 1_000)}) as (a, b):
        handle = await a.orch.start(asking())
        await anyio.sleep(1)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(b.orch.attach(handle.id).cancel)
        await b.orch.attach(handle.id).cancel()
        assert (await handle.result()).status == "cancelled"
        assert sum(isinstance(event, RunCancelRequested) for event in await a.log(handle.id)) == 1


async def test_a_run_that_lost_its_process_is_cancelled_where_its_code_is() -> None:
    wf = asking()
    store, run_id = await dying(wf, {"ask": "one"}, when=lambda e: isinstance(e, CallStarted))
    async with process(store, {"ask": "two"}, workflows=[wf], recover=False) as s:
        await s.orch.attach(run_id).cancel()
        run = await s.orch.get(run_id)
        assert (run.status, s.asked) == ("cancelled", [])
        assert [row.status for row in await s.orch.runs()] == ["cancelled"]


async def test_a_wish_that_nobody_could_fulfil_waits_for_who_takes_the_run_up() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(lambda ask: ask, name="same", ask=wf.add(Payload("ask", "Go."))))
    store, run_id = await dying(wf, {"ask": "one"}, when=lambda e: isinstance(e, CallStarted))
    async with process(SharedStore("c", of=store), {}, recover=False) as s:
        begun = anyio.current_time()
        await s.orch.attach(run_id).cancel()
        assert anyio.current_time() - begun < 1, "nobody will stop it soon"
    async with process(store, {"ask": "two"}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, s.asked) == ("cancelled", [])


async def test_a_wish_that_came_when_the_run_had_ended_does_not_stop_it_later() -> None:
    wf = Workflow.of(Payload("ask", "Go.", retry=ONCE), name="w")
    store, run_id = await whole(wf, {"ask": ProviderUnavailable("down")})
    await store.post(run_id, InboxItem("cancel", call=1))  # its asker saw it running a moment ago
    async with process(store, {"ask": Reply("one", 5)}, workflows=[wf], recover=False) as s:
        run = await (await s.orch.resume(run_id)).result()
        assert (run.status, run.output) == ("succeeded", "one")
        assert await store.inbox(run_id) == []


async def test_a_cancelled_run_that_is_resumed_can_be_cancelled_again() -> None:
    async with two({"ask": Reply("one", 50)}) as (a, b):
        handle = await a.orch.start(asking())
        for _ in range(3):
            await anyio.sleep(1)
            await b.orch.attach(handle.id).cancel()
            assert (await b.orch.attach(handle.id).result()).status == "cancelled"
            handle = await a.orch.resume(handle.id)
        assert (await handle.result()).output == "one"


async def test_of_a_run_that_has_ended_nothing_changes() -> None:
    async with two({"ask": "one"}) as (a, b):
        run = await a.orch.run(asking())
        await b.orch.attach(run.id).cancel()
        assert (await b.orch.attach(run.id).result()).status == "succeeded"
        assert await a.store.inbox(run.id) == []


async def test_a_wake_is_taken_up_and_changes_nothing() -> None:
    async with two({"ask": Reply("one", 5)}) as (a, _):
        handle = await a.orch.start(asking())
        await anyio.sleep(1)
        await a.store.post(handle.id, InboxItem("wake"))
        assert (await handle.result()).output == "one"
        assert await a.store.inbox(handle.id) == []


async def test_what_an_owner_does_not_know_stays_and_harms_nothing() -> None:
    async with two({"ask": Reply("one", 5)}) as (a, _):
        handle = await a.orch.start(asking())
        await anyio.sleep(1)
        await a.store.post(handle.id, InboxItem("gift", data={"x": 1}))
        assert (await handle.result()).output == "one"
        assert [item.kind for item in await a.store.inbox(handle.id)] == ["gift"]


# Answers that come late


@dataclass
class Taken:
    """A run that one process lost, whose call the other sends again."""

    old: Stage
    new: Stage
    run_id: str


@asynccontextmanager
async def taken(
    workflow: Workflow[Any],
    first: dict[str, object],
    then: dict[str, object],
    *,
    at: float = 1.0,
    by: str = "takeover",
    start: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Taken]:
    """After so many seconds another process takes the run, while the first goes on in its call."""
    here = SharedStore("a")
    async with process(here, first, recover=False, **options) as a:
        handle = await a.orch.start(workflow, **(start or {}))
        await anyio.sleep(at)
        there = SharedStore("b", of=here)
        async with process(there, then, recover=False, workflows=[workflow], **options) as b:
            if by == "resume":
                here.disown(handle.id)
            await getattr(b.orch, by)(handle.id)
            yield Taken(a, b, handle.id)


async def test_an_answer_that_comes_while_it_is_asked_for_again_is_taken() -> None:
    first, then = {"ask": Reply(answer("old", 7), 5)}, {"ask": Reply("new", 100)}
    async with taken(asking(), first, then) as t:
        begun = anyio.current_time()
        run = await t.new.orch.attach(t.run_id).result()
        assert (run.status, run.output) == ("succeeded", "old")
        assert anyio.current_time() - begun < 6, "the second call was stopped"
        log = await t.new.log(t.run_id)
        assert kinds(log) == [
            "RunStarted", "StepStarted ask", "CallStarted ask", "RunResumed", "StepStarted ask", "CallStarted ask",
            "CallFinished ask", "StepSucceeded ask", "RunFinished",
        ]  # fmt: skip
        end = next(event for event in log if isinstance(event, CallFinished))
        assert (end.call, end.usage) == (1, Usage(7, 0, requests=1))
        assert run.usage.requests == 2
        assert run.usage.input_tokens == 7
        assert run.unpriced_calls >= 1, "what the stopped call cost nobody knows"
        assert await t.new.store.inbox(t.run_id) == []
        assert (await t.old.orch.attach(t.run_id).result()).output == "old", (
            "who asks afterwards sees what became of it"
        )


async def test_what_depends_on_it_goes_on_with_the_late_answer() -> None:
    wf = Workflow.of(Payload("ask", "Go."), Payload("next", "On: {{ ask }}"), name="w")
    async with taken(wf, {"ask": Reply("old", 5)}, {"ask": Reply("new", 100), "next": "done"}) as t:
        run = await t.new.orch.attach(t.run_id).result()
        assert (run["ask"], run.output) == ("old", "done")
        assert t.new.prompts("next") == ["On: old"]
        assert t.old.asked == ["ask"]


async def test_an_answer_that_comes_before_the_step_is_due_saves_the_second_call() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("slow", "Wait."))
    wf.add(Payload("ask", "Go."))
    wf.returns([Node("slow"), Node("ask")])
    first: dict[str, object] = {"slow": Reply("s", 1_000), "ask": Reply(answer("old", 7), 5)}
    then: dict[str, object] = {"slow": Reply("s", 20), "ask": "new"}
    here = SharedStore("a")
    async with process(here, first, recover=False) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        here.disown(handle.id)
        async with process(SharedStore("b", of=here), then, recover=False, workflows=[wf], concurrency=1) as b:
            await b.orch.resume(handle.id)
            run = await b.orch.attach(handle.id).result()
            assert run.output == ["s", "old"]
            assert b.asked == ["slow"]
            assert run.usage.requests == 3


async def test_an_answer_that_was_left_before_the_run_is_taken_up_is_its_result() -> None:
    here = SharedStore("a")
    wf = asking()
    async with process(here, {"ask": Reply(answer("old", 7), 5)}, recover=False, prices=PRICES) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        here.disown(handle.id)
        here._logs[handle.id].epoch += 1  # somebody claimed it, and died before it wrote anything
        with pytest.raises(ClaimLost):
            await handle.result()
        assert [(item.kind, item.step, item.call) for item in await here.inbox(handle.id)] == [("late", "ask", 1)]
    async with process(SharedStore("b", of=here), {"ask": "new"}, workflows=[wf], prices=PRICES) as b:
        run = await b.orch.attach(handle.id).result()
        assert (run.output, b.asked) == ("old", [])
        assert (run.cost, run.unpriced_calls, run.usage) == (Decimal(7), 0, Usage(7, 0, requests=1))
        assert await here.inbox(handle.id) == []


async def test_an_answer_that_is_known_is_no_unknown_one() -> None:
    here = SharedStore("a")
    wf = asking(on_unknown="fail")
    async with process(here, {"ask": Reply("old", 5)}, recover=False) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        here.disown(handle.id)
        here._logs[handle.id].epoch += 1
        with pytest.raises(ClaimLost):
            await handle.result()
    async with process(SharedStore("b", of=here), {"ask": "new"}, workflows=[wf]) as b:
        assert (await b.orch.attach(handle.id).result()).output == "old"


async def test_an_answer_to_a_step_that_is_done_is_only_paid_for() -> None:
    wf = Workflow.of(Payload("ask", "Go."), Payload("next", "On: {{ ask }}"), name="w")
    first, then = {"ask": Reply(answer("old", 7), 10)}, {"ask": answer("new", 3), "next": Reply(answer("done", 1), 50)}
    async with taken(wf, first, then, prices=PRICES) as t:
        run = await t.new.orch.attach(t.run_id).result()
        assert (run["ask"], run.output) == ("new", "done")
        assert (run.cost, run.unpriced_calls) == (Decimal(11), 0)
        assert (run.usage.requests, run.usage.input_tokens) == (3, 11)
        assert [call.usage.input_tokens for call in run.steps["ask"].calls if call.usage] == [7, 3]
        assert sum(isinstance(event, StepSucceeded) for event in await t.new.log(t.run_id)) == 2


async def test_an_answer_to_a_step_that_has_failed_is_only_paid_for() -> None:
    wf: Workflow[Any] = Workflow("w")
    ask = wf.add(Payload("ask", "Go."), on_unknown="fail", on_error=Default("none"))
    wf.returns(wf.add(Payload("next", "On: {{ ask }}"), ask=ask))
    first, then = {"ask": Reply(answer("old", 7), 10)}, {"next": Reply(answer("done", 1), 50)}
    async with taken(wf, first, then, prices=PRICES) as t:
        run = await t.new.orch.attach(t.run_id).result()
        assert (run.status, t.new.prompts("next"), run.cost) == ("partial", ["On: none"], Decimal(8))


async def test_an_answer_whose_step_never_comes_is_paid_for_all_the_same() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("bad", "Fail.", retry=ONCE))
    wf.add(Payload("ask", "Go."))
    wf.returns([Node("bad"), Node("ask")])
    first = {"bad": Reply("never", 1_000), "ask": Reply(answer("old", 7), 3)}
    then = {"bad": Reply(ProviderUnavailable("down"), 10)}
    here = SharedStore("a")
    async with process(here, first, recover=False, prices=PRICES) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        here.disown(handle.id)
        there = SharedStore("b", of=here)
        async with process(there, then, workflows=[wf], recover=False, prices=PRICES, concurrency=1) as b:
            run = await (await b.orch.resume(handle.id)).result()
            assert (run.status, b.asked) == ("failed", ["bad"])
            assert run.priced_cost == Decimal(7)
            assert run.usage.input_tokens == 7


async def test_of_a_map_each_item_takes_its_own_answer() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each([1, 2, 3])))
    first: dict[str, object] = {
        "ask[0]": Reply("old 0", 1_000), "ask[1]": Reply("old 1", 5), "ask[2]": Reply("old 2", 1_000)
    }  # fmt: skip
    async with taken(wf, first, {"ask": Reply("new", 50)}) as t:
        run = await t.new.orch.attach(t.run_id).result()
        assert run.output == ["new", "old 1", "new"]
        assert sorted(t.new.asked) == ["ask[0]", "ask[1]", "ask[2]"]


async def test_an_answer_to_another_question_is_not_taken() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("bad", "Fail.", retry=ONCE), on_error="skip")
    wf.returns(wf.add(Payload("ask", "With {{ bad }}."), bad=optional(Node("bad"), "nothing")))
    first = {"bad": ProviderUnavailable("down"), "ask": Reply(answer("old", 7), 4)}
    for wait_s in (1, 10):
        then = {"bad": Reply("good", wait_s), "ask": Reply("new", 20)}
        async with taken(wf, first, then, by="resume", prices=PRICES) as t:
            run = await t.new.orch.attach(t.run_id).result()
            assert (t.old.prompts("ask"), t.new.prompts("ask")) == (["With nothing."], ["With good."])
            assert (run.status, run.output) == ("succeeded", "new")
            assert run.steps["ask"].calls[0].cost == Decimal(7), "it was paid for all the same"
            assert await t.new.store.inbox(t.run_id) == []


async def test_an_unknown_call_becomes_known_in_the_budget() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("ask", "Go.", max_tokens=20))
    wf.returns(wf.add(Payload("next", "On: {{ ask }}", max_tokens=20)))
    first = {"ask": Reply(answer("old", 7), 10)}
    then = {"ask": Reply(answer("new", 3), 1), "next": Reply(answer("done", 1), 30)}
    async with taken(wf, first, then, start={"budget": Budget(tokens=500)}) as t:
        state = t.new.orch._queries.live[t.run_id].state
        await anyio.sleep(5)
        assert state.ledger is not None
        lost = state.ledger.tokens - 3
        assert lost >= 20, "what was set aside counts until the bill comes"
        run = await t.new.orch.attach(t.run_id).result()
        assert (state.ledger.tokens, state.ledger.calls) == (11, 3)
        assert run.usage.total_tokens == 11


async def test_an_answer_that_is_taken_leaves_the_budget_right() -> None:
    wf = Workflow.of(Payload("ask", "Go.", max_tokens=20), name="w")
    first, then = {"ask": Reply(answer("old", 7), 5)}, {"ask": Reply("new", 100)}
    async with taken(wf, first, then, start={"budget": Budget(tokens=500)}) as t:
        state = t.new.orch._queries.live[t.run_id].state
        await t.new.orch.attach(t.run_id).result()
        assert state.ledger is not None
        assert state.ledger.calls == 2
        assert not state.ledger.is_open
        assert state.ledger.tokens >= 27, "the bill of the first, and what was set aside for the one that was stopped"


async def test_a_budget_that_began_at_the_resume_sees_the_late_bill() -> None:
    wf = Workflow.of(Payload("ask", "Go.", max_tokens=20), Payload("next", "On: {{ ask }}", max_tokens=20), name="w")
    here = SharedStore("a")
    async with process(here, {"ask": Reply(answer("old", 700), 10)}, recover=False) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        here.disown(handle.id)
        then = {"ask": Reply(answer("new", 3), 20), "next": answer("done", 1)}
        async with process(SharedStore("b", of=here), then, workflows=[wf], recover=False) as b:
            run = await (await b.orch.resume(handle.id, budget=Budget(tokens=600))).result()
            assert run["ask"] == "old"
            assert isinstance(run.error, BudgetExceeded), "700 of 600 tokens are spent"


async def test_a_second_takeover_adopts_what_both_lost() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each([1, 2])))
    here = SharedStore("a")
    slow = Reply("never", 1_000)
    async with process(here, {"ask[0]": Reply("a0", 20), "ask[1]": slow}, recover=False) as a:
        handle = await a.orch.start(wf)
        await anyio.sleep(1)
        second = {"ask[0]": slow, "ask[1]": Reply("b1", 10)}
        async with process(SharedStore("b", of=here), second, workflows=[wf], recover=False) as b:
            await b.orch.takeover(handle.id)
            await anyio.sleep(1)
            third = {"ask": slow}
            async with process(SharedStore("c", of=here), third, workflows=[wf], recover=False) as c:
                run = await (await c.orch.takeover(handle.id)).result()
                assert run.output == ["a0", "b1"]
                assert [event.epoch for event in await c.log(run) if isinstance(event, RunResumed)] == [2, 3]


@pytest.mark.parametrize(
    "item",
    [
        InboxItem("late", "ask", 1, "no list"),
        InboxItem("late", "ask", 1, ["no line"]),
        InboxItem("late", "nonesuch", 1, [to_line(StepSucceeded("nonesuch", "x", run_id="r", seq=1))]),
        InboxItem("late", "many[0]", 1, [to_line(StepSucceeded("many[0]", "x", run_id="r", seq=1))]),
        InboxItem("late", "many[9]", 1, [to_line(StepSucceeded("many[9]", "x", run_id="r", seq=1))]),
        InboxItem("late", "ask", 9, [to_line(CallFinished("ask", 9, run_id="r", seq=1))]),
        InboxItem("late", "ask/x", 1, []),
        InboxItem("late", "", 0, None),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_harms_nothing(item: InboxItem) -> None:
    wf: Workflow[Any] = Workflow("w")
    ask = wf.add(Payload("ask", "Go."))
    many = wf.map(Payload("many", "{{ n }}", output=str), n=each([1, 2]), after=[ask])
    wf.returns([ask, many])
    script = {"ask": "one", "many": "m"}
    store, run_id = await dying(wf, script, when=lambda e: isinstance(e, CallStarted))
    await store.post(run_id, item)
    async with process(store, script, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, run.output) == ("succeeded", ["one", ["m", "m"]])
        assert await store.inbox(run_id) == []


async def test_an_answer_that_comes_while_the_run_goes_elsewhere_stays_for_it() -> None:
    wf = asking()
    async with taken(wf, {"ask": Reply("old", 15)}, {"ask": Reply("new", 1_000)}) as t:
        await anyio.sleep(1)
    # The second has left, ten seconds after it was told to; the first has left before its answer came.
    async with process(SharedStore("c", of=t.new.store), {"ask": "third"}, workflows=[wf]) as c:  # type: ignore[arg-type]
        run = await c.orch.attach(t.run_id).result()
        assert run.output in ("old", "third")
        assert (c.asked == []) == (run.output == "old")


async def test_the_log_of_a_run_with_late_answers_folds_to_the_same_state() -> None:
    wf = Workflow.of(Payload("ask", "Go."), Payload("next", "On: {{ ask }}"), name="w")
    for first_s, then_s in ((5, 100), (10, 1)):
        first = {"ask": Reply(answer("old", 7), first_s)}
        then = {"ask": Reply(answer("new", 3), then_s), "next": Reply(answer("done", 1), 50)}
        async with taken(wf, first, then, prices=PRICES) as t:
            live = t.new.orch._queries.live[t.run_id].state
            await t.new.orch.attach(t.run_id).result()
            read = (await t.old.orch.get(t.run_id, workflow=wf))._state
            assert {path: (s.status, s.value) for path, s in read.steps.items()} == {
                path: (s.status, s.value) for path, s in live.steps.items()
            }
            assert (read.usage, read.priced_cost, read.unpriced_calls) == (
                live.usage, live.priced_cost, live.unpriced_calls,
            )  # fmt: skip
