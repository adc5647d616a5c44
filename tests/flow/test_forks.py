"""Fork: a new run that adopts every result whose fingerprint is unchanged, and asks for the rest."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace as changed
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from llmorch import (
    Block,
    Budget,
    BudgetExceeded,
    CodeMissing,
    Default,
    Event,
    InputInvalid,
    Node,
    Orchestrator,
    Payload,
    ProviderUnavailable,
    Retry,
    Run,
    RunNotFound,
    RunStarted,
    StepStarted,
    StepSucceeded,
    ValueRefused,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    first_of,
    optional,
)
from llmorch.definition.actions import PayloadAction
from llmorch.engine.fingerprints import fingerprint_or_none
from llmorch.stores.memory import MemoryStore
from llmorch.testing import Reply, ScriptedProvider, run_virtual
from tests.flow.built import build, person, provider_script
from tests.flow.described import Flow, Leaf
from tests.flow.elsewhere import SharedStore, cut, process, whole
from tests.flow.random_dags import flows
from tests.flow.stage import Stage, kinds, stage
from tests.flow.test_reference import INPUTS, PHASES

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)


def answers(request: Any) -> str:
    """A pure function of what is asked."""
    said = [message.text for message in request.messages]
    tuned = "" if request.settings.temperature is None else " warmer"
    return f"<{' / '.join(said)}{tuned}>"


ECHO: dict[str, object] = {"*": answers}


def talk(tone: str = "plain") -> Workflow[Any]:
    voice = Block("voice", "You write in a {{ tone }} tone.", role="system", defaults={"tone": tone})
    return Workflow.of(
        Payload("outline", "Outline {{ topic }}."),
        Payload("critique", voice, "Weak points of {{ outline }}."),
        Payload("aside", "A joke about {{ topic }}."),
        Payload("talk", "Write {{ outline }} without {{ critique }}, with {{ aside }}."),
        name="talk",
    )


def reviews(words: str = "Look at {{ part }}.") -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("reviews")
    parts = wf.input("parts", list[str])
    looks = wf.map(Payload("look", words), part=each(parts))
    return wf.returns(wf.add(Payload("sum", "All of {{ look | json }}."), look=looks))


async def forked(s: Stage, run: Run[Any], **options: Any) -> Run[Any]:
    """The fork's run; forgets what was asked before it."""
    s.provider.requests.clear()
    return await (await s.orch.fork(run.id, **options)).result()


def copied(events: Sequence[Event]) -> dict[str, str | None]:
    return {event.step: event.copied_from for event in events if isinstance(event, StepSucceeded)}


# What is adopted


async def test_of_an_unchanged_run_everything_is_adopted() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        before = await s.log(run)
        fork = await forked(s, run)
        assert fork.id != run.id
        assert (fork.status, fork.output, s.asked) == ("succeeded", run.output, [])
        assert {path: result.value for path, result in fork.steps.items()} == {
            path: result.value for path, result in run.steps.items()
        }
        assert fork.inputs == run.inputs
        log = await s.log(fork)
        assert isinstance(log[0], RunStarted)
        assert log[0].forked_from == run.id
        assert copied(log) == dict.fromkeys(["outline", "critique", "aside", "talk"], run.id)
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert await s.log(run) == before, "the old run is as it was"


async def test_what_is_adopted_costs_nothing() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await forked(s, run)
        assert fork.usage.requests == fork.usage.total_tokens == 0
        assert fork.cost == Decimal(0)
        assert all(not result.calls for result in fork.steps.values())


@pytest.mark.parametrize(
    ("workflow", "asked"),
    [
        (talk("warm"), ["critique", "talk"]),
        (talk().replace("aside", Payload("aside", "A pun on {{ topic }}.")), ["aside", "talk"]),
        (talk().replace("talk", Payload("talk", "Say {{ outline }}, {{ critique }}, {{ aside }}.")), ["talk"]),
        (talk().replace("outline", Payload("outline", "Sketch {{ topic }}.")), ["critique", "outline", "talk"]),
        (
            talk().replace("outline", Payload("outline", "Outline {{ topic }}.", temperature=1)),
            ["critique", "outline", "talk"],
        ),
        (talk().replace("outline", Payload("outline", "Outline {{ topic }}.", timeout=5, retry=ONCE)), []),
        (talk().replace("aside", Payload("aside", "A joke about {{ topic }}.", model="scripted:other")), ["aside"]),
    ],
)
async def test_only_the_cone_of_what_changed_is_asked(workflow: Workflow[Any], asked: list[str]) -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await forked(s, run, workflow=workflow)
        assert sorted(s.asked) == asked
        assert fork.usage.requests == len(asked)
        fresh = await s.orch.run(workflow, topic="tea")
        assert (fork.output, fork.status) == (fresh.output, "succeeded")


