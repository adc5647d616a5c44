"""What listeners see: order, numbers, pieces of answers, late joiners, slow readers; and the fold of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import anyio
import pytest

from llmorch import (
    CallFinished,
    CallStarted,
    Default,
    Event,
    Node,
    Orchestrator,
    Payload,
    ProviderUnavailable,
    RateLimited,
    Retry,
    Run,
    RunFinished,
    RunNotFound,
    RunStarted,
    StepDelta,
    StepFailed,
    StepSucceeded,
    StoreCorrupt,
    StoreError,
    StreamTruncated,
    Workflow,
    each,
    first_n,
    first_of,
    optional,
    step,
)
from llmorch.engine.state.run import RunState
from llmorch.ports import AppendReply, Claim
from llmorch.stores.memory import MemoryStore
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import fails, kinds, named, one, slow, stage

pytestmark = pytest.mark.anyio


def text_of(events: Sequence[Event], step: str) -> str:
    """The text a reader has who obeys offsets and calls."""
    call, text = 0, ""
    for event in events:
        if isinstance(event, StepDelta) and event.step == step:
            if event.call != call:
                assert event.call > call
                call, text = event.call, ""
            assert event.offset == len(text)
            text += event.text
    return text


async def test_the_log_of_a_call_is_in_order_and_numbered_without_gaps() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")
    async with stage({"a": "A", "b": "B"}) as s:
        async with s.orch.stream(wf) as events:
            seen = [event async for event in events]
        committed = [event for event in seen if event.seq is not None]
        assert [event.seq for event in committed] == list(range(1, 11))
        assert kinds(committed) == [
            "RunStarted",
            "StepStarted a", "CallStarted a", "CallFinished a", "StepSucceeded a",
            "StepStarted b", "CallStarted b", "CallFinished b", "StepSucceeded b",
            "RunFinished",
        ]  # fmt: skip
        assert {event.run_id for event in seen} == {events.run.id}
        assert all(earlier.at_us <= later.at_us for earlier, later in pairwise(committed))
        assert committed == list(await s.log(events.run))


async def test_pieces_come_live_before_their_step_has_succeeded_and_are_never_stored() -> None:
    async with stage({"p": Reply("one two three", chunks=["one ", "two ", "three"])}) as s:
        async with s.orch.stream(Payload("p", "x")) as events:
            seen = [event async for event in events]
        assert text_of(seen, "p") == "one two three"
        order = [type(event).__name__ for event in seen]
        last = max(index for index, name in enumerate(order) if name == "StepDelta")
        assert order.index("CallStarted") < order.index("StepDelta")
        assert last < order.index("CallFinished") < order.index("StepSucceeded")
        assert all(event.seq is None for event in seen if isinstance(event, StepDelta))
        assert not any(isinstance(event, StepDelta) for event in await s.log(events.run))


async def test_nobody_watching_means_no_streaming() -> None:
    asked: list[bool] = []

    class Watched(ScriptedProvider):
        async def complete(self, request: Any, *, on_delta: Any = None) -> Any:
            asked.append(on_delta is not None)
            return await super().complete(request, on_delta=on_delta)

    async with Orchestrator(providers=[Watched({"p": "P"})], model="scripted:m", hooks=[lambda event: None]) as orch:
        await orch.run(Payload("p", "x"))
        async with orch.stream(Payload("p", "x")) as events:
            async for _ in events:
                pass
    assert asked == [False, True]


async def test_a_higher_call_replaces_the_text_of_the_former() -> None:
    script = {"p": [Reply(StreamTruncated("cut"), chunks=["half a "]), "the whole"]}
    async with stage(script) as s:
        async with s.orch.stream(Payload("p", "x")) as events:
            seen = [event async for event in events]
        assert text_of(seen, "p") == "the whole"
        assert {event.call for event in seen if isinstance(event, StepDelta)} == {1, 2}
        first_end = next(i for i, event in enumerate(seen) if isinstance(event, CallFinished))
        assert all(event.call == 2 for event in seen[first_end:] if isinstance(event, StepDelta))


async def test_a_late_joiner_gets_the_text_so_far_at_offset_zero() -> None:
    class Drip(ScriptedProvider):
        async def complete(self, request: Any, *, on_delta: Any = None) -> Any:
            if on_delta is not None:
                for piece in ("a", "b", "c", "d"):
                    on_delta(piece)
                    await anyio.sleep(1)
            return await super().complete(request)

    async with Orchestrator(providers=[Drip({"p": "abcd"})], model="scripted:m") as orch:
        handle = await orch.start(Payload("p", "x"))
        first_listener = handle.events()  # joins before the call starts, so the call is streamed
        early: list[Event] = []
        late: list[Event] = []

        async def watch_early() -> None:
            early.extend([event async for event in first_listener])

        async def watch_late() -> None:
            await anyio.sleep(1.5)
            late.extend([event async for event in handle.events()])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_early)
            tasks.start_soon(watch_late)
        assert text_of(early, "p") == "abcd"
        assert text_of(late, "p") == "abcd"
        first = next(event for event in late if isinstance(event, StepDelta))
        assert (first.offset, first.text) == (0, "ab")
        started = next(index for index, event in enumerate(late) if isinstance(event, CallStarted))
        assert started < late.index(first)


async def test_a_reconnect_gives_what_came_after_and_nothing_of_ended_steps() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")
    async with stage({"a": "AAA", "b": Reply("BBB", 5)}) as s:
        handle = await s.orch.start(wf)
        again: list[Event] = []
        from_the_start = handle.events()

        async def watch() -> None:
            async for _ in from_the_start:
                pass

        async def reconnect() -> None:
            await anyio.sleep(1)
            after = next(event.seq for event in await s.log(handle.id) if isinstance(event, StepSucceeded))
            again.extend([event async for event in handle.events(after=after or 0)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            tasks.start_soon(reconnect)
        assert {getattr(event, "step", "b") for event in again} == {"b"}
        assert text_of(again, "b") == "BBB"


async def test_events_of_an_ended_run_can_be_read_again_from_any_place() -> None:
    async with stage({"p": "P"}) as s:
        handle = await s.orch.start(Payload("p", "x"))
        await handle.result()
        all_of_them = [event async for event in handle.events()]
        assert [event.seq for event in all_of_them] == [1, 2, 3, 4, 5, 6]
        assert [event.seq async for event in handle.events(after=4)] == [5, 6]
        assert [event async for event in handle.events(after=6)] == []
        assert [event.seq async for event in s.orch.attach(handle.id).events()] == [1, 2, 3, 4, 5, 6]


async def test_events_of_no_run_are_refused() -> None:
    async with stage() as s:
        with pytest.raises(RunNotFound):
            [event async for event in s.orch.attach("nonesuch").events()]
        with pytest.raises(RunNotFound):
            await s.orch.attach("nonesuch").result()
        with pytest.raises(RunNotFound):
            await s.orch.attach("nonesuch").cancel()
        with pytest.raises(RunNotFound):
            await s.orch.get("nonesuch")


async def test_a_slow_reader_gets_merged_pieces_and_every_committed_event() -> None:
    words = [f"w{i} " for i in range(200)]
    async with stage({"p": Reply("".join(words), chunks=words)}) as s:
        began = anyio.current_time()
        handle = await s.orch.start(Payload("p", "x"))
        seen: list[Event] = []
        async for event in handle.events():
            seen.append(event)
            await anyio.sleep(1)
        run = await handle.result()
        assert run.duration.total_seconds() < 5
        assert text_of(seen, "p") == "".join(words)
        assert sum(isinstance(event, StepDelta) for event in seen) < 10
        assert [event.seq for event in seen if event.seq is not None] == [1, 2, 3, 4, 5, 6]
        assert anyio.current_time() - began < 30


async def test_two_listeners_see_the_same() -> None:
    wf = Workflow("w")
    wf.returns([wf.add(Payload(f"p{i}", "x")) for i in range(5)])
    async with stage({"*": Reply("some words to stream", 1)}) as s:
        handle = await s.orch.start(wf)
        listeners = [handle.events(), handle.events()]
        seen: list[list[Event]] = [[], []]

        async def watch(index: int) -> None:
            seen[index] = [event async for event in listeners[index]]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, 0)
            tasks.start_soon(watch, 1)
        assert [e for e in seen[0] if e.seq] == [e for e in seen[1] if e.seq] == list(await s.log(handle.id))
        for events in seen:
            assert {text_of(events, f"p{i}") for i in range(5)} == {"some words to stream"}


async def test_a_piece_never_comes_after_its_step_was_cancelled() -> None:
    class Endless(ScriptedProvider):
        async def complete(self, request: Any, *, on_delta: Any = None) -> Any:
            if request.step == "long" and on_delta is not None:
                while True:
                    on_delta("x")
                    await anyio.sleep(1)
            return await super().complete(request, on_delta=on_delta)

    wf = Workflow("w")
    nodes = [wf.add(Payload("quick", "x"), on_error="skip"), wf.add(Payload("long", "x"), on_error="skip")]
    wf.add(lambda xs: xs, name="join", xs=first_n(nodes, 1, cancel_rest=True))
    wf.add(slow, seconds=9, after=["join"])
    wf.returns([Node("join"), Node("slow")])
    async with Orchestrator(providers=[Endless({"quick": Reply("Q", 3)})], model="scripted:m") as orch:
        seen: list[Event] = []
        async with orch.stream(wf) as events:
            async for event in events:
                seen.append(event)
                await anyio.sleep(0.9)
        names = kinds(seen)
        assert "StepCancelled long" in names
        assert "StepDelta long" not in names[names.index("StepCancelled long") :]


async def test_containers_store_no_copy_of_their_children() -> None:
    inner = named("inner", one)
    wf = Workflow("w")
    wf.map(lambda n: n * 111, name="m", n=each([1, 2]))
    wf.returns([Node("m"), wf.add(inner)])
    async with stage() as s:
        run = await s.orch.run(wf)
        values = {event.step: event.value for event in await s.log(run) if isinstance(event, StepSucceeded)}
        assert values == {"m[0]": 111, "m[1]": 222, "m": None, "inner/one": 1, "inner": None}
        assert run.output == [[111, 222], 1]


async def test_an_answer_that_is_the_value_is_written_once() -> None:
    async with stage({"p": "the text", "q": 5}) as s:
        wf = Workflow("w")
        wf.returns([wf.add(Payload("p", "x")), wf.add(Payload("q", "x", output=int))])
        run = await s.orch.run(wf)
        texts = {event.step: event.answer.text for event in await s.log(run) if isinstance(event, CallFinished)}
        assert texts["p"] is None
        assert "5" in texts["q"]
        assert run.steps["p"].response.text == "the text"
        assert (await s.orch.get(run.id)).steps["p"].response.text == "the text"


async def test_the_start_of_a_function_is_committed_before_it_runs_unless_it_is_pure() -> None:
    seen: dict[str, list[str]] = {}
    async with stage() as s:

        async def look(key: str) -> int:
            (summary,) = await s.orch.runs(status="running")
            seen[key] = kinds(await s.log(summary.id))
            return 1

        wf = Workflow("w")
        wf.add(look, key="a")
        wf.map(look, name="m", key=each(["b", "c"]), after=["look"])
        wf.returns(Node("m"))
        await s.orch.run(wf)
        assert seen["a"] == ["RunStarted", "StepStarted look"]
        assert "StepStarted m[0]" in seen["b"]
        assert "StepStarted m[1]" in seen["c"]


class Breaking(MemoryStore):
    """Fails for good at the n-th unit."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    async def append(
        self, claim: Claim, events: Sequence[Event], *, status: str | None = None, **rest: Any
    ) -> AppendReply:
        self.good -= 1
        if self.good < 0:
            raise StoreCorrupt("the disk is gone")
        return await super().append(claim, events, status=status, **rest)


