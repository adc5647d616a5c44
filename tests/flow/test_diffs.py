"""What a fork would keep and ask, told before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from llmorch import (
    Block,
    Diff,
    InputInvalid,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    optional,
)
from llmorch.pricing import Price
from llmorch.testing import Reply
from tests.flow.elsewhere import SharedStore, process
from tests.flow.stage import stage
from tests.flow.test_forks import ECHO, growing, reviews, talk

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)
PRICES = {"scripted:m": Price(input=Decimal(1), output=Decimal(10))}
TALK = ("outline", "critique", "aside", "talk")


async def diff(
    workflow: Workflow[Any],
    new: Workflow[Any] | None = None,
    *,
    inputs: dict[str, Any],
    script: Any = None,
    **more: Any,
) -> Diff:
    """Of a run of the one and the other; nothing may be sent for it."""
    async with stage(script or ECHO, prices=PRICES) as s:
        run = await s.orch.run(workflow, inputs)
        asked = len(s.asked)
        found = s.orch.diff(run, workflow=new, **more)
        assert len(s.asked) == asked
        assert len(await s.orch.runs()) == 1
        return found


async def test_an_unchanged_run_is_kept_whole() -> None:
    found = await diff(talk(), inputs={"topic": "tea"})
    assert (sorted(found.kept), dict(found.changed), dict(found.new)) == (sorted(TALK), {}, {})
    assert found.is_empty
    assert (found.calls.high, found.cost) == (0, type(found.calls)(Decimal(0), Decimal(0), Decimal(0)))
    assert str(found) == "talk: everything is kept (4 steps), nothing is asked again"


async def test_the_cone_of_a_change_is_told_with_its_reasons() -> None:
    new = talk().replace("outline", Payload("outline", "Sketch {{ topic }}.", temperature=1, max_tokens=5))
    found = await diff(talk(), new, inputs={"topic": "tea"})
    assert found.kept == ("aside",)
    assert set(found.changed) == {"outline", "critique", "talk"}
    assert found.changed["outline"] == "its blocks, temperature, max_tokens changed"
    assert found.changed["critique"] == "it waits for 'outline', which runs"
    assert not found.is_empty
    shown = str(found)
    assert shown.splitlines()[0].startswith("talk: 1 step kept; what runs takes 3-12 (likely 3) calls and 0.")
    assert "changed  outline   its blocks, temperature, max_tokens changed" in shown


async def test_a_step_that_reads_something_else_says_so() -> None:
    found = await diff(talk(), inputs={"topic": "tea"}, replace={"topic": "milk"})
    assert found.changed["outline"] == found.changed["aside"] == "what it reads is different"
    found = await diff(talk(), inputs={"topic": "tea"}, replace={"critique": "mine"})
    assert (found.kept, dict(found.changed)) == (("outline", "aside"), {"talk": "what it reads is different"})


async def test_a_new_step_and_another_kind_of_step_are_told() -> None:
    old = Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")
    more = Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), Payload("three", "{{ two }}"), name="w")
    found = await diff(old, more, inputs={})
    assert (dict(found.new), dict(found.changed)) == ({"three": "the run has no such step"}, {})
    assert found.kept == ("one", "two")
    found = await diff(old, old.replace("two", lambda one: one), inputs={})
    assert dict(found.changed) == {"two": "it is another kind of step"}
    assert found.calls.high == 0


async def test_changed_code_is_told() -> None:
    def flow(function: Any) -> Workflow[Any]:
        wf: Workflow[Any] = Workflow("w")
        return wf.returns(wf.add(function, name="made"))

    def one() -> int:
        return 1

    def two() -> int:
        return 2

    found = await diff(flow(one), flow(two), inputs={})
    assert dict(found.changed) == {"made": "its code changed"}
    assert (await diff(flow(one), flow(one), inputs={})).is_empty


async def test_items_are_told_singly() -> None:
    found = await diff(reviews(), inputs={"parts": ["a", "b"]}, replace={"parts": ["new", "a", "b"]})
    assert sorted(found.kept) == ["look[1]", "look[2]"]
    assert (dict(found.new), set(found.changed)) == ({}, {"look[0]", "sum"})
    found = await diff(reviews(), inputs={"parts": ["a", "b"]}, replace={"parts": ["a", "b", "c"]})
    assert dict(found.new) == {"look[2]": "the run has no such step"}


async def test_of_a_map_whose_width_is_not_known_the_map_is_told() -> None:
    found = await diff(
        growing("Parts."), growing("All parts."), inputs={}, script={"parts": [["a", "b"]], "*": "x"}
    )  # fmt: skip
    assert dict(found.changed) == {
        "parts": "its blocks changed",
        "look": "it waits for 'parts', which runs",
        "sum": "it waits for 'look', which runs",
    }
    assert found.calls.low >= 2


async def test_inside_a_workflow_the_steps_are_told_with_their_own_reasons() -> None:
    inner: Workflow[Any] = Workflow("inner")
    inner.input("aim", str)
    inner.add(Payload("one", "In {{ aim }}."))
    inner.returns(inner.add(Payload("two", "{{ aim }}: {{ one }}")))
    outer: Workflow[Any] = Workflow("outer")
    outer.returns(outer.map(inner, name="nested", aim=each(outer.input("words", list[str]))))
    found = await diff(outer, inputs={"words": ["a", "b"]}, replace={"words": ["a", "z"]})
    assert sorted(found.kept) == ["nested[0]/one", "nested[0]/two"]
    assert dict(found.changed) == {
        "nested[1]/one": "what it reads is different",
        "nested[1]/two": "it waits for 'one', which runs",
    }


async def test_what_failed_or_was_cancelled_is_told() -> None:
    wf: Workflow[Any] = Workflow("w")
    bad = wf.add(Payload("bad", "Fail.", retry=ONCE), on_error="skip")
    wf.returns(wf.add(Payload("last", "With {{ x }}."), x=optional(bad, "nothing")))
    found = await diff(wf, inputs={}, script={"bad": ProviderUnavailable("down"), "last": "one"})
    assert (found.changed["bad"], found.changed["last"]) == ("it failed", "it waits for 'bad', which runs")
    async with stage({"ask": Reply("one", 100)}) as s:
        handle = await s.orch.start(Payload("ask", "Go."))
        await anyio.sleep(1)
        await handle.cancel()
        found = s.orch.diff(await handle.result())
        assert dict(found.changed) == {"ask": "it was cancelled"}
    async with stage({"ask": Reply("one", 100)}) as s:
        handle = await s.orch.start(Payload("ask", "Go."))
        await anyio.sleep(1)
        assert dict(s.orch.diff(await handle.peek()).changed) == {"ask": "it was running"}


async def test_what_a_quorum_cancelled_is_not_asked() -> None:
    wf: Workflow[Any] = Workflow("w")
    votes = [wf.add(Payload(f"v{n}", "Vote.", seed=n), on_error="skip") for n in range(3)]
    wf.returns(first_n(votes, 2, cancel_rest=True))
    script: dict[str, object] = {f"v{n}": Reply(f"vote {n}", delay) for n, delay in enumerate([5, 500, 10])}
    found = await diff(wf, inputs={}, script=script)
    assert found.is_empty
    assert found.kept == ("v0", "v2")


async def test_what_is_skipped_is_neither_kept_nor_asked() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.input("want", bool)
    wf.add(Payload("one", "Go."))
    wf.add(Payload("two", "On: {{ one }}"), when="want")
    wf.returns([Node("one"), optional(Node("two"), None)])
    found = await diff(wf, inputs={"want": False})
    assert (found.kept, found.is_empty) == (("one",), True)
    found = await diff(wf, inputs={"want": False}, replace={"want": True})
    assert (found.kept, dict(found.changed)) == (("one",), {"two": "it was skipped"})
    found = await diff(wf, inputs={"want": True}, replace={"want": False})
    assert (found.kept, found.is_empty) == (("one",), True)


async def test_the_price_is_that_of_what_runs() -> None:
    wf = Workflow.of(Payload("one", "Go.", max_tokens=100), Payload("two", "On: {{ one }}", max_tokens=50), name="w")
    both = await diff(wf, wf.replace("one", Payload("one", "Go now.", max_tokens=100)), inputs={})
    last = await diff(wf, wf.replace("two", Payload("two", "From: {{ one }}", max_tokens=50)), inputs={})
    assert both.cost is not None
    assert last.cost is not None
    assert (both.calls.likely, last.calls.likely) == (2, 1)
    assert 0 < last.cost.high < both.cost.high
    assert last.cost.high < Decimal("0.0007"), "fifty tokens of an answer at ten dollars a million, and the prompt"
    assert "US dollars" in str(last)


async def test_of_a_map_that_is_kept_in_part_a_part_is_priced() -> None:
    whole = await diff(reviews(), reviews("Look hard at {{ part }}."), inputs={"parts": ["a", "b", "c", "d"]})
    part = await diff(reviews(), inputs={"parts": ["a", "b", "c", "d"]}, replace={"parts": ["a", "b", "c", "x"]})
    assert (whole.calls.likely, part.calls.likely) == (5, 2)
    assert whole.cost is not None
    assert part.cost is not None
    assert 0 < part.cost.likely < whole.cost.likely


async def test_a_price_that_nobody_knows_is_none() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        found = s.orch.diff(run, workflow=talk("warm"))
        assert found.cost is None
        assert "a cost that is not known" in str(found)
        assert s.orch.diff(run).is_empty


async def test_a_diff_says_what_the_fork_then_does() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        for options in (
            {}, {"workflow": talk("warm")}, {"replace": {"critique": "mine"}}, {"replace": {"topic": "milk"}},
        ):  # fmt: skip
            found = s.orch.diff(run, **options)  # type: ignore[arg-type]
            s.provider.requests.clear()
            await (await s.orch.fork(run.id, **options)).result()  # type: ignore[arg-type]
            assert sorted(s.asked) == sorted({*found.changed, *found.new})


async def test_a_diff_of_a_fork_with_a_replaced_value_keeps_it() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        fork = await (await s.orch.fork(run.id, replace={"critique": "mine"})).result()
        found = s.orch.diff(fork)
        assert found.is_empty
        assert sorted(found.kept) == sorted(TALK)


async def test_a_run_that_was_read_from_a_store_gives_the_same_diff() -> None:
    store = SharedStore()
    async with process(store, ECHO) as s:
        run = await s.orch.run(talk(), topic="tea")
        here = s.orch.diff(run, workflow=talk("warm"))
    async with process(SharedStore("b", of=store), ECHO, recover=False) as s:
        there = s.orch.diff(await s.orch.get(run.id), workflow=talk("warm"))
        assert (there.changed, there.kept, there.new, there.calls) == (here.changed, here.kept, here.new, here.calls)
        assert s.asked == []


async def test_many_changes_are_shown_in_short() -> None:
    parts = [f"p{n}" for n in range(100)]
    found = await diff(reviews(), reviews("Look hard at {{ part }}."), inputs={"parts": parts})
    lines = str(found).splitlines()
    assert len(found.changed) == 101
    assert (len(lines), lines[-1]) == (42, "  and 61 more")


async def test_what_cannot_be_compared_is_refused() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(reviews(), parts=["a"])
        with pytest.raises(InputInvalid, match="look"):
            s.orch.diff(run, replace={"lok": 1})
        with pytest.raises(InputInvalid, match="parts"):
            s.orch.diff(run, replace={"parts": 3})
        with pytest.raises(InputInvalid, match="other"):
            s.orch.diff(run, workflow=Workflow.of(Payload("x", "{{ other }}"), name="w"))
        unbound: Workflow[Any] = Workflow("w")
        unbound.add(Payload("x", "{{ a }}"), b=1)
        with pytest.raises(WorkflowInvalid):
            s.orch.diff(run, workflow=unbound)


def test_a_workflow_compares_itself_with_a_run() -> None:
    wf = Workflow.of(Payload("hi", "Say hi to {{ who }}.", model="offline:echo"), name="greet")
    run = wf.run_sync(who="Ada")
    assert wf.diff(run).is_empty
    assert dict(wf.diff(run, replace={"who": "Bob"}).changed) == {"hi": "what it reads is different"}
    block = Workflow.of(Payload("hi", Block("b", "Greet {{ who }}."), model="offline:echo"), name="greet")
    assert dict(block.diff(run).changed) == {"hi": "its blocks changed"}