async def test_a_block_that_was_edited_is_asked_again_where_it_stands() -> None:
    workflow = talk().with_block(Block("voice", "You write {{ tone }}.", role="system", defaults={"tone": "short"}))
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        await forked(s, run, workflow=workflow)
        assert s.asked == ["critique", "talk"]


async def test_an_upstream_that_gives_the_same_again_changes_nothing_below() -> None:
    async with stage({"one": "same", "two": ["first", "second"]}) as s:
        old = Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")
        new = old.replace("one", Payload("one", "Go now."))
        run = await s.orch.run(old)
        fork = await forked(s, run, workflow=new)
        assert (s.asked, fork.output) == (["one"], "first")
        assert copied(await s.log(fork)) == {"one": None, "two": run.id}


async def test_a_step_that_is_new_is_asked_and_one_that_is_gone_is_not() -> None:
    async with stage(ECHO) as s:
        old = Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")
        new = Workflow.of(Payload("one", "Go."), Payload("three", "From: {{ one }}"), name="w")
        run = await s.orch.run(old)
        fork = await forked(s, run, workflow=new)
        assert (s.asked, fork.output) == (["three"], "<From: <Go.>>")


async def test_functions_are_adopted_as_long_as_their_code_is_the_same() -> None:
    ran: list[str] = []

    def flow(make: Any) -> Workflow[Any]:
        wf: Workflow[Any] = Workflow("w")
        wf.input("n", int)
        return wf.returns(wf.add(make, name="made"))

    def one(n: int) -> int:
        ran.append("one")
        return n + 1

    def two(n: int) -> int:
        ran.append("two")
        return n + 2

    async with stage() as s:
        run = await s.orch.run(flow(one), n=1)
        assert (await forked(s, run)).output == 2
        assert (await forked(s, run, workflow=flow(two))).output == 3
        assert (await forked(s, run, replace={"n": 1})).output == 2
        assert (await forked(s, run, replace={"n": 2})).output == 3
        assert ran == ["one", "two", "one"]


# What is replaced


async def test_a_replaced_value_is_taken_and_its_cone_asked() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await forked(s, run, replace={"critique": "mine"})
        assert (fork["critique"], s.asked) == ("mine", ["talk"])
        assert "without mine" in fork.output
        assert copied(await s.log(fork))["critique"] is None


async def test_a_replaced_input_asks_what_reads_it() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("one", "About {{ a }}."))
    wf.add(Payload("two", "About {{ b }}."))
    wf.returns([Node("one"), Node("two")])
    async with stage(ECHO) as s:
        run = await s.orch.run(wf, a="x", b="y")
        fork = await forked(s, run, replace={"b": "z"})
        assert (fork.output, s.asked, fork.inputs) == (["<About x.>", "<About z.>"], ["two"], {"a": "x", "b": "z"})


async def test_what_was_replaced_stays_replaced_in_a_fork_of_the_fork() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await forked(s, run, replace={"critique": "mine"})
        again = await forked(s, fork)
        assert (s.asked, again.output) == ([], fork.output)
        third = await forked(s, again, workflow=talk().replace("aside", Payload("aside", "A pun on {{ topic }}.")))
        assert (third["critique"], s.asked) == ("mine", ["aside", "talk"])
        other = await forked(s, third, replace={"critique": "yours"})
        assert (other["critique"], s.asked) == ("yours", ["talk"])
        asked_anew = await forked(s, third, workflow=talk("warm"))
        assert "critique" in s.asked, "its prompt is another now"
        assert asked_anew["critique"] != "mine"


async def test_a_replaced_step_whose_upstream_is_asked_again_keeps_its_value() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await forked(s, run, replace={"topic": "milk", "critique": "mine"})
        assert sorted(s.asked) == ["aside", "outline", "talk"]
        assert fork["critique"] == "mine"