@pytest.mark.parametrize("good", [0, 1, 2])
async def test_a_store_that_fails_for_good_ends_run_listeners_and_hooks(good: int) -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")
    provider = ScriptedProvider({"a": Reply("A", 1), "b": Reply("B", 1)})
    orch = Orchestrator(Breaking(good), providers=[provider], model="scripted:m", hooks=[lambda event: None])
    async with orch:
        began = anyio.current_time()
        with pytest.raises(StoreCorrupt, match="disk is gone"):
            await orch.run(wf)
        assert anyio.current_time() - began < 9
    provider = ScriptedProvider({"a": Reply("A", 1), "b": Reply("B", 1)})
    async with Orchestrator(Breaking(good), providers=[provider], model="scripted:m") as orch:
        handle = await orch.start(wf)
        with anyio.fail_after(20):
            async for event in handle.events():  # ends, though the run has no end in the log
                assert not isinstance(event, RunFinished)
            with pytest.raises(StoreError):
                await handle.result()
    provider = ScriptedProvider({"a": Reply("A", 1), "b": Reply("B", 1)})
    async with Orchestrator(Breaking(good), providers=[provider], model="scripted:m") as orch:

        async def watch() -> None:
            async with orch.stream(wf) as events:
                async for _ in events:
                    pass

        with anyio.fail_after(20), pytest.raises(StoreError):
            await watch()


