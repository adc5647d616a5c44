"""The same idempotency key, workflow and inputs: the same run, and no second bill."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from llmorch import (
    CallStarted,
    CodeMissing,
    IdempotencyConflict,
    Payload,
    ProviderUnavailable,
    Retry,
    RunResumed,
    RunStarted,
    Workflow,
)
from llmorch.testing import Reply
from tests.flow.elsewhere import SharedStore, cut, process, whole
from tests.flow.stage import kinds, stage

pytestmark = pytest.mark.anyio

GO = Payload("ask", "Go.")
TOPIC = Payload("ask", "About {{ topic }}.")
KEY = "request-1"


async def test_a_run_that_succeeded_is_given_again() -> None:
    async with stage({"ask": ["one"]}) as s:
        first = await s.orch.run(TOPIC, topic="tea", idempotency_key=KEY)
        again = await s.orch.run(TOPIC, topic="tea", idempotency_key=KEY)
        assert (again.id, again.output) == (first.id, "one")
        handle = await s.orch.start(TOPIC, {"topic": "tea"}, idempotency_key=KEY)
        assert (handle.id, (await handle.result()).output) == (first.id, "one")
        assert len(s.asked) == 1
        assert len(await s.orch.runs()) == 1


async def test_a_run_that_failed_is_given_again_as_it_is() -> None:
    async with stage({"ask": [ProviderUnavailable("down"), "one"]}) as s:
        payload = Payload("ask", "Go.", retry=Retry(attempts=1))
        first = await s.orch.run(payload, idempotency_key=KEY)
        again = await s.orch.run(payload, idempotency_key=KEY)
        assert (again.id, again.status) == (first.id, "failed")
        assert len(s.asked) == 1
        assert (await (await s.orch.resume(first.id)).result()).output == "one"
        assert (await s.orch.run(payload, idempotency_key=KEY)).output == "one"


async def test_a_run_that_was_cancelled_is_given_again_as_it_is() -> None:
    async with stage({"ask": Reply("one", 100)}) as s:
        handle = await s.orch.start(GO, idempotency_key=KEY)
        await anyio.sleep(1)
        await handle.cancel()
        assert (await s.orch.run(GO, idempotency_key=KEY)).status == "cancelled"
        assert len(s.asked) == 1


async def test_without_a_key_every_run_is_a_new_one() -> None:
    async with stage({"ask": "one"}) as s:
        ids = {(await s.orch.run(GO)).id for _ in range(3)}
        assert len(ids) == 3


async def test_different_keys_are_different_runs() -> None:
    async with stage({"ask": "one"}) as s:
        ids = {(await s.orch.run(GO, idempotency_key=key)).id for key in ("a", "b", "A")}
        assert len(ids) == 3


async def test_a_run_that_is_carried_out_here_is_waited_for() -> None:
    async with stage({"ask": Reply("one", 10)}) as s:
        begun = anyio.current_time()
        handle = await s.orch.start(GO, idempotency_key=KEY)
        await anyio.sleep(4)
        again = await s.orch.run(GO, idempotency_key=KEY)
        assert (again.id, again.output) == (handle.id, "one")
        assert anyio.current_time() - begun == pytest.approx(10, abs=1)
        assert len(s.asked) == 1


async def test_a_run_that_is_carried_out_elsewhere_is_waited_for() -> None:
    here = SharedStore("a")
    there = SharedStore("b", of=here)
    async with process(here, {"ask": Reply("one", 10)}) as a, process(there, {"ask": "two"}) as b:
        handle = await a.orch.start(GO, idempotency_key=KEY)
        await anyio.sleep(1)
        again = await b.orch.run(GO, idempotency_key=KEY)
        assert (again.id, again.output) == (handle.id, "one")
        assert (len(a.asked), len(b.asked)) == (1, 0)


@pytest.mark.parametrize("shared", [False, True])
async def test_of_many_starts_at_once_one_begins_the_run(shared: bool) -> None:
    store = SharedStore()
    outputs: list[tuple[str, Any]] = []
    async with AsyncExitStack() as stack:
        if shared:
            views = [SharedStore(f"p{n}", of=store) for n in range(3)]
            stages = [await stack.enter_async_context(process(view, {"ask": Reply("one", 2)})) for view in views]
        else:
            stages = [await stack.enter_async_context(stage({"ask": Reply("one", 2)}))] * 3

        async def once(index: int) -> None:
            run = await stages[index % 3].orch.run(TOPIC, topic="tea", idempotency_key=KEY)
            outputs.append((run.id, run.output))

        async with anyio.create_task_group() as group:
            for index in range(12):
                group.start_soon(once, index)
        assert len(outputs) == 12
        assert len(set(outputs)) == 1
        assert sum(len(s.asked) for s in {id(s): s for s in stages}.values()) == 1
        assert [kinds(await stages[0].log(outputs[0][0])).count(kind) for kind in ("RunStarted", "RunResumed")] == [
            1,
            0,
        ]


@pytest.mark.parametrize(
    ("inputs", "same"),
    [({"n": 7}, True), ({"n": "7"}, True), ({"n": 8}, False), ({"n": 7, "m": 1}, True), ({"n": 7, "m": 2}, False)],
)
async def test_what_counts_are_the_inputs_as_they_were_validated(inputs: dict[str, Any], same: bool) -> None:
    wf: Workflow[Any] = Workflow("w")
    n, m = wf.input("n", int), wf.input("m", int, default=1)
    wf.returns(wf.add(lambda n, m: n + m, name="sum", n=n, m=m))
    async with stage() as s:
        first = await s.orch.run(wf, n=7, idempotency_key=KEY)
        if same:
            assert (await s.orch.run(wf, inputs, idempotency_key=KEY)).id == first.id
        else:
            with pytest.raises(IdempotencyConflict, match=first.id):
                await s.orch.run(wf, inputs, idempotency_key=KEY)
        assert len(await s.orch.runs()) == 1


async def test_a_key_of_another_workflow_is_refused() -> None:
    async with stage({"*": "one"}) as s:
        await s.orch.run(GO, idempotency_key=KEY)
        with pytest.raises(IdempotencyConflict, match=KEY):
            await s.orch.run(Payload("other", "Go."), idempotency_key=KEY)
        with pytest.raises(IdempotencyConflict):
            await s.orch.start(Payload("other", "Go."), idempotency_key=KEY)
        with pytest.raises(IdempotencyConflict):
            async with s.orch.stream(Payload("other", "Go."), idempotency_key=KEY):
                pass
        assert len(s.asked) == 1


async def test_other_options_are_the_same_run() -> None:
    async with stage({"ask": "one"}) as s:
        first = await s.orch.run(GO, idempotency_key=KEY, tags=["a"])
        again = await s.orch.run(GO, idempotency_key=KEY, tags=["b"], timeout=5, metadata={"x": 1})
        assert again.id == first.id


async def test_an_edited_workflow_of_the_same_name_is_the_same_run() -> None:
    async with stage({"ask": "one"}) as s:
        first = await s.orch.run(GO, idempotency_key=KEY)
        again = await s.orch.run(Payload("ask", "Go now."), idempotency_key=KEY)
        assert again.id == first.id
        assert s.prompts("ask") == ["Go."]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", ValueError), ("  ", ValueError), ("a\n", ValueError), ("x" * 256, ValueError), ("\0", ValueError),
        (7, TypeError), (b"k", TypeError), (True, TypeError),
    ],
)  # fmt: skip
async def test_what_identifies_nothing_is_refused(key: Any, error: type[Exception]) -> None:
    async with stage({"ask": "one"}) as s:
        with pytest.raises(error, match="idempotency_key"):
            await s.orch.run(GO, idempotency_key=key)
        with pytest.raises(error, match="idempotency_key"):
            await s.orch.start(GO, idempotency_key=key)
        assert not s.asked
        assert await s.orch.runs() == []


@pytest.mark.parametrize("key", ["x" * 255, "ein Schlüssel", "a b/c:d"])
async def test_any_other_text_is_a_key(key: str) -> None:
    async with stage({"ask": "one"}) as s:
        assert (await s.orch.run(GO, idempotency_key=key)).id == (await s.orch.run(GO, idempotency_key=key)).id


async def test_what_cannot_run_takes_no_key() -> None:
    async with stage({"ask": "one"}) as s:
        with pytest.raises(Exception, match="topic"):
            await s.orch.run(TOPIC, idempotency_key=KEY)
        assert (await s.orch.run(TOPIC, topic="tea", idempotency_key=KEY)).output == "one"


async def test_a_stream_with_an_old_key_shows_the_run_that_has_ended() -> None:
    async with stage({"ask": "one"}) as s:
        first = await s.orch.run(GO, idempotency_key=KEY)
        async with s.orch.stream(GO, idempotency_key=KEY) as events:
            seen = [event async for event in events]
        assert kinds(seen) == kinds(await s.log(first))
        assert (events.run.id, events.run.output) == (first.id, "one")
        assert len(s.asked) == 1


async def test_leaving_a_stream_with_an_old_key_does_not_cancel_the_run() -> None:
    async with stage({"ask": Reply("one", 10)}) as s:
        handle = await s.orch.start(GO, idempotency_key=KEY)
        await anyio.sleep(1)
        async with s.orch.stream(GO, idempotency_key=KEY) as events:
            assert isinstance(await events.__anext__(), RunStarted)
        assert (await handle.result()).output == "one"


async def test_a_stream_with_an_old_key_sees_the_end_and_the_run_as_it_ended() -> None:
    async with stage({"ask": Reply("one", 10)}) as s:
        handle = await s.orch.start(GO, idempotency_key=KEY)
        await anyio.sleep(1)
        async with s.orch.stream(GO, idempotency_key=KEY) as events:
            assert events.run.status == "running"
            seen = [event async for event in events if event.seq is not None]
            assert (events.run.id, events.run.status, events.run.output) == (handle.id, "succeeded", "one")
        assert kinds(seen) == kinds(await s.log(handle.id))


async def test_a_stream_with_a_new_key_still_cancels_the_run_that_it_began() -> None:
    async with stage({"ask": Reply("one", 10)}) as s:
        async with s.orch.stream(GO, idempotency_key=KEY) as events:
            run_id = events.run.id
        assert (await s.orch.get(run_id)).status == "cancelled"


# A run whose process died


def shouting() -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    wf.add(GO)
    return wf.returns(wf.add(_shout, name="shout"))


def _shout(ask: str) -> str:
    return ask.upper()


async def interrupted(script: dict[str, object] | None = None) -> tuple[SharedStore, str]:
    """A run with the key, whose process died while it asked."""
    store = SharedStore()
    async with process(store, script or {"ask": "one"}, recover=False) as s:
        run_id = (await s.orch.run(shouting(), idempotency_key=KEY)).id
    log = await store.events(run_id)
    at = next(index for index, event in enumerate(log, 1) if isinstance(event, CallStarted))
    return await cut(store, run_id, at), run_id


@pytest.mark.parametrize("registered", [True, False])
async def test_an_interrupted_run_goes_on(registered: bool) -> None:
    store, run_id = await interrupted()
    workflow = shouting()
    async with process(store, {"ask": "two"}, workflows=[workflow] if registered else [], recover=False) as s:
        run = await s.orch.run(workflow, idempotency_key=KEY)
        assert (run.id, run.status, run.output) == (run_id, "succeeded", "TWO")
        assert kinds(await s.log(run_id)).count("RunResumed") == 1
        assert len(s.asked) == 1


async def test_a_finished_run_is_read_with_the_code_of_the_workflow_at_hand() -> None:
    store, run_id = await whole(shouting(), {"ask": "one"})
    row = await store.load(run_id)
    store._logs[run_id].created = type(row)(**{**_fields(row), "idempotency_key": KEY})
    store._keys[KEY] = run_id
    async with process(SharedStore("b", of=store)) as s:
        try:
            run = await s.orch.run(shouting(), idempotency_key=KEY)
        except CodeMissing as error:
            pytest.fail(f"the caller has the code in hand: {error}")
        assert (run.id, run.output) == (run_id, "ONE")


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


@pytest.mark.parametrize("processes", [1, 2])
async def test_two_that_find_an_interrupted_run_at_once_go_on_with_it_once(processes: int) -> None:
    store, run_id = await interrupted()
    views = [SharedStore(f"p{n}", of=store) for n in range(processes)]
    async with AsyncExitStack() as stack:
        stages = [
            await stack.enter_async_context(process(view, {"ask": Reply("two", 3)}, recover=False)) for view in views
        ]
        outputs: list[str] = []

        async def once(index: int) -> None:
            outputs.append((await stages[index % processes].orch.run(shouting(), idempotency_key=KEY)).output)

        async with anyio.create_task_group() as group:
            for index in range(4):
                group.start_soon(once, index)
        log = await stages[0].log(run_id)
        assert outputs == ["TWO"] * 4
        assert [event.epoch for event in log if isinstance(event, RunResumed)] == [2], "nobody took it from another"
        assert sum(len(s.asked) for s in stages) == 1
        assert (await store.load(run_id)).epoch == 2


async def test_a_start_with_the_key_of_an_interrupted_run_goes_on_in_the_background() -> None:
    store, run_id = await interrupted()
    async with process(store, {"ask": Reply("two", 5)}, recover=False) as s:
        handle = await s.orch.start(shouting(), idempotency_key=KEY)
        assert handle.id == run_id
        await anyio.sleep(10)
        assert (await s.orch.get(run_id, workflow=shouting())).output == "TWO"


async def test_a_stream_with_the_key_of_an_interrupted_run_shows_it_whole() -> None:
    store, run_id = await interrupted()
    async with process(store, {"ask": Reply("two", 5)}, recover=False) as s:
        async with s.orch.stream(shouting(), idempotency_key=KEY) as events:
            seen = [event async for event in events if event.seq is not None]
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert events.run.output == "TWO"
        assert run_id == events.run.id