async def test_a_map_is_replaced_as_a_whole() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(reviews(), parts=["a", "b"])
        fork = await forked(s, run, replace={"look": ["x", "y", "z"]})
        assert (fork["look"], s.asked) == (["x", "y", "z"], ["sum"])
        assert not [path for path in fork.steps if path.startswith("look[")]
        again = await forked(s, fork)
        assert (again.output, s.asked) == (fork.output, [])


async def test_a_nested_workflow_is_replaced_as_a_whole() -> None:
    inner = Workflow.of(Payload("one", "In."), Payload("two", "On: {{ one }}"), name="inner")
    outer: Workflow[Any] = Workflow("outer")
    nested = outer.add(inner, name="nested")
    outer.returns(outer.add(Payload("last", "With {{ x }}."), x=nested))
    async with stage(ECHO) as s:
        run = await s.orch.run(outer)
        fork = await forked(s, run, replace={"nested": "mine"})
        assert (fork.output, s.asked) == ("<With mine.>", ["last"])


async def test_an_item_and_a_step_inside_a_workflow_can_be_replaced() -> None:
    inner = Workflow.of(Payload("one", "In {{ n }}."), Payload("two", "On: {{ one }}"), name="inner")
    outer: Workflow[Any] = Workflow("outer")
    outer.returns(outer.map(inner, name="nested", n=each([1, 2])))
    async with stage(ECHO) as s:
        run = await s.orch.run(reviews(), parts=["a", "b"])
        fork = await forked(s, run, replace={"look[1]": "mine"})
        assert (fork["look"], s.asked) == (["<Look at a.>", "mine"], ["sum"])
        run = await s.orch.run(outer)
        fork = await forked(s, run, replace={"nested[1]/one": "mine"})
        assert (fork.output, s.asked) == (["<On: <In 1.>>", "<On: mine>"], ["nested[1]/two"])


async def test_several_are_replaced_at_once() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await forked(s, run, replace={"critique": "mine", "aside": "yours", "topic": "milk"})
        assert sorted(s.asked) == ["outline", "talk"]
        assert "without mine, with yours" in fork.output


class Facts(BaseModel):
    title: str
    count: int = 0


async def test_a_replaced_value_is_checked_against_the_type_of_its_step() -> None:
    wf: Workflow[Any] = Workflow("w")
    facts = wf.add(Payload("facts", "Facts.", output=Facts))
    wf.returns(wf.add(Payload("last", "On {{ t }}."), t=facts["title"]))
    async with stage({"facts": {"title": "old"}, "last": answers}) as s:
        run = await s.orch.run(wf)
        for value in (Facts(title="new"), {"title": "new"}, {"title": "new", "count": "3"}):
            fork = await forked(s, run, replace={"facts": value})
            assert fork.output == "<On new.>"
            assert fork["facts"].title == "new"
        for value in ("text", {"count": 1}, None, 7):
            with pytest.raises(InputInvalid, match="facts"):
                await s.orch.fork(run.id, replace={"facts": value})


# Maps


async def test_items_keep_their_results_when_one_is_put_before_them() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(reviews(), parts=["a", "b", "c"])
        fork = await forked(s, run, replace={"parts": ["new", "a", "b", "c"]})
        assert sorted(s.asked) == ["look[0]", "sum"]
        assert fork["look"] == [f"<Look at {part}.>" for part in ["new", "a", "b", "c"]]


@pytest.mark.parametrize(
    ("parts", "asked"),
    [
        (["c", "b", "a"], []),
        (["a"], []),
        ([], []),
        (["a", "a"], ["look[1]"]),
        (["x", "c", "y"], ["look[0]", "look[2]"]),
    ],
)
async def test_items_that_moved_or_went_are_not_asked(parts: list[str], asked: list[str]) -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(reviews(), parts=["a", "b", "c"])
        fork = await forked(s, run, replace={"parts": parts})
        assert sorted(set(s.asked) - {"sum"}) == asked
        assert fork["look"] == [f"<Look at {part}.>" for part in parts]