async def test_nothing_is_sent_that_the_store_did_not_record() -> None:
    provider = ScriptedProvider({"a": "A", "b": "B"})
    async with Orchestrator(Breaking(0), providers=[provider], model="scripted:m") as orch:
        with pytest.raises(StoreError):
            await orch.run(Payload("a", "x"))
    assert provider.requests == []


# The fold


def shape_chain() -> Workflow[Any]:
    return Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")


def shape_failed() -> Workflow[Any]:
    wf = Workflow("w")
    wf.add(slow)
    wf.add(fails)
    wf.add(lambda fails, slow: 0, name="never")
    return wf


def shape_partial() -> Workflow[Any]:
    wf = Workflow("w", on_error="skip")
    bad = wf.add(fails)
    gone = wf.add(one, name="gone", when="fails == 1")
    given = wf.add(fails, name="given", on_error=Default([1]))
    return wf.returns({"x": optional(bad, 3), "y": gone, "z": given, "first": first_of(bad, gone, given)})


def shape_map() -> Workflow[Any]:
    def odd(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n

    wf = Workflow("w")
    skip = wf.map(odd, name="skip", n=each([1, 2, 3, 4]), on_error="skip", concurrency=2)
    keep = wf.map(odd, name="keep", n=each(skip), on_error=Default(None))
    return wf.returns([skip, keep])


def shape_map_failed() -> Workflow[Any]:
    async def item_fails(n: int) -> int:
        await anyio.sleep(n)
        if n == 1:
            raise ValueError("stop")
        return n

    wf = Workflow("w")
    m = wf.map(item_fails, n=each([3, 1, 2, 2]), concurrency=2, name="m", on_error="fail")
    return wf.returns(m)


def shape_nested() -> Workflow[Any]:
    inner = Workflow("inner", on_error="skip")
    text = inner.input("text")
    inner.add(Payload("say", "{{ text }}"))
    inner.add(fails)
    inner.returns({"say": Node("say"), "text": text, "bad": Node("fails")})
    outer = Workflow("outer")
    outer.map(inner, text=each(["a", "b"]), name="both")
    wf = Workflow("w")
    return wf.returns(wf.add(outer))


def shape_quorum() -> Workflow[Any]:
    wf = Workflow("w")
    nodes = [wf.add(slow, name=f"s{i}", seconds=s, on_error="skip") for i, s in enumerate([3, 1, 2, 50])]
    return wf.returns({"n": first_n(nodes, 2, cancel_rest=True)})


def shape_retried() -> Workflow[Any]:
    return Workflow.of(Payload("flaky", "x", retry=Retry(base=0)), Payload("b", "{{ flaky }}"), name="w")


def shape_timeout() -> Workflow[Any]:
    inner = named("inner", slow)
    inner.input("seconds", float)
    wf = Workflow("w", on_error="skip")
    return wf.returns({"a": wf.add(inner, seconds=50, timeout=2), "b": wf.add(slow, seconds=1)})


def shape_typed() -> Workflow[Any]:
    wf = Workflow("w")
    numbers = wf.add(Payload("numbers", "x", output=list[int]))
    return wf.returns(wf.add(lambda xs: sum(xs), name="total", xs=numbers))


SHAPES: Mapping[str, Callable[[], Workflow[Any]]] = {
    name.removeprefix("shape_"): thing for name, thing in list(globals().items()) if name.startswith("shape_")
}
SCRIPT = {"flaky": [RateLimited("x"), ProviderUnavailable("y"), "F"], "numbers": [[1, 2]], "*": "words of an answer"}


def facts(run: Run[Any]) -> dict[str, Any]:
    """Everything a run says, in comparable form."""

    def shown(error: BaseException | None) -> str:
        return f"{type(error).__name__}: {error}"

    about: dict[str, Any] = {
        "status": run.status, "usage": run.usage, "cost": run.cost, "unpriced": run.unpriced_calls,
        "error": shown(run.error), "failures": {path: shown(error) for path, error in run.failures.items()},
        "warnings": list(run.warnings), "duration": run.duration, "inputs": run.inputs, "tags": run.tags,
    }  # fmt: skip
    if run.status in ("succeeded", "partial"):
        about["output"] = run.output
    for path, result in run.steps.items():
        response = result.response
        about[path] = (
            result.status, result.value, result.reason, shown(result.error), result.usage, result.cost,
            result.fingerprint, list(result.failures), result.started_at, result.finished_at,
            [(call.call, call.model, call.usage, shown(call.error), call.duration) for call in result.calls],
            response and (response.text, response.messages, response.value),
        )  # fmt: skip
    return about


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ending", ["let run", "cancelled", "timed out"])
async def test_the_fold_of_the_log_equals_the_live_run(shape: str, ending: str) -> None:
    wf = SHAPES[shape]()
    async with stage(SCRIPT) as s:
        handle = await s.orch.start(wf, timeout=1.5 if ending == "timed out" else None, tags=["t"])
        if ending == "cancelled":
            await anyio.sleep(1.5)
            await handle.cancel()
        run = await handle.result()
        log = await s.log(run)
        folded = RunState(wf.freeze())
        for event in log:
            folded.apply(event)
        assert facts(Run(folded)) == facts(run)
        assert facts(await s.orch.get(run.id)) == facts(run)
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert isinstance(log[0], RunStarted)
        assert isinstance(log[-1], RunFinished)
        assert log[-1].status == run.status
        assert log[-1].usage == run.usage


async def test_a_function_that_changes_its_arguments_changes_nothing_else() -> None:
    seen: list[list[int]] = []

    @step(retry=Retry(attempts=3, base=0))
    def greedy(xs: list[int]) -> int:
        seen.append(list(xs))
        xs.append(9)
        if len(seen) < 3:
            raise ValueError("again")
        return len(xs)

    def loose(xs: list, nest: dict) -> int:  # type: ignore[type-arg]
        xs.append(9)
        nest["a"].append(9)
        return len(xs)

    wf = Workflow("w")
    xs = wf.input("xs", list)
    wf.returns({"greedy": wf.add(greedy), "loose": wf.add(loose, nest={"a": [1]}), "xs": xs})
    async with stage() as s:
        given = [1, 2]
        run = await s.orch.run(wf, xs=given)
        assert seen == [[1, 2], [1, 2], [1, 2]]
        assert run.output == {"greedy": 3, "loose": 3, "xs": [1, 2]}
        assert given == [1, 2]
        stored = await s.orch.get(run.id)
        for name in ("greedy", "loose"):
            assert run.steps[name].fingerprint == stored.steps[name].fingerprint
        run.output["xs"].append(3)
        run.inputs["xs"].append(3)
        run["loose"]
        assert run.output["xs"] == [1, 2]
        assert (await s.orch.run(wf, xs=[1, 2])).steps["loose"].fingerprint == stored.steps["loose"].fingerprint


async def test_a_failed_step_is_in_the_log_with_its_chain() -> None:
    def chained() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    async with stage() as s:
        run = await s.orch.run(chained)
        failed = next(event for event in await s.log(run) if isinstance(event, StepFailed))
        assert failed.error.type == "StepError"
        assert failed.error.cause is not None
        assert failed.error.cause.type.endswith("ValueError")
        assert failed.error.cause.cause is not None
        assert "KeyError" in failed.error.cause.cause.type
