"""Watching, waiting for and stopping a run that somebody else carries out, or nobody just now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from llmorch import (
    CallStarted,
    ClaimLost,
    Event,
    Payload,
    RunFinished,
    RunHandle,
    RunNotFound,
    RunResumed,
    RunStarted,
    StepDelta,
    StepSucceeded,
    StoreBusy,
    Workflow,
    each,
)
from llmorch.testing import Reply
from tests.flow.elsewhere import SharedStore, cut, dying, process, whole
from tests.flow.stage import Stage, kinds

pytestmark = pytest.mark.anyio

CHAIN: dict[str, object] = {"one": Reply("first", 3), "two": Reply("second", 3)}


def chain() -> Workflow[Any]:
    return Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")


@asynccontextmanager
async def elsewhere(script: dict[str, object], **options: Any) -> AsyncIterator[tuple[Stage, Stage, SharedStore]]:
    """A process that carries runs out, and one that looks on."""
    here = SharedStore("a")
    async with process(here, script) as a, process(SharedStore("b", of=here), {}, recover=False, **options) as b:
        yield a, b, here


async def committed(handle: RunHandle[Any], after: int = 0) -> list[Event]:
    return [event async for event in handle.events(after=after) if event.seq is not None]


# Events


async def test_the_events_of_a_run_elsewhere_come_as_they_are_committed() -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        handle = await a.orch.start(chain())
        begun = anyio.current_time()
        seen: list[tuple[str, float]] = []
        async for event in b.orch.attach(handle.id).events():
            seen.append((kinds([event])[0], anyio.current_time() - begun))
        assert [kind for kind, _ in seen] == kinds(await a.log(handle.id))
        at = dict(seen)
        assert at["RunStarted"] < 0.2
        assert at["StepSucceeded one"] == pytest.approx(3, abs=0.2)
        assert at["RunFinished"] == pytest.approx(6, abs=0.2)


async def test_the_text_of_answers_is_live_only_and_does_not_travel() -> None:
    async with elsewhere({"ask": Reply("a b c d", 3)}) as (a, b, _):
        handle = await a.orch.start(Payload("ask", "Go."))
        assert not [event async for event in b.orch.attach(handle.id).events() if isinstance(event, StepDelta)]


@pytest.mark.parametrize("after", [0, 1, 4, 100])
async def test_a_reader_goes_on_after_the_last_event_it_has_seen(after: int) -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        handle = await a.orch.start(chain())
        await anyio.sleep(4)
        seen = await committed(b.orch.attach(handle.id), after=after)
        assert [event.seq for event in seen] == list(range(after + 1, len(await a.log(handle.id)) + 1))


async def test_a_long_log_is_read_to_its_end() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each(list(range(600)))))
    async with elsewhere({"ask": "one"}) as (a, b, _):
        handle = await a.orch.start(wf)
        seen = await committed(b.orch.attach(handle.id))
        assert len(seen) > 2_000
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert seen == list(await a.log(handle.id))


async def test_many_may_watch_and_none_slows_the_run() -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        handle = await a.orch.start(chain())
        begun = anyio.current_time()
        ends: list[float] = []

        async def watch(pause_s: float) -> None:
            async for _ in b.orch.attach(handle.id).events():
                await anyio.sleep(pause_s)

        async with anyio.create_task_group() as group:
            for pause_s in (0, 0.1, 20):
                group.start_soon(watch, pause_s)
            await handle.result()
            ends.append(anyio.current_time() - begun)
        assert ends[0] == pytest.approx(6, abs=0.2)


async def test_a_reader_that_stops_leaves_the_run_alone() -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        handle = await a.orch.start(chain())
        events = b.orch.attach(handle.id).events()
        assert isinstance(await events.__anext__(), RunStarted)
        await events.aclose()
        assert [event async for event in events] == []
        assert (await handle.result()).status == "succeeded"


async def test_a_run_that_nobody_has_is_shown_as_far_as_it_came() -> None:
    store, run_id = await dying(chain(), {"*": "x"}, when=lambda e: isinstance(e, CallStarted))
    async with process(store, {}, recover=False) as s:
        begun = anyio.current_time()
        assert await committed(s.orch.attach(run_id)) == list(await s.log(run_id))
        assert (await s.orch.attach(run_id).result()).status == "interrupted"
        assert anyio.current_time() - begun < 1


async def test_a_run_that_does_not_exist_is_said_to_not_exist() -> None:
    async with process(SharedStore(), {}) as s:
        handle = s.orch.attach("nonesuch")
        with pytest.raises(RunNotFound):
            await committed(handle)
        for verb in (handle.result, handle.cancel, handle.peek):
            with pytest.raises(RunNotFound):
                await verb()


async def test_leaving_the_orchestrator_ends_what_watches_there() -> None:
    ended: list[str] = []
    both = anyio.Event()
    async with elsewhere({"one": Reply("first", 1_000)}) as (a, b, here):
        handle = await a.orch.start(chain())
        await anyio.sleep(1)
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                async for _ in b.orch.attach(handle.id).events():
                    pass
                ended.append("events")
                if len(ended) == 2:
                    both.set()

            async def wait() -> None:
                ended.append((await b.orch.attach(handle.id).result()).status)
                if len(ended) == 2:
                    both.set()

            group.start_soon(watch)
            group.start_soon(wait)
            await anyio.sleep(5)
            with anyio.fail_after(5):
                await b.orch.aclose()
            with anyio.fail_after(5):
                await both.wait()
        assert sorted(ended) == ["events", "running"]
        await handle.cancel()
        assert (await here.load(handle.id)).status == "cancelled"


# A run that changes hands


async def test_a_listener_sees_a_run_through_a_change_of_owner() -> None:
    """Also one that watches in the process that loses the run, and one in the process that takes it."""
    here = SharedStore("a")
    there, third = SharedStore("b", of=here), SharedStore("c", of=here)
    seen: dict[str, list[Event]] = {}

    async def watch(name: str, handle: RunHandle[Any]) -> None:
        seen[name] = await committed(handle)

    first = {"one": "first", "two": Reply("old", 1_000)}
    async with (
        process(here, first, recover=False) as a,
        process(there, {"two": Reply("new", 10)}, recover=False, workflows=[chain()]) as b,
        process(third, {}, recover=False) as c,
    ):
        handle = await a.orch.start(chain())
        async with anyio.create_task_group() as group:
            for name, s in (("loser", a), ("taker", b), ("other", c)):
                group.start_soon(watch, name, s.orch.attach(handle.id))
            await anyio.sleep(2)
            await b.orch.takeover(handle.id)
            await anyio.sleep(2)
            group.start_soon(watch, "late", c.orch.attach(handle.id))
            group.start_soon(watch, "late in the loser", a.orch.attach(handle.id))
        log = list(await a.log(handle.id))
        assert [event.epoch for event in log if isinstance(event, RunResumed)] == [2]
        assert isinstance(log[-1], RunFinished)
        for name, events in seen.items():
            assert events == log, name
        assert len(seen) == 5


async def test_a_listener_that_joins_while_nobody_has_the_run_sees_it_go_on() -> None:
    store, run_id = await dying(chain(), {"*": "x"}, when=lambda e: isinstance(e, CallStarted))
    workflow = chain()
    async with process(store, CHAIN, workflows=[workflow], recover=False) as s:
        watcher = SharedStore("w", of=store)
        async with process(watcher, CHAIN) as w:
            w.orch._queries.known["w"] = workflow.freeze()  # it counts on a recovery
            seen: list[Event] = []

            async def watch() -> None:
                seen.extend(await committed(w.orch.attach(run_id)))

            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await anyio.sleep(1)
                await s.orch.recover()
            assert seen == list(await s.log(run_id))
            assert isinstance(seen[-1], RunFinished)


async def test_deltas_come_again_once_the_run_is_here() -> None:
    store, run_id = await dying(chain(), {"*": "x"}, when=lambda e: isinstance(e, CallStarted))
    script = {"one": Reply("a b c", 10), "two": Reply("d e f", 1)}
    async with process(store, script, workflows=[chain()]) as s:
        seen = [event async for event in s.orch.attach(run_id).events()]
        texts = "".join(event.text for event in seen if isinstance(event, StepDelta) and event.step == "two")
        assert texts == "d e f"
        assert [event for event in seen if event.seq is not None] == list(await s.log(run_id))


# Results


async def test_the_result_of_a_run_elsewhere_is_waited_for() -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        handle = await a.orch.start(chain())
        begun = anyio.current_time()
        run = await b.orch.attach(handle.id).result()
        assert anyio.current_time() - begun == pytest.approx(6, abs=0.3)
        assert (run.status, run.output, run.usage) == ("succeeded", "second", (await handle.result()).usage)


async def test_the_result_is_waited_for_while_the_run_changes_hands() -> None:
    here = SharedStore("a")
    slow = {"one": Reply("first", 1_000)}
    async with process(here, slow, recover=False) as a, process(SharedStore("c", of=here), {}, recover=False) as c:
        handle = await a.orch.start(chain())
        results: list[str] = []

        async def wait() -> None:
            results.append((await c.orch.attach(handle.id).result()).output)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.sleep(1)
            async with process(SharedStore("b", of=here), CHAIN, recover=False, workflows=[chain()]) as b:
                await (await b.orch.takeover(handle.id)).result()
        assert results == ["second"]
        with pytest.raises(ClaimLost):
            await handle.result()


async def test_a_run_can_be_peeked_at_without_waiting() -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        handle = await a.orch.start(chain())
        await anyio.sleep(4)
        begun = anyio.current_time()
        run = await b.orch.attach(handle.id).peek()
        assert anyio.current_time() == begun
        assert (run.status, run["one"], run.steps["two"].status) == ("running", "first", "running")


async def test_a_failed_run_elsewhere_is_returned() -> None:
    async with elsewhere({"one": ValueError("no")}) as (a, b, _):
        handle = await a.orch.start(chain())
        run = await b.orch.attach(handle.id).result()
        assert run.status == "failed"
        assert isinstance((await committed(b.orch.attach(handle.id)))[-1], RunFinished)


async def test_waiting_costs_the_store_little_while_nothing_happens() -> None:
    asked: list[float] = []

    class Counting(SharedStore):
        async def load(self, run_id: str) -> Any:
            asked.append(anyio.current_time())
            return await super().load(run_id)

    here = SharedStore("a")
    async with process(here, {"one": Reply("first", 300), "two": "second"}) as a:
        handle = await a.orch.start(chain())
        async with process(Counting("b", of=here), {}, recover=False) as b:
            await b.orch.attach(handle.id).result()
            often = len(asked)
            assert often < 300 * 3, "a change is seen by the store's revision, not by reading the run"


async def test_a_store_that_fails_for_a_moment_ends_no_watch_of_a_run_that_is_here() -> None:
    class Flaky(SharedStore):
        failures = 3

        async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
            if after and self.failures:
                self.failures -= 1
                raise StoreBusy("locked")
            return await super().events(run_id, after=after, limit=limit)

    store = Flaky()
    async with process(store, CHAIN) as s:
        handle = await s.orch.start(chain())
        assert await committed(handle) == list(await s.log(handle.id))
        assert store.failures == 0


# Stopping


async def test_cancelling_returns_when_the_run_has_stopped_wherever_it_is() -> None:
    async with elsewhere(CHAIN) as (a, b, here):
        handle = await a.orch.start(chain())
        await anyio.sleep(1)
        await b.orch.attach(handle.id).cancel()
        assert (await here.load(handle.id)).status == "cancelled"
        assert (await b.orch.attach(handle.id).result()).status == "cancelled"
        assert (await committed(b.orch.attach(handle.id)))[-1] == (await a.log(handle.id))[-1]


async def test_cancelling_waits_no_longer_than_five_seconds_for_an_owner_that_hangs() -> None:
    store, run_id = await dying(chain(), {"*": "x"}, when=lambda e: isinstance(e, CallStarted))
    await store.claim(run_id, "hangs")
    async with process(store, {}, recover=False) as s:
        begun = anyio.current_time()
        await s.orch.attach(run_id).cancel()
        assert anyio.current_time() - begun == pytest.approx(5, abs=0.3)
        assert [item.kind for item in await store.inbox(run_id)] == ["cancel"]
        taken = await s.orch.takeover(run_id)
        assert (await taken.result()).status == "cancelled"


async def test_a_handle_may_be_dropped_and_found_again() -> None:
    async with elsewhere(CHAIN) as (a, b, _):
        run_id = (await a.orch.start(chain())).id
        assert (await b.orch.attach(run_id).result()).output == "second"
        assert repr(b.orch.attach(run_id)) == f"RunHandle({run_id!r})"


async def test_what_was_recorded_after_a_cut_is_all_that_a_reader_is_shown() -> None:
    store, run_id = await whole(chain(), {"*": "x"})
    length = len(await store.events(run_id))
    for at in range(1, length):
        left = await cut(store, run_id, at)
        async with process(left, {}, recover=False) as s:
            seen = await committed(s.orch.attach(run_id))
            assert [event.seq for event in seen] == list(range(1, at + 1))
            run = await s.orch.attach(run_id).result()
            done = [event.step for event in seen if isinstance(event, StepSucceeded)]
            assert [path for path, step in run.steps.items() if step.status == "succeeded"] == done