async def test_equal_items_each_take_a_result_of_their_own() -> None:
    count = iter(range(100))
    async with stage({"look": lambda _: f"sample {next(count)}", "sum": "s"}) as s:
        run = await s.orch.run(reviews(), parts=["b", "b", "a", "b", "b", "a"])
        old = run["look"]
        parts = ["b"] * 2 + ["a"] + ["b"] * 7 + ["a"]
        fork = await forked(s, run, replace={"parts": parts})
        looks = [path for path in s.asked if path.startswith("look")]
        assert len(looks) == 5, "nine items want what four gave, two what two gave"
        assert set(old) <= set(fork["look"]), "no sample is lost, and none is taken twice"
        assert len(set(fork["look"])) == len(parts)


async def test_items_of_a_map_of_workflows_keep_what_is_inside() -> None:
    inner = Workflow.of(Payload("one", "In {{ n }}."), Payload("two", "On: {{ one }}"), name="inner")
    outer: Workflow[Any] = Workflow("outer")
    outer.returns(outer.map(inner, name="nested", n=each(outer.input("ns", list[int]))))
    async with stage(ECHO) as s:
        run = await s.orch.run(outer, ns=[1, 2])
        fork = await forked(s, run, replace={"ns": [0, 1, 2]})
        assert s.asked == ["nested[0]/one", "nested[0]/two"]
        assert fork.output == [f"<On: <In {n}.>>" for n in range(3)]


# Runs that did not succeed


async def test_of_a_failed_run_that_was_mended_only_the_failed_part_is_asked() -> None:
    old = Workflow.of(
        Payload("one", "Go."), Payload("bad", "Broken {{ one }}.", retry=ONCE), Payload("last", "{{ bad }}"), name="w"
    )
    script: dict[str, object] = {"one": "first", "bad": [ProviderUnavailable("down"), "mended"], "last": "done"}
    for mended in (None, old.replace("bad", Payload("bad", "Whole {{ one }}."))):
        async with stage(script) as s:
            run = await s.orch.run(old)
            assert run.status == "failed"
            fork = await forked(s, run, workflow=mended)
            assert (fork.status, fork.output, s.asked) == ("succeeded", "done", ["bad", "last"])
            assert (await s.orch.get(run.id)).status == "failed"


async def test_of_a_cancelled_run_what_it_has_is_adopted() -> None:
    wf = Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")
    async with stage({"one": "first", "two": [Reply("slow", 100), "second"]}) as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(1)
        await handle.cancel()
        fork = await forked(s, await handle.result())
        assert (fork.output, s.asked) == ("second", ["two"])


async def test_a_run_that_goes_on_can_be_forked_as_far_as_it_has_come() -> None:
    wf = Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")
    async with stage({"one": "first", "two": [Reply("slow", 100), "second"]}) as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(1)
        fork = await (await s.orch.fork(handle.id)).result()
        assert (fork["one"], fork.output) == ("first", "second")
        assert s.asked == ["one", "two", "two"]
        assert (await handle.result()).output == "slow"


async def test_an_absorbed_failure_is_tried_again() -> None:
    wf: Workflow[Any] = Workflow("w")
    bad = wf.add(Payload("bad", "Fail.", retry=ONCE), on_error="skip")
    wf.returns(wf.add(Payload("last", "With {{ x }}."), x=optional(bad, "nothing")))
    async with stage({"bad": [ProviderUnavailable("down")] * 2 + ["well"], "last": answers}) as s:
        run = await s.orch.run(wf)
        assert run.status == "partial"
        same = await forked(s, run)
        assert (same.status, same.output, s.asked) == ("partial", run.output, ["bad"])
        well = await forked(s, run)
        assert (well.status, well.output) in (("partial", run.output), ("succeeded", "<With well.>"))


# Every shape


async def test_guards_are_asked_anew_over_what_is_adopted() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.input("want", bool)
    wf.add(Payload("one", "Go."))
    wf.add(Payload("two", "On: {{ one }}"), when="want")
    wf.returns(first_of(Node("two"), Node("one")))
    async with stage(ECHO) as s:
        run = await s.orch.run(wf, want=False)
        assert (await forked(s, run)).output == "<Go.>"
        assert s.asked == []
        assert (await forked(s, run, replace={"want": True})).output == "<On: <Go.>>"
        assert s.asked == ["two"]
        full = await s.orch.run(wf, want=True)
        fork = await forked(s, full, replace={"want": False})
        assert (fork.output, s.asked, fork.steps["two"].status) == ("<Go.>", [], "skipped")


