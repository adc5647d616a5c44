"""Runs that lost their process: what is recorded stays, what was in flight runs again, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    CallFinished,
    CallStarted,
    ClaimLost,
    CodeMissing,
    Default,
    Event,
    LLMOrchError,
    MapExpanded,
    Node,
    Orchestrator,
    Payload,
    ProviderUnavailable,
    Retry,
    RunNotFinished,
    RunNotFound,
    RunPoisoned,
    RunResumed,
    RunStarted,
    StepError,
    StepFailed,
    StepStarted,
    StepSucceeded,
    StoreBusy,
    StoreCorrupt,
    ToolFinished,
    ToolStarted,
    Warned,
    Workflow,
    each,
    step,
    tool,
)
from llmorch.ports import Claim, InboxItem, ProviderResponse, RunRow, ToolCall, Usage
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite import SqliteStore
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.elsewhere import SharedStore, cut, dying, process, whole
from tests.flow.stage import MODEL, Stage, fails, kinds, one

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)
GOOD = ProviderResponse("ok", (), Usage(10, 5, requests=1), "stop", "m")


def is_call(event: Event) -> bool:
    return isinstance(event, CallStarted)


def asking(name: str = "w") -> Workflow[Any]:
    """A workflow of one call."""
    return Workflow.of(Payload("ask", "Go."), name=name)


def chain() -> Workflow[Any]:
    """One call after the other."""
    return Workflow.of(Payload("one", "Go."), Payload("two", "On: {{ one }}"), name="w")


async def interrupted(run: str = "w") -> tuple[SharedStore, str]:
    return await dying(asking(run), {"ask": "one"}, when=is_call)


# What runs again


async def test_on_entering_only_what_was_in_flight_is_asked_again() -> None:
    script = {"one": "first", "two": "second"}
    store, run_id = await dying(chain(), script, when=lambda e: isinstance(e, CallStarted) and e.step == "two")
    async with process(store, {"two": "again"}, workflows=[chain()]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, run["one"], run.output) == ("succeeded", "first", "again")
        assert s.asked == ["two"]
        (resumed,) = [event for event in await s.log(run_id) if isinstance(event, RunResumed)]
        assert (resumed.reset, resumed.epoch) == (("two",), 2)
        assert run.usage.requests == 3, "the call that was cut was made"
        assert run.cost is None, "and nobody knows what it cost"


async def test_a_run_cut_between_two_steps_repeats_nothing() -> None:
    script = {"one": "first", "two": "second"}
    store, run_id = await dying(chain(), script, when=lambda e: isinstance(e, StepSucceeded))
    async with process(store, {"two": "second"}, workflows=[chain()]) as s:
        assert (await s.orch.attach(run_id).result()).output == "second"
        assert s.asked == ["two"]


async def test_recovery_repeats_no_failure_and_resume_does() -> None:
    wf: Workflow[Any] = Workflow("w", on_error="skip")
    wf.add(Payload("bad", "Fail.", retry=ONCE))
    wf.add(Payload("late", "Go.", retry=ONCE), after=["bad"])
    wf.returns([Node("late")])
    script = {"bad": ProviderUnavailable("down"), "late": "one"}
    for by_itself in (True, False):
        store, run_id = await dying(wf, script, when=lambda e: isinstance(e, CallStarted) and e.step == "late")
        async with process(store, {"*": "well"}, workflows=[wf], recover="own" if by_itself else False) as s:
            handle = s.orch.attach(run_id) if by_itself else await s.orch.resume(run_id)
            run = await handle.result()
            assert run.status == ("partial" if by_itself else "succeeded")
            assert sorted(s.asked) == (["late"] if by_itself else ["bad", "late"])


async def test_a_workflow_that_was_failing_ends_failed() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.add(fails)
    wf.returns(wf.add(Payload("ask", "Go.")))
    store, run_id = await whole(wf, {"ask": Reply("one", 5)})
    log = await store.events(run_id)
    at = next(index for index, event in enumerate(log, 1) if isinstance(event, StepFailed))
    store = await cut(store, run_id, at)
    async with process(store, {"ask": "two"}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, run.error.step if run.error else "") == ("failed", "fails")
        assert await store.recoverable(now=0) == []


async def test_items_that_are_recorded_stay() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each([1, 2, 3, 4]), concurrency=1))
    script = {f"ask[{n}]": f"old {n}" for n in range(4)}
    when = lambda e: isinstance(e, CallStarted) and e.step == "ask[2]"  # noqa: E731
    store, run_id = await dying(wf, script, when=when)
    async with process(store, {"ask": "new"}, workflows=[wf]) as s:
        assert (await s.orch.attach(run_id).result()).output == ["old 0", "old 1", "new", "new"]
        assert s.asked == ["ask[2]", "ask[3]"]


async def test_a_map_keeps_the_width_that_it_has_in_the_log() -> None:
    widths = [[1, 2], [1, 2, 3]]

    @step(pure=True)
    def numbers() -> list[int]:
        return widths.pop(0)

    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(Payload("ask", "{{ n }}"), n=each(wf.add(numbers)), concurrency=1))
    store, run_id = await dying(wf, {"ask": "old"}, when=lambda e: isinstance(e, MapExpanded))
    async with process(store, {"ask": "new"}, workflows=[wf]) as s:
        assert (await s.orch.attach(run_id).result()).output == ["new", "new"]
    assert widths == [[1, 2, 3]], "the function was not asked again"


async def test_a_run_of_which_only_the_start_is_recorded_runs_whole() -> None:
    store, run_id = await dying(chain(), {"*": "old"}, when=lambda e: isinstance(e, RunStarted))
    async with process(store, {"*": "new"}, workflows=[chain()]) as s:
        assert (await s.orch.attach(run_id).result()).output == "new"
        assert s.asked == ["one", "two"]


async def test_only_the_tools_of_the_open_round_run_again() -> None:
    ran: list[str] = []

    @tool
    def note(word: str) -> str:
        """Note."""
        ran.append(word)
        return f"noted {word}"

    def wish(*words: str) -> ProviderResponse:
        calls = tuple(ToolCall(f"c-{word}", "note", f'{{"word": "{word}"}}') for word in words)
        return ProviderResponse("", calls, Usage(1, 1), "tool_calls")

    wf = Workflow.of(Payload("ask", "Go.", tools=[note]), name="w")
    script = [wish("a"), wish("b"), "done"]
    store, run_id = await whole(wf, {"ask": script})
    log = list(await store.events(run_id))
    ran.clear()
    at = next(n for n, e in enumerate(log, 1) if isinstance(e, ToolStarted) and e.id == "c-b")
    async with process(await cut(store, run_id, at), {"ask": ["finished"]}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.output, ran, len(s.asked)) == ("finished", ["b"], 1)
        told = [message.text for message in s.provider.requests[0].messages if message.role == "tool"]
        assert told == ["noted a", "noted b"]
    ran.clear()
    at = next(n for n, e in enumerate(log, 1) if isinstance(e, ToolFinished) and e.id == "c-b")
    async with process(await cut(store, run_id, at), {"ask": ["finished"]}, workflows=[wf]) as s:
        assert (await s.orch.attach(run_id).result()).output == "finished"
        assert ran == []


# Which runs are taken up, and when


async def test_a_run_that_loses_its_process_later_is_found_within_six_seconds() -> None:
    here = SharedStore("a")
    there = SharedStore("b", of=here)
    async with process(here, {"ask": Reply("late", 1_000)}) as a, process(there, {"ask": "two"}, workflows=[asking()]):
        handle = await a.orch.start(asking())
        await anyio.sleep(20)
        assert not any(isinstance(event, RunResumed) for event in await a.log(handle.id)), "its owner lives"
        here.disown(handle.id)
        await anyio.sleep(6)
        assert (await here.load(handle.id)).status == "succeeded"
        with pytest.raises(ClaimLost):
            await handle.result()
        await a.orch.attach(handle.id).cancel()


@pytest.mark.parametrize(
    ("mode", "registered", "is_found"),
    [("own", True, True), ("own", False, False), ("all", False, True), ("all", True, True), (False, True, False)],
)
async def test_the_mode_says_which_runs_are_taken_up(mode: Any, registered: bool, is_found: bool) -> None:
    store, run_id = await interrupted()
    async with process(store, {"ask": "two"}, workflows=[asking()] if registered else [], recover=mode) as s:
        await anyio.sleep(20)
        run = await s.orch.attach(run_id).result()
        assert run.status == ("succeeded" if is_found else "interrupted")
        assert [event async for event in s.orch.attach(run_id).events()] == list(await s.log(run_id))
        if not is_found:
            assert s.asked == []
            assert [summary.status for summary in await s.orch.runs()] == ["interrupted"]


async def test_recover_by_hand_works_whatever_the_mode() -> None:
    store, run_id = await interrupted()
    async with process(store, {"ask": "two"}, workflows=[asking()], recover=False) as s:
        handles = await s.orch.recover()
        assert [handle.id for handle in handles] == [run_id]
        assert (await handles[0].result()).output == "two"
        assert await s.orch.recover() == []


async def test_a_workflow_that_was_run_here_counts_as_known() -> None:
    store, run_id = await interrupted()
    async with process(store, {"ask": "two"}) as s:
        run = await s.orch.attach(run_id).result()
        assert run.status == "interrupted"
        with pytest.raises(RunNotFinished, match="resume it"):
            run.raise_for_status()
        await s.orch.run(asking())
        await anyio.sleep(6)
        assert (await s.orch.attach(run_id).result()).output == "two"


@pytest.mark.parametrize("mode", ["owns", "", None, True, []])
def test_another_mode_is_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="recover="):
        Orchestrator(recover=mode)


def coded() -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("coded")
    wf.add(Payload("ask", "Go."))
    return wf.returns(wf.add(_shout, name="shout"))


def _shout(ask: str) -> str:
    return ask.upper()


async def test_a_run_whose_code_is_not_here_is_passed_over_once(caplog: pytest.LogCaptureFixture) -> None:
    store, run_id = await dying(coded(), {"ask": "one"}, when=is_call)
    loads: list[str] = []

    class Counting(SharedStore):
        async def definition(self, sha: str) -> Any:
            loads.append(sha)
            return await super().definition(sha)

    with caplog.at_level(logging.WARNING, "llmorch"):
        async with process(Counting("c", of=store), {"ask": "two"}, recover="all") as s:
            await anyio.sleep(60)
            assert len([record for record in caplog.records if run_id in record.getMessage()]) == 1
            assert len(loads) <= 2, "it is not tried again every five seconds"
            assert s.asked == []
            assert [event async for event in s.orch.attach(run_id).events()] == list(await s.log(run_id))
            with pytest.raises(CodeMissing, match="_shout"):
                await s.orch.resume(run_id)
            with pytest.raises(CodeMissing):
                await s.orch.takeover(run_id)
            assert (await store.load(run_id)).epoch == 1, "a run that cannot be carried on is not claimed"


async def test_runs_of_others_do_not_stand_in_the_way_however_many() -> None:
    store, run_id = await interrupted("z")
    row, log = await store.load(run_id), await store.events(run_id)
    for number in range(250):
        other = f"0{number:025}"
        events = [replace(event, run_id=other) for event in log]
        await store.create(replace(row, id=other, workflow="unknown"), events)
    async with process(store, {"ask": "two"}, workflows=[asking("z")]) as s:
        assert (await s.orch.attach(run_id).result()).output == "two"


async def test_a_run_that_cannot_be_read_does_not_stand_in_the_way() -> None:
    store, run_id = await interrupted()
    row = await store.load(run_id)
    bad = "0" * 26
    await store.create(replace(row, id=bad), [replace((await store.events(run_id))[0], run_id=bad)])

    class Damaged(SharedStore):
        async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
            if run_id == bad:
                raise StoreCorrupt("checksum", run_id=run_id)
            return await super().events(run_id, after=after, limit=limit)

    async with process(Damaged("c", of=store), {"ask": "two"}, workflows=[asking()]) as s:
        assert (await s.orch.attach(run_id).result()).output == "two"
        assert (await s.orch.run(asking())).output == "two"
    assert (await store.load(bad)).owner is None, "what cannot be carried out is not held"


async def test_a_busy_store_strands_nothing_that_was_claimed() -> None:
    store, first = await interrupted()
    row = await store.load(first)
    second = "z" * 26
    await store.create(replace(row, id=second), [replace(e, run_id=second) for e in await store.events(first)])

    class Busy(SharedStore):
        is_busy = True

        async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
            if run_id == second and self.is_busy:
                raise StoreBusy("locked")
            return await super().claim(run_id, owner, takeover=takeover)

    busy = Busy("c", of=store)
    async with process(busy, {"ask": "two"}, workflows=[asking()], recover=False) as s:
        with suppress(StoreBusy):
            await s.orch.recover()
        assert (await s.orch.attach(first).result()).output == "two"
        busy.is_busy = False
        assert [handle.id for handle in await s.orch.recover()] == [second]


async def test_two_that_recover_at_once_take_each_run_once() -> None:
    store, run_id = await interrupted()
    views = [SharedStore(f"p{n}", of=store) for n in range(2)]
    script = {"ask": Reply("two", 2)}
    taken: list[str] = []

    async def recover(s: Stage) -> None:
        taken.extend(handle.id for handle in await s.orch.recover())

    async with (
        process(views[0], script, workflows=[asking()], recover=False) as a,
        process(views[1], script, workflows=[asking()], recover=False) as b,
    ):
        async with anyio.create_task_group() as group:
            for s in (a, b, a, b):
                group.start_soon(recover, s)
        assert taken == [run_id]
        assert (await b.orch.attach(run_id).result()).output == "two"
        assert len(a.asked) + len(b.asked) == 1
        assert (await store.load(run_id)).epoch == 2


async def test_an_orchestrator_that_nobody_entered_waits_for_no_recovery() -> None:
    store, run_id = await interrupted()
    orch = Orchestrator(store, providers=[ScriptedProvider({})], model=MODEL, workflows=[asking()])
    with anyio.fail_after(60):
        assert (await orch.attach(run_id).result()).status == "interrupted"
        assert len([event async for event in orch.attach(run_id).events()]) == len(await store.events(run_id))
    await orch.aclose()


async def test_an_orchestrator_that_cannot_be_entered_leaves_nothing_behind() -> None:
    store, _ = await interrupted()
    looks: list[float] = []

    class Locked(SharedStore):
        closed = False

        async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
            looks.append(anyio.current_time())
            raise StoreBusy("locked")

        async def aclose(self) -> None:
            self.closed = True

    locked = Locked("c", of=store)
    with pytest.raises(StoreBusy):
        async with process(locked, workflows=[asking()]):
            pass
    await anyio.sleep(30)
    assert len(looks) == 1, "nobody looks out any more"
    assert locked.closed


# Resume, and taking over


async def test_a_run_is_neither_resumed_nor_deleted_while_its_owner_lives() -> None:
    here = SharedStore("owner-a")
    async with process(here, {"ask": Reply("one", 5)}) as a, process(SharedStore("b", of=here), {}) as b:
        handle = await a.orch.start(asking())
        await anyio.sleep(1)
        with pytest.raises(ClaimLost, match="owner-a"):
            await b.orch.resume(handle.id)
        with pytest.raises(LLMOrchError, match="cancel"):
            await b.orch.delete(handle.id)
        assert (await handle.result()).output == "one"
        await b.orch.delete(handle.id)


async def test_of_two_that_resume_at_once_one_goes_on() -> None:
    store, run_id = await whole(Workflow.of(Payload("ask", "Go.", retry=ONCE), name="w"), {"ask": ProviderUnavailable})
    outcomes: list[object] = []
    async with process(store, {"ask": Reply("two", 1)}, recover=False) as s:

        async def resume() -> None:
            try:
                outcomes.append((await (await s.orch.resume(run_id)).result()).output)
            except ClaimLost as error:
                outcomes.append(type(error))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(resume)
        assert outcomes.count("two") >= 1
        assert set(outcomes) <= {"two", ClaimLost}
        assert len(s.asked) == 1
        assert (await store.load(run_id)).epoch == 2


async def test_a_run_is_taken_over_from_an_owner_that_hangs() -> None:
    here = SharedStore("a")
    there = SharedStore("b", of=here)
    async with process(here, {"ask": Reply("one", 50)}) as a, process(there, {"ask": Reply("two", 2)}) as b:
        handle = await a.orch.start(asking())
        await anyio.sleep(1)
        taken = await b.orch.takeover(handle.id)
        assert taken.id == handle.id
        assert (await taken.result()).output == "two"
        seen = [event async for event in handle.events() if event.seq is not None]
        assert seen == list(await b.log(handle.id)), "whoever watched it there sees it to its end"
        with pytest.raises(ClaimLost):
            await handle.result()
        assert (await a.orch.get(handle.id)).output == "two"
        await a.orch.delete(handle.id)


async def test_there_is_nothing_to_take_over_of_a_run_that_ended_or_is_here() -> None:
    async with process(SharedStore(), {"ask": Reply("one", 5)}) as s:
        handle = await s.orch.start(asking())
        await anyio.sleep(1)
        assert (await (await s.orch.takeover(handle.id)).result()).output == "one"
        before = await s.log(handle.id)
        assert (await (await s.orch.takeover(handle.id)).result()).output == "one"
        assert await s.log(handle.id) == before
        assert not any(isinstance(event, RunResumed) for event in before)
        with pytest.raises(RunNotFound):
            await s.orch.takeover("nonesuch")


async def test_a_run_that_is_left_is_gone_on_with_by_another() -> None:
    here = SharedStore("a")
    async with process(here, {"one": "first", "two": Reply("second", 100)}) as a:
        handle = await a.orch.start(chain())
        await anyio.sleep(1)
        begun = anyio.current_time()
    assert anyio.current_time() - begun == pytest.approx(10, abs=1), "what is in flight is given ten seconds"
    row = await here.load(handle.id)
    assert (row.status, row.owner) == ("running", None)
    async with process(SharedStore("b", of=here), {"two": "again"}, workflows=[chain()]) as b:
        run = await b.orch.attach(handle.id).result()
        assert (run.output, b.asked) == ("again", ["two"])


async def test_what_ends_while_the_orchestrator_is_left_is_kept() -> None:
    here = SharedStore("a")
    async with process(here, {"one": Reply("first", 5), "two": "second"}) as a:
        handle = await a.orch.start(chain())
        await anyio.sleep(1)
    assert kinds(await here.events(handle.id))[-1] == "StepSucceeded one"
    async with process(SharedStore("b", of=here), {"two": "second"}, workflows=[chain()]) as b:
        assert (await b.orch.attach(handle.id).result()).output == "second"
        assert b.asked == ["two"]


async def test_a_resume_that_breaks_leaves_the_run_as_it_was() -> None:
    wf = Workflow.of(Payload("ask", "Go.", retry=ONCE), name="w")
    store, run_id = await whole(wf, {"ask": ProviderUnavailable("down")})
    before = list(await store.events(run_id))

    class Broken(SharedStore):
        is_broken = True

        async def inbox(self, run_id: str) -> Sequence[InboxItem]:
            if self.is_broken:
                raise StoreBusy("locked")
            return await super().inbox(run_id)

    broken = Broken("c", of=store)
    async with process(broken, {"ask": "two"}, workflows=[wf], recover=False) as s:
        with pytest.raises(StoreBusy):
            await s.orch.resume(run_id)
        row = await store.load(run_id)
        assert (row.status, row.owner) == ("failed", None)
        assert await store.events(run_id) == before
        broken.is_broken = False
        assert (await (await s.orch.resume(run_id)).result()).output == "two"


# Steps of which nobody knows what they have done


def careful(action: Any, **options: Any) -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns(wf.add(action, name="step", on_unknown="fail", **options))


async def refused(workflow: Workflow[Any], script: dict[str, object], when: Any, then: dict[str, object]) -> Any:
    """The recovered run, and how often the step was asked again."""
    store, run_id = await dying(workflow, script, when=when)
    async with process(store, then, workflows=[workflow]) as s:
        run = await s.orch.attach(run_id).result()
        return s, run


def is_start(event: Event) -> bool:
    return isinstance(event, StepStarted)


async def test_a_call_in_flight_is_not_repeated_where_that_is_to_fail() -> None:
    wf = careful(Payload("ask", "Go."))
    store, run_id = await dying(wf, {"step": "one"}, when=is_call)
    async with process(store, {"step": "two"}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, s.asked) == ("failed", [])
        assert isinstance(run.error, StepError)
        assert run.error.step == "step"
        assert "resume" in str(run.error)
        resumed = await (await s.orch.resume(run_id)).result()
        assert (resumed.output, s.asked) == ("two", ["step"])


async def test_a_payload_that_had_not_asked_yet_runs() -> None:
    wf = careful(Payload("ask", "Go."))
    _, run = await refused(wf, {"step": "one"}, is_start, {"step": "two"})
    assert run.output == "two"


async def test_a_payload_between_two_tries_goes_on() -> None:
    wf = careful(Payload("ask", "Go.", retry=Retry(attempts=3, base=1)))
    script = {"step": [ProviderUnavailable("down"), "one"]}
    _, run = await refused(wf, script, lambda e: isinstance(e, CallFinished), {"step": "two"})
    assert run.output == "two"


async def test_a_tool_in_flight_is_not_repeated_where_that_is_to_fail() -> None:
    @tool
    def send() -> str:
        """Send."""
        return "sent"

    wish = ProviderResponse("", (ToolCall("c", "send", "{}"),), Usage(1, 1), "tool_calls")
    wf = careful(Payload("ask", "Go.", tools=[send]))
    s, run = await refused(wf, {"step": [wish, "one"]}, lambda e: isinstance(e, ToolStarted), {"step": "two"})
    assert (run.status, s.asked) == ("failed", [])
    _, run = await refused(wf, {"step": [wish, "one"]}, lambda e: isinstance(e, ToolFinished), {"step": "two"})
    assert run.output == "two"


@pytest.mark.parametrize("pure", [True, False])
async def test_a_function_in_flight_is_repeated_only_when_it_is_pure(pure: bool) -> None:
    ran: list[int] = []

    @step(pure=pure)
    def work() -> int:
        ran.append(1)
        return 7

    wf = careful(work)
    store, run_id = await dying(wf, {}, when=is_start)
    ran.clear()
    async with process(store, {}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, len(ran)) == (("succeeded", 1) if pure else ("failed", 0))
        if not pure:
            assert (await (await s.orch.resume(run_id)).result()).output == 7


async def test_the_policy_of_the_step_decides_what_such_a_failure_means() -> None:
    wf = careful(Payload("ask", "Go."), on_error=Default("none"))
    s, run = await refused(wf, {"step": "one"}, is_call, {"step": "two"})
    assert (run.status, run.output, s.asked) == ("partial", "none", [])


async def test_of_a_map_only_the_items_in_flight_fail() -> None:
    wf: Workflow[Any] = Workflow("w")
    items = wf.map(
        Payload("ask", "{{ n }}"), n=each([1, 2, 3]), on_unknown="fail", on_error=Default("lost"), concurrency=1
    )
    wf.returns(items)
    when = lambda e: isinstance(e, CallStarted) and e.step == "ask[1]"  # noqa: E731
    s, run = await refused(wf, {"ask": "old"}, when, {"ask": "new"})
    assert (run.output, s.asked) == (["old", "lost", "new"], ["ask[2]"])


# Runs that seem to end their processes


async def left_by(folder: Path, *, owners: int, recorded_after: int | None = None) -> str:
    """The id of a run that so many processes had and lost, one after the other."""
    run_id = ""
    for number in range(owners):
        store = SqliteStore(folder / "runs.db", owner=f"dead-{number}", durability="process")
        if number == 0:
            run_id = "0" * 26
            row = RunRow(run_id, "w", status="running", epoch=1, owner=store.owner, last_seq=1, created_at=1)
            body, sha = _definition()
            row = replace(row, definition_sha=sha)
            await store.create(row, [RunStarted("w", definition=sha, run_id=run_id, seq=1, at_us=1)], definition=body)
        else:
            claim = await store.claim(run_id, store.owner)
            if recorded_after == number:
                events: list[Event] = [
                    StepStarted("one", run_id=run_id, seq=claim.last_seq + 1, at_us=2),
                    StepSucceeded("one", "first", run_id=run_id, seq=claim.last_seq + 2, at_us=3),
                ]
                await store.append(claim, events)
        await store.aclose()  # its lock is gone, and its claim is not released: as after a kill
    return run_id


def _definition() -> tuple[Any, str]:
    from llmorch.definition.stored import stored

    sha, body = stored(chain().freeze())
    return body, sha


async def recovered(folder: Path, run_id: str) -> tuple[Any, list[str], list[Event]]:
    provider = ScriptedProvider({"one": "first", "two": "second"})
    store = SqliteStore(folder / "runs.db", durability="process")
    async with Orchestrator(store, providers=[provider], model=MODEL, workflows=[chain()]) as orch:
        run = await orch.attach(run_id).result()
        log = [event async for event in orch.attach(run_id).events()]
    return run, [request.step or "" for request in provider.requests], log


@pytest.mark.parametrize(("owners", "is_poisoned"), [(1, False), (5, False), (6, True), (9, True)])
async def test_a_run_that_ended_six_processes_is_given_up(tmp_path: Path, owners: int, is_poisoned: bool) -> None:
    run_id = await left_by(tmp_path, owners=owners)
    run, asked, log = await recovered(tmp_path, run_id)
    assert (run.status, asked) == (("failed", []) if is_poisoned else ("succeeded", ["one", "two"]))
    if is_poisoned:
        assert isinstance(run.error, RunPoisoned)
        assert kinds(log)[-2:] == ["RunResumed", "RunFinished"]


async def test_a_recorded_step_says_that_a_run_is_sound(tmp_path: Path) -> None:
    run_id = await left_by(tmp_path, owners=8, recorded_after=5)
    run, asked, _ = await recovered(tmp_path, run_id)
    assert (run.status, asked) == ("succeeded", ["two"])


async def test_a_poisoned_run_can_be_resumed_by_hand(tmp_path: Path) -> None:
    run_id = await left_by(tmp_path, owners=6)
    run, _, _ = await recovered(tmp_path, run_id)
    assert run.status == "failed"
    provider = ScriptedProvider({"one": "first", "two": "second"})
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    async with Orchestrator(store, providers=[provider], model=MODEL, workflows=[chain()]) as orch:
        assert (await (await orch.resume(run_id)).result()).output == "second"


async def test_a_run_that_was_left_in_peace_does_not_count_as_one_that_ended_its_process(tmp_path: Path) -> None:
    wf = Workflow.of(Payload("one", "Go."), name="w")
    run_id = ""
    for _ in range(8):
        asked = anyio.Event()

        async def never(_: object, asked: anyio.Event = asked) -> str:
            asked.set()
            await anyio.sleep(10_000)
            return "never"

        provider = ScriptedProvider({"one": never})
        store = SqliteStore(tmp_path / "runs.db", durability="process")
        async with Orchestrator(store, providers=[provider], model=MODEL, workflows=[wf], recover=False) as orch:
            if not run_id:
                run_id = (await orch.start(wf)).id
            else:
                await orch.resume(run_id)
            await asked.wait()
    async with Orchestrator(SqliteStore(tmp_path / "runs.db"), recover=False) as orch:
        assert (await orch._queries.store.load(run_id)).recoveries == 0


# What is said about it


async def test_code_that_changed_is_told_and_run_as_it_is_now() -> None:
    def version_one() -> str:
        return "old"

    def version_two() -> str:
        return "new"

    version_one.__qualname__ = version_two.__qualname__ = "made"
    version_one.__name__ = version_two.__name__ = "made"

    def flow(made: Any) -> Workflow[Any]:
        wf: Workflow[Any] = Workflow("w")
        wf.add(one)
        wf.returns(wf.add(made, after=["one"]))
        return wf

    store, run_id = await dying(flow(version_one), {}, when=lambda e: isinstance(e, StepSucceeded))
    async with process(store, {}, workflows=[flow(version_two)]) as s:
        run = await s.orch.attach(run_id).result()
        assert run.output == "new"
        assert [(warning.step, warning.code) for warning in run.warnings] == [("made", "code-changed")]
        assert sum(isinstance(event, Warned) for event in await s.log(run_id)) == 1
    store, run_id = await dying(flow(version_one), {}, when=lambda e: isinstance(e, StepSucceeded))
    async with process(store, {}, workflows=[flow(version_one)]) as s:
        assert not (await s.orch.attach(run_id).result()).warnings


async def test_a_hook_sees_every_event_once_across_the_processes() -> None:
    seen: list[tuple[str, int]] = []

    def note(event: Event) -> None:
        seen.append((event.run_id, event.seq or 0))

    here = SharedStore("a")
    async with process(here, {"one": "first", "two": Reply("second", 100)}, hooks=[note]) as a:
        handle = await a.orch.start(chain())
        await anyio.sleep(1)
    async with process(SharedStore("b", of=here), {"two": "again"}, workflows=[chain()], hooks=[note]) as b:
        await b.orch.attach(handle.id).result()
    assert seen == [(handle.id, seq) for seq in range(1, len(await here.events(handle.id)) + 1)]


async def test_interrupted_runs_are_listed_apart() -> None:
    store, run_id = await interrupted()
    async with process(store, {"ask": Reply("one", 5)}, recover=False) as s:
        live = await s.orch.start(asking("other"))
        await anyio.sleep(1)
        assert [row.id for row in await s.orch.runs(status="interrupted")] == [run_id]
        assert [row.id for row in await s.orch.runs(status="running")] == [live.id]
        assert {row.status for row in await s.orch.runs()} == {"interrupted", "running"}
        assert (await s.orch.get(run_id)).status == "interrupted"
        assert (await s.orch.runs(status="interrupted", limit=0)) == []


async def test_a_store_that_is_gone_with_its_process_needs_no_recovery() -> None:
    store = MemoryStore()
    provider = ScriptedProvider({"ask": "one"})
    async with Orchestrator(store, providers=[provider], model=MODEL) as orch:
        run = await orch.run(asking())
        assert await orch.recover() == []
        assert (await orch.get(run.id)).output == "one"


async def test_a_closed_orchestrator_goes_on_with_nothing() -> None:
    store, run_id = await interrupted()
    async with process(store, {}, workflows=[asking()], recover=False) as s:
        pass
    for verb in (s.orch.resume, s.orch.takeover):
        with pytest.raises(LLMOrchError, match="closed"):
            await verb(run_id)
    with pytest.raises(LLMOrchError, match="closed"):
        await s.orch.recover()
