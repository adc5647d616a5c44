"""Forks of maps over equal items that lose their process half-way."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import Event, Payload, StepSucceeded, Workflow, each
from tests.flow.elsewhere import SharedStore, cut, process

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