async def test_a_quorum_is_decided_as_it_was() -> None:
    wf: Workflow[Any] = Workflow("w")
    votes = [wf.add(Payload(f"v{n}", "Vote.", seed=n), on_error="skip") for n in range(4)]
    wf.returns(wf.add(Payload("judge", "Of {{ votes | json }}."), votes=first_n(votes, 2)))
    script: dict[str, object] = {f"v{n}": Reply(f"vote {n}", delay) for n, delay in enumerate([30, 5, 20, 10])}
    async with stage({**script, "judge": answers}) as s:
        run = await s.orch.run(wf)
        assert run.output == '<Of ["vote 1","vote 3"].>'
        fork = await forked(s, run)
        assert (fork.output, s.asked) == (run.output, [])
        again = await forked(s, run, workflow=wf.replace("v1", Payload("v1", "Vote now.", seed=1)))
        assert s.asked[0] == "v1"
        assert again.output == '<Of ["vote 2","vote 3"].>'


async def test_what_a_quorum_cancelled_stays_out() -> None:
    wf: Workflow[Any] = Workflow("w")
    votes = [wf.add(Payload(f"v{n}", "Vote.", seed=n), on_error="skip") for n in range(3)]
    wf.returns(first_n(votes, 2, cancel_rest=True))
    script: dict[str, object] = {f"v{n}": Reply(f"vote {n}", delay) for n, delay in enumerate([5, 500, 10])}
    async with stage(script) as s:
        run = await s.orch.run(wf)
        fork = await forked(s, run)
        assert (fork.output, s.asked) == (["vote 0", "vote 2"], [])
        assert fork.steps["v1"].status == "cancelled"


async def test_choices_defaults_and_nesting_are_adopted() -> None:
    inner: Workflow[Any] = Workflow("inner")
    inner.input("x", str)
    inner.add(Payload("a", "A {{ x }}.", retry=ONCE), on_error=Default("none"))
    inner.returns(inner.add(Payload("b", "B {{ a }}.")))
    wf: Workflow[Any] = Workflow("w", on_error="skip")
    bad = wf.add(Payload("bad", "Fail.", retry=ONCE))
    good = wf.add(inner, name="good", x="y")
    wf.returns(wf.add(Payload("last", "{{ c }} {{ o }}."), c=first_of(bad, good), o=optional(bad, "-")))
    script: dict[str, object] = {"*": answers, "bad": ProviderUnavailable("down"), "a": ProviderUnavailable("down")}
    async with stage(script) as s:
        run = await s.orch.run(wf)
        assert (run.status, run.output) == ("partial", "<<B none.> -.>")
        fork = await forked(s, run)
        assert (fork.status, fork.output) == ("partial", run.output)
        assert sorted(s.asked) == ["bad", "good/a"], "what had failed is tried again, what rests on it is not"


async def test_one_step_of_a_bare_action_is_adopted() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(Payload("ask", "About {{ x }}."), x="tea")
        assert (await forked(s, run)).output == run.output
        assert s.asked == []


# Budgets, limits, options


async def test_a_budget_counts_only_what_the_fork_asks() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea", budget=Budget(calls=4))
        fork = await forked(s, run, workflow=talk("warm"))
        assert fork.status == "succeeded", "it has the budget of the run, and none of it is spent"
        assert fork._state.ledger is not None
        assert (fork._state.ledger.budget, fork._state.ledger.calls) == (Budget(calls=4), 2)
        small = await forked(s, run, workflow=talk("warm"), budget=Budget(calls=1))
        assert isinstance(small.error, BudgetExceeded)
        assert (await forked(s, run, budget=Budget(calls=1))).status == "succeeded"
        with pytest.raises(TypeError, match="budget"):
            await s.orch.fork(run.id, budget=3)  # type: ignore[arg-type]


async def test_a_run_without_a_budget_takes_that_of_the_orchestrator() -> None:
    store = SharedStore()
    async with process(store, ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
    async with process(store, ECHO, budget=Budget(calls=1)) as s:
        fork = await (await s.orch.fork(run.id, workflow=talk("warm"))).result()
        assert isinstance(fork.error, BudgetExceeded)


async def test_tags_metadata_and_timeout_go_with_it() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), {"topic": "tea"}, tags=["a"], metadata={"k": 1}, timeout=50)
        fork = await forked(s, run)
        (started,) = (event for event in await s.log(fork) if isinstance(event, RunStarted))
        assert (started.tags, started.metadata, started.timeout) == (("a",), {"k": 1}, 50)
        assert {row.id for row in await s.orch.runs(tag="a")} == {run.id, fork.id}


