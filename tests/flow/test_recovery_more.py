"""Runs that lose their process twice, or to a process that knows their workflow as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import (
    CallStarted,
    Event,
    Orchestrator,
    Payload,
    RunResumed,
    StoreBusy,
    StoreError,
    StoreFull,
    ToolFinished,
    ToolStarted,
    Workflow,
    each,
    tool,
)
from llmorch.ports import Claim, ProviderResponse, ToolCall, Usage
from llmorch.stores.sqlite import SqliteStore
from llmorch.testing import ScriptedProvider
from tests.flow.elsewhere import SharedStore, cut, dying, process
from tests.flow.stage import MODEL

pytestmark = pytest.mark.anyio


def wish(word: str) -> ProviderResponse:
    """An answer that asks for a tool."""
    return ProviderResponse("", (ToolCall("c1", "note", f'{{"word": "{word}"}}'),), Usage(1, 1), "tool_calls")


async def cut_at_second_call(store: SharedStore, run_id: str) -> SharedStore:
    log = await store.events(run_id, limit=100_000)
    is_second = [isinstance(event, CallStarted) and event.call == 2 for event in log]
    return await cut(store, run_id, is_second.index(True) + 1)


async def test_a_tool_that_was_cut_off_once_is_not_run_a_third_time() -> None:
    ran: list[str] = []

    @tool
    def note(word: str) -> str:
        """Note."""
        ran.append(word)
        return f"noted {word} as number {len(ran)}"

    def flow() -> Workflow[Any]:
        return Workflow.of(Payload("ask", "Go.", tools=[note]), name="w")

    def is_tool(event: Event) -> bool:
        return isinstance(event, ToolStarted)

    store, run_id = await dying(flow(), {"ask": [wish("tea"), "old"]}, when=is_tool)
    ran.clear()
    async with process(store, {"ask": ["older"]}, workflows=[flow()]) as s:
        await s.orch.attach(run_id).result()
    assert ran == ["tea"], "nobody knows what it did the first time"
    store = await cut_at_second_call(store, run_id)
    async with process(store, {"ask": ["new"]}, workflows=[flow()]) as s:
        run = await s.orch.attach(run_id).result()
        (request,) = s.provider.requests
        assert run.output == "new"
        assert [message.text for message in request.messages if message.role == "tool"] == ["noted tea as number 1"]
        kept = [event for event in await s.log(run_id) if isinstance(event, ToolFinished)]
    assert (ran, len(kept)) == (["tea"], 1)


def shout(ask: str) -> str:
    return ask.upper()


def whisper(ask: str) -> str:
    return ask.lower()


def coded(function: Any) -> Workflow[Any]:
    """A call and a function."""
    return Workflow.of(Payload("ask", "Go."), function, name="w")


@pytest.mark.parametrize("is_newest_last", [True, False])
async def test_two_registered_workflows_of_one_name_both_give_their_code(is_newest_last: bool) -> None:
    before, now = coded(shout), coded(whisper)
    store, run_id = await dying(before, {"ask": "One"}, when=lambda event: isinstance(event, CallStarted))
    known = [before, now] if is_newest_last else [now, before]
    async with process(store, {"ask": "Two"}, workflows=known) as s:
        assert (await s.orch.attach(run_id).result()).output == "TWO"


@pytest.mark.parametrize("kind", ["workflow", "map", "workflow in a workflow"])
async def test_what_is_inside_a_step_that_is_not_to_be_repeated_is_not_repeated(kind: str) -> None:
    inner: Workflow[Any] = Workflow.of(Payload("pay", "Pay {{ sum }}."), name="inner")
    if kind == "workflow in a workflow":
        outer: Workflow[Any] = Workflow("outer")
        outer.add(inner)
        inner = outer
    wf: Workflow[Any] = Workflow("w")
    if kind == "map":
        wf.map(inner, name="all", sum=each([1, 2]), concurrency=1, on_unknown="fail")
    else:
        wf.add(inner, name="all", sum=1, on_unknown="fail")
    store, run_id = await dying(wf, {"*": "paid"}, when=lambda event: isinstance(event, CallStarted))
    async with process(store, {"*": "again"}, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert (run.status, s.asked) == ("failed", [])
        (path,) = [path for path in run.failures if path.endswith("pay")]
        assert "on_unknown='fail'" in str(run.failures[path])
        resumed = await (await s.orch.resume(run_id)).result()
        assert (resumed.status, s.asked[0]) == ("succeeded", path)


async def test_a_run_whose_store_was_closed_by_another_ends_here_and_is_taken_up_elsewhere(tmp_path: Path) -> None:
    wf = Workflow.of(Payload("ask", "Go."), Payload("tell", "On: {{ ask }}"), name="w")
    path, entered = tmp_path / "runs.db", anyio.Event()

    async def slowly(request: object) -> str:
        entered.set()
        await anyio.sleep(5)
        return "late"

    shared = SqliteStore(path, durability="process")
    provider = ScriptedProvider({"ask": slowly})
    async with Orchestrator(shared, providers=[provider], model=MODEL, workflows=[wf]) as orch:
        handle = await orch.start(wf)
        await entered.wait()
        await shared.aclose()
        with anyio.fail_after(60), pytest.raises(StoreError, match="closed"):
            await handle.result()
    provider = ScriptedProvider({"*": "again"})
    async with Orchestrator(SqliteStore(path), providers=[provider], model=MODEL, workflows=[wf]) as orch:
        assert (await orch.attach(handle.id).result()).output == "again"


@pytest.mark.parametrize("trouble", [StoreFull("full"), StoreBusy("locked"), StoreError("the disk failed")])
async def test_a_store_that_cannot_be_written_just_now_is_entered_and_recovered_from_later(trouble: StoreError) -> None:
    wf = Workflow.of(Payload("ask", "Go."), name="w")
    store, run_id = await dying(wf, {"ask": "one"}, when=lambda event: isinstance(event, CallStarted))

    class Ailing(SharedStore):
        is_well = False

        async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
            if not self.is_well:
                raise trouble
            return await super().claim(run_id, owner, takeover=takeover)

    ailing = Ailing("c", of=store)
    async with process(ailing, {"ask": "two"}, workflows=[wf]) as s:
        assert [found.status for found in await s.orch.runs()] == ["interrupted"], "it can be read"
        with pytest.raises(type(trouble)):
            await s.orch.recover()
        await anyio.sleep(20)
        assert s.asked == []
        ailing.is_well = True
        assert (await s.orch.attach(run_id).result()).output == "two"


async def test_a_run_that_was_passed_over_for_want_of_code_goes_on_when_the_code_is_known() -> None:
    wf = coded(shout)
    store, run_id = await dying(wf, {"ask": "one"}, when=lambda event: isinstance(event, CallStarted))
    async with process(store, {"ask": "two"}, recover="all") as s:
        assert (await s.orch.attach(run_id).result()).status == "interrupted"
        await s.orch.run(wf)
        assert (await s.orch.attach(run_id).result()).output == "TWO"


class Standing(SharedStore):
    """The store of a process that stands still while it takes a run up, as under SIGSTOP."""

    def __init__(self, name: str, *, of: SharedStore) -> None:
        super().__init__(name, of=of)
        self.stands, self.goes_on = anyio.Event(), anyio.Event()

    async def append(self, claim: Claim, events: Any, **named: Any) -> Any:
        if any(isinstance(event, RunResumed) for event in events):
            self.stands.set()
            await self.goes_on.wait()
        return await super().append(claim, events, **named)


async def test_who_waits_for_a_run_that_is_lost_while_it_is_taken_up_gets_it_from_where_it_goes_on() -> None:
    def flow() -> Workflow[Any]:
        return Workflow.of(Payload("ask", "Go."), name="w")

    store, run_id = await dying(flow(), {"ask": ["old"]}, when=lambda event: isinstance(event, CallStarted))
    standing = Standing("b", of=store)
    outputs: list[Any] = []
    async with process(standing, {}, workflows=[flow()], recover=False) as b, anyio.create_task_group() as tasks:

        async def wait() -> None:
            outputs.append((await b.orch.attach(run_id).result()).output)

        tasks.start_soon(b.orch.recover)
        await standing.stands.wait()
        tasks.start_soon(wait)
        async with process(SharedStore("c", of=store), {"ask": ["new"]}, workflows=[flow()], recover=False) as c:
            handle = await c.orch.takeover(run_id)
            await anyio.sleep(1)
            standing.goes_on.set()
            outputs.append((await handle.result()).output)
    assert outputs == ["new", "new"]
    assert not b.provider.requests
