"""Forks that lose their process half-way, and forks of runs whose code is gone."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import CodeMissing, Event, Node, Payload, StepSucceeded, Workflow, each
from tests.flow.elsewhere import SharedStore, cut, process, whole

pytestmark = pytest.mark.anyio


def looking(words: str) -> Workflow[Any]:
    """A map over what a model gives, so that nothing of it is known before that was asked again."""
    wf: Workflow[Any] = Workflow("w")
    parts = wf.add(Payload("parts", words, output=list[str]))
    return wf.returns(wf.map(Payload("look", "Look at {{ part }}."), part=each(parts), concurrency=1))


def ended(log: list[Event], path: str) -> int:
    """How many events there are when that step has its result."""
    return next(at for at, event in enumerate(log, 1) if isinstance(event, StepSucceeded) and event.step == path)


@pytest.mark.parametrize("last", ["look[1]", "look[2]", "look[3]"])
async def test_equal_items_each_take_a_result_of_their_own_across_a_crash(last: str) -> None:
    store = SharedStore()
    script = {"parts": [["same", "same"]], "look[0]": "first", "look[1]": "second"}
    async with process(store, script) as s:
        run = await s.orch.run(looking("Parts."))
    now = {"parts": [["new", "other", "same", "same"]], "look": "asked"}
    new = looking("All parts.")
    async with process(store, now) as s:
        fork = await (await s.orch.fork(run.id, workflow=new)).result()
        assert fork.output == ["asked", "asked", "first", "second"]
    log = list(await store.events(fork.id))
    left = await cut(store, fork.id, ended(log, last))
    row = await store.load(run.id)
    await left.create(row, await store.events(run.id), definition=await store.definition(row.definition_sha))
    async with process(left, {}, workflows=[new]) as s:
        done = await s.orch.attach(fork.id).result()
        assert done.output == ["asked", "asked", "first", "second"]
        assert s.asked == []


def _shout(ask: str) -> str:
    return ask.upper()


def _whisper(ask: str) -> str:
    return ask.lower()


def coded(function: Any, last: str = "Publish {{ out }}.") -> Workflow[Any]:
    """A function between two calls."""
    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("ask", "Go."))
    wf.add(function, name="out")
    return wf.returns(wf.add(Payload("post", last), after=["out"]))


@pytest.mark.parametrize(
    ("new", "asked"),
    [
        (coded(_shout), []),
        (coded(_shout, last="Print {{ out }}."), ["post"]),
        (coded(_whisper), ["post"]),
        (coded(lambda ask: ask), ["post"]),
    ],
)
async def test_a_fork_needs_no_code_but_that_of_the_workflow_it_is_given(new: Workflow[Any], asked: list[str]) -> None:
    store, run_id = await whole(coded(_shout), {"ask": "One", "post": "out"})
    async with process(SharedStore("b", of=store), {"*": "again"}, recover=False) as s:
        with pytest.raises(CodeMissing, match="_shout"):
            await s.orch.fork(run_id)
        fork = await (await s.orch.fork(run_id, workflow=new)).result()
        assert (fork.status, s.asked) == ("succeeded", asked)


async def test_what_was_replaced_stays_replaced_though_its_code_is_only_in_the_workflow_that_is_given() -> None:
    store, run_id = await whole(coded(_shout), {"ask": "One", "post": "out"})
    async with process(SharedStore("b", of=store), {"*": "again"}, workflows=[coded(_shout)], recover=False) as s:
        fork = await (await s.orch.fork(run_id, replace={"out": "MINE"})).result()
    async with process(SharedStore("c", of=store), {"*": "third"}, recover=False) as s:
        again = await (await s.orch.fork(fork.id, workflow=coded(_shout, last="Print {{ out }}."))).result()
        assert s.prompts("post") == ["Print MINE."]
        assert again[Node("ask")] == "One"


async def test_a_fork_that_is_recovered_adopts_from_a_run_whose_code_is_gone() -> None:
    store, run_id = await whole(coded(_shout), {"ask": "One", "post": "out"})
    new = coded(_whisper, last="Print {{ out }}.")
    async with process(SharedStore("b", of=store), {"*": "again"}, recover=False) as s:
        fork = await (await s.orch.fork(run_id, workflow=new)).result()
    left = await cut(store, fork.id, 1)
    row = await store.load(run_id)
    await left.create(row, await store.events(run_id), definition=await store.definition(row.definition_sha))
    async with process(left, {"*": "again"}, workflows=[new]) as s:
        done = await s.orch.attach(fork.id).result()
        assert (done.status, s.asked) == ("succeeded", ["post"])