async def test_a_hook_sees_every_event_of_a_fork() -> None:
    seen: list[Event] = []
    async with stage(ECHO, hooks=[seen.append]) as s:
        run = await s.orch.run(talk(), topic="tea")
        seen.clear()
        fork = await forked(s, run, replace={"critique": "mine"})
        log = await s.log(fork)
    assert kinds([event for event in seen if event.run_id == fork.id]) == kinds(log)


async def test_the_events_of_a_fork_can_be_watched_from_its_start() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        handle = await s.orch.fork(run.id, workflow=talk("warm"))
        seen = [event async for event in handle.events() if event.seq is not None]
        assert seen == list(await s.log(handle.id))


# What is refused


async def test_what_cannot_be_forked_is_refused_and_begins_nothing() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(reviews(), parts=["a", "b"])
        refused: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"replace": {"lok": 1}}, InputInvalid, "look"),
            ({"replace": {"nonesuch": 1}}, InputInvalid, "nonesuch"),
            ({"replace": {"look[7]": "x"}}, InputInvalid, r"look\[7\]"),
            ({"replace": {"look/x": "x"}}, InputInvalid, "look/x"),
            ({"replace": {"look[x]": "x"}}, InputInvalid, "look"),
            ({"replace": {"": "x"}}, InputInvalid, "''"),
            ({"replace": {"parts": 7}}, InputInvalid, "parts"),
            ({"replace": {"look": "no list"}}, InputInvalid, "look"),
            ({"replace": {"sum": 7}}, InputInvalid, "sum"),
            ({"replace": {"sum": object()}}, ValueRefused, "replace: 'sum'"),
            ({"replace": {"parts": [object()]}}, InputInvalid, "parts"),
            ({"replace": ["sum"]}, TypeError, "replace="),
            ({"replace": {1: "x"}}, TypeError, "replace="),
            ({"workflow": Workflow.of(Payload("x", "{{ y }}", model="nobody:m"), name="w")}, WorkflowInvalid, "nobody"),
            ({"workflow": Workflow.of(Payload("x", "About {{ other }}."), name="w")}, InputInvalid, "other"),
        ]
        s.provider.requests.clear()
        for options, error, words in refused:
            with pytest.raises(error, match=words):
                await s.orch.fork(run.id, **options)
        with pytest.raises(RunNotFound):
            await s.orch.fork("nonesuch")
        assert s.asked == []
        assert len(await s.orch.runs()) == 1


async def test_an_item_of_a_map_that_is_asked_again_cannot_be_replaced_alone() -> None:
    wf: Workflow[Any] = Workflow("w")
    parts = wf.add(Payload("parts", "Parts.", output=list[str]))
    wf.returns(wf.map(Payload("look", "Look at {{ part }}."), part=each(parts)))
    async with stage({"parts": [["a", "b"]], "look": answers}) as s:
        run = await s.orch.run(wf)
        other = wf.replace("parts", Payload("parts", "All parts.", output=list[str]))
        with pytest.raises(InputInvalid, match="as a whole"):
            await s.orch.fork(run.id, workflow=other, replace={"look[0]": "mine"})


async def test_an_input_that_is_new_must_be_given() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(Payload("ask", "About {{ x }}."), x="tea")
        wf = Workflow.of(Payload("ask", "About {{ x }} in {{ y }}."), name="ask")
        with pytest.raises(InputInvalid, match="y"):
            await s.orch.fork(run.id, workflow=wf)
        fork = await forked(s, run, workflow=wf, replace={"y": "short"})
        assert fork.output == "<About tea in short.>"


def _shout(ask: str) -> str:
    return ask.upper()


async def test_code_that_is_not_here_is_named() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("ask", "Go."))
    wf.returns(wf.add(_shout, name="shout"))
    store, run_id = await whole(wf, {"ask": "one"})
    async with process(SharedStore("b", of=store), {"ask": "two"}, recover=False) as s:
        with pytest.raises(CodeMissing, match="_shout"):
            await s.orch.fork(run_id)
    async with process(SharedStore("c", of=store), {"ask": "two"}, workflows=[wf]) as s:
        fork = await (await s.orch.fork(run_id)).result()
        assert (fork.output, s.asked) == ("ONE", [])


# Forks that lose their process


def growing(words: str) -> Workflow[Any]:
    """A map over what a model gives, so that nothing of it is known before that was asked again."""
    wf: Workflow[Any] = Workflow("w")
    parts = wf.add(Payload("parts", words, output=list[str]))
    looks = wf.map(Payload("look", "Look at {{ part }}."), part=each(parts), concurrency=1)
    return wf.returns(wf.add(Payload("sum", "All of {{ look | json }}."), look=looks))


@pytest.mark.parametrize("parts", [["new", "a", "b", "c"], ["a", "b", "c"], ["c", "new", "a"]])
async def test_a_fork_cut_anywhere_adopts_the_rest_when_it_is_recovered(parts: list[str]) -> None:
    old, new = growing("Parts."), growing("All parts.")
    store = SharedStore()
    async with process(store, {"parts": [["a", "b", "c"]], "*": answers}) as s:
        run = await s.orch.run(old)
    async with process(store, {"parts": [parts], "*": answers}) as s:
        fork = await (await s.orch.fork(run.id, workflow=new)).result()
        asked = set(s.asked)
        new_items = {f"look[{index}]" for index, part in enumerate(parts) if part == "new"}
        assert asked == {"parts", *new_items, *(set() if parts == ["a", "b", "c"] else {"sum"})}
    log = list(await store.events(fork.id))
    row, first = await store.load(run.id), await store.events(run.id)
    for at in range(1, len(log)):
        left = await cut(store, fork.id, at)
        await left.create(row, list(first), definition=await store.definition(row.definition_sha))
        recorded = {event.step for event in log[:at] if isinstance(event, StepSucceeded)}
        async with process(left, {"parts": [parts], "*": answers}, workflows=[new]) as s:
            done = await s.orch.attach(fork.id).result()
            assert (done.status, done.output) == ("succeeded", fork.output), at
            assert set(s.asked) == asked - recorded, at


async def test_a_fork_goes_on_though_the_run_it_came_from_is_gone() -> None:
    store = SharedStore()
    wf = growing("Parts.")
    async with process(store, {"parts": [["a", "b"]], "*": answers}) as s:
        run = await s.orch.run(wf)
    new = growing("All parts.")
    async with process(store, {"parts": [["a", "b"]], "*": answers}) as s:
        fork = await (await s.orch.fork(run.id, workflow=new)).result()
    left = await cut(store, fork.id, 1)
    async with process(left, {"parts": [["a", "b"]], "*": answers}, workflows=[new]) as s:
        done = await s.orch.attach(fork.id).result()
        assert (done.status, done.output) == ("succeeded", fork.output)
        assert sorted(s.asked) == ["look[0]", "look[1]", "parts", "sum"]


async def test_a_fork_that_failed_is_resumed_and_still_adopts() -> None:
    old = growing("Parts.")
    new = old.replace("parts", Payload("parts", "Every part.", retry=ONCE, output=list[str]))
    async with stage({"parts": [["a", "b"], ProviderUnavailable("down"), ["a", "b"]], "*": answers}) as s:
        run = await s.orch.run(old)
        fork = await forked(s, run, workflow=new)
        assert fork.status == "failed"
        s.provider.requests.clear()
        done = await (await s.orch.resume(fork.id)).result()
        assert (done.output, s.asked) == (run.output, ["parts"])


# Any workflow

EXAMPLES = int(os.environ.get("RANDOM_FORKS", "60"))


async def pace() -> None:
    await anyio.lowlevel.checkpoint()


def edited(flow: Flow, dice: random.Random) -> tuple[Flow, str | None]:
    """The flow with the prompt of one of its top steps changed, and the name of that step."""
    places = [n for n, one in enumerate(flow.steps) if isinstance(one.action, Leaf) and one.action.how == "prompt"]
    if not places:
        return flow, None
    place = dice.choice(places)
    one = flow.steps[place]
    assert isinstance(one.action, Leaf)
    steps = [*flow.steps]
    steps[place] = changed(one, action=changed(one.action, tag=f"{one.action.tag}x"))
    return changed(flow, steps=tuple(steps)), one.name


def shown(run: Run[Any]) -> dict[str, tuple[str, Any]]:
    return {path: (str(result.status), result.value) for path, result in run.steps.items()}


def marks(run: Run[Any], *, asked_only: bool = False) -> Counter[tuple[str, str | None]]:
    """How often each question has an answer in the run, items of a map standing together."""
    return Counter(
        (re.sub(r"\[\d+\]", "[]", path), fingerprint_or_none(step))
        for path, step in run._state.steps.items()
        if step.status == "succeeded"
        and isinstance(step.step.definition.action, PayloadAction)
        and step.map is None
        and (step.calls or not asked_only)
    )


async def observe(flow: Flow, seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    other, name = edited(flow, dice)
    store = MemoryStore()
    provider = ScriptedProvider({**provider_script(flow, pace)})
    found: dict[str, Any] = {"edited": name}
    people = {"on_ask": person(flow), "concurrency": 4}
    async with Orchestrator(store, providers=[provider], model="scripted:m", **people) as orch:
        run = await orch.run(build(flow, pace), INPUTS)
        diff = orch.diff(run)
        provider.requests.clear()
        fork = await (await orch.fork(run.id)).result()
        found.update(run=run, fork=fork, diff=diff, asked=[request.step for request in provider.requests])
    provider, former = ScriptedProvider({**provider_script(other, pace)}), build(flow, pace)
    people["on_ask"] = person(other)
    async with Orchestrator(store, providers=[provider], model="scripted:m", workflows=[former], **people) as orch:
        workflow = build(other, pace)
        planned = orch.diff(run, workflow=workflow)
        edit = await (await orch.fork(run.id, workflow=workflow)).result()
        found.update(edit=edit, planned=planned, again=[request.step for request in provider.requests])
        found["fresh"] = await orch.run(workflow, INPUTS)
    return found


@given(flow=flows(), seed=st.integers(0, 2**16))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
def test_a_fork_of_any_run_asks_for_nothing_that_is_recorded_and_for_all_that_is_not(flow: Flow, seed: int) -> None:
    for backend in ("asyncio", "trio"):
        check(run_virtual(observe, flow, seed, backend=backend), backend)


def check(found: Mapping[str, Any], backend: str) -> None:
    run, fork, edit, fresh = found["run"], found["fork"], found["edit"], found["fresh"]
    note(f"{backend}: edited {found['edited']}, asked {found['asked']} and {found['again']}, run is {run.status}")
    known = {path for path, step in run._state.steps.items() if step.status == "succeeded"}
    if "waiting" in {each_run.status for each_run in (run, fork, edit, fresh)}:
        return  # for people who give no answer
    if run.status != "succeeded" and _has_quorum(found):
        return  # a candidate that had failed is asked again, and another may be among the first this time
    assert not known & set(found["asked"]), "an unchanged step was asked again"
    assert set(found["diff"].kept) <= known
    if run.status == "succeeded":
        assert found["asked"] == []
        assert found["diff"].is_empty
    if run.status != "failed":
        assert (fork.status, shown(fork)) == (run.status, shown(run))
        assert fork.output == run.output
    assert marks(edit, asked_only=True) == marks(edit) - marks(run), "asked is what has no answer in the run, once each"
    assert not set(found["planned"].kept) & set(found["again"]), "what diff says is kept was asked"
    if fresh.status == edit.status == "succeeded" == run.status and not _has_quorum(found):
        assert shown(edit) == shown(fresh)
        assert edit.output == fresh.output


def _has_quorum(found: Mapping[str, Any]) -> bool:
    """Whether the order in which answers come may show in the result."""
    return any(selection.n for one in _compiled(found["run"]._state.frame.compiled) for selection in one.selections)


def _compiled(top: Any) -> list[Any]:
    return [top, *(inner for one in top.steps if one.child is not None for inner in _compiled(one.child))]


def test_a_started_step_says_its_fingerprint() -> None:
    """What forks go by stands in the log on every store that outlives its process."""

    async def main() -> list[str | None]:
        store = SharedStore()
        async with process(store, ECHO) as s:
            run = await s.orch.run(talk(), topic="tea")
            return [event.fingerprint for event in await s.log(run) if isinstance(event, StepStarted)]

    found = run_virtual(main)
    assert len(found) == 4
    assert None not in found
    assert len(set(found)) == 4
