"""Concurrency, timeouts, cancellation; and that nothing is left behind."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmorch import (
    Default,
    Node,
    Payload,
    ProviderUnavailable,
    RateLimited,
    Retry,
    RunCancelRequested,
    RunFailed,
    RunFinished,
    TimedOut,
    Warned,
    Workflow,
    each,
)
from llmorch.testing import Reply
from tests.flow.stage import Meter, fails, kinds, named, one, slow, stage

pytestmark = pytest.mark.anyio


def tasks_alive() -> int:
    try:
        import asyncio

        return len(asyncio.all_tasks())
    except RuntimeError:
        import trio

        return trio.lowlevel.current_statistics().tasks_living


def wide(meter: Meter, width: int, name: str = "wide") -> Workflow[Any]:
    wf = Workflow(name)
    wf.returns([wf.add(meter.work, name=f"s{i}", seconds=1) for i in range(width)])
    return wf


@pytest.mark.parametrize("bound", [1, 2, 5])
async def test_concurrency_bounds_the_steps_executed_at_once(bound: int) -> None:
    meter = Meter()
    async with stage(concurrency=bound) as s:
        began = anyio.current_time()
        await s.orch.run(wide(meter, 10))
        assert meter.peak == bound
        assert anyio.current_time() - began == pytest.approx(10 / bound)


async def test_concurrency_is_over_all_runs() -> None:
    meter = Meter()
    async with stage(concurrency=3) as s:
        handles = [await s.orch.start(wide(meter, 4, f"w{i}")) for i in range(4)]
        for handle in handles:
            assert (await handle.result()).status == "succeeded"
        assert meter.peak == 3
        assert meter.total == 16


@pytest.mark.parametrize("concurrency", [1, 2, 64])
async def test_concurrency_never_changes_a_result(concurrency: int) -> None:
    inner = Workflow("inner", on_error="skip")
    inner.input("n", int)
    inner.add(lambda n: [n][1] if n == 2 else n * 2, name="double")
    inner.returns({"d": Node("double")})
    wf = Workflow("w")
    rows = wf.map(inner, n=each([1, 2, 3]))
    wf.add(lambda rows: [row["d"] for row in rows], name="sum", rows=rows)
    wf.add(Payload("say", "{{ sum }}"))
    async with stage({"say": lambda request: request.messages[-1].text}, concurrency=concurrency) as s:
        run = await s.orch.run(wf)
        assert run.output == "[2, null, 6]"
        assert run.status == "partial"


async def test_a_retry_pause_holds_no_place() -> None:
    wf = Workflow("w")
    wf.add(Payload("flaky", "x", retry=Retry(base=10, cap=10)))
    wf.add(slow, seconds=1)
    wf.returns([Node("flaky"), Node("slow")])
    async with stage({"flaky": [ProviderUnavailable("x"), "F"]}, concurrency=1) as s:
        run = await s.orch.run(wf)
        assert run.output == ["F", 1]
        pause_end, slow_end = run.steps["flaky"].finished_at, run.steps["slow"].finished_at
        assert pause_end is not None
        assert slow_end is not None
        assert slow_end < pause_end


async def test_a_run_cancelled_while_it_waits_for_a_place_gives_none_away() -> None:
    meter = Meter()
    pausing = Payload("flaky", "x", retry=Retry(attempts=9, base=4, cap=4))
    async with stage({"flaky": ProviderUnavailable("x")}, concurrency=1) as s:
        flaky = await s.orch.start(pausing)
        await anyio.sleep(0.5)
        busy = await s.orch.start(wide(meter, 1, "busy"))
        long = Workflow("long")
        long.add(meter.work, seconds=10)
        others = [await s.orch.start(long)]
        await anyio.sleep(5)  # the pause is over; its place is taken
        await flaky.cancel()
        others += [await s.orch.start(wide(meter, 3, f"w{i}")) for i in range(3)]
        for handle in [busy, *others]:
            await handle.result()
        assert meter.peak == 1


async def test_a_payloads_timeout_bounds_one_call() -> None:
    payload = Payload("p", "x", timeout=5, retry=Retry(attempts=2, base=0))
    async with stage({"p": [Reply("late", 9), Reply("in time", 4)]}) as s:
        began = anyio.current_time()
        run = await s.orch.run(payload)
        assert run.output == "in time"
        assert anyio.current_time() - began == pytest.approx(9)
        assert [type(call.error).__name__ for call in run.steps["p"].calls] == ["TimedOut", "NoneType"]


async def test_an_unset_timeout_is_ten_minutes() -> None:
    async with stage({"p": Reply("late", 700)}) as s:
        began = anyio.current_time()
        run = await s.orch.run(Payload("p", "x", retry=Retry(attempts=1)))
        assert isinstance(run.error, TimedOut)
        assert anyio.current_time() - began == pytest.approx(600)


async def test_a_steps_timeout_bounds_all_its_attempts_and_pauses() -> None:
    wf = Workflow("w")
    wf.add(Payload("p", "x", retry=Retry(attempts=50, base=3, cap=3)), timeout=10)
    async with stage({"p": Reply(ProviderUnavailable("x"), 1)}) as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert isinstance(run.error, TimedOut)
        assert run.error.step == "p"
        assert "10" in str(run.error)
        assert anyio.current_time() - began == pytest.approx(10)


@pytest.mark.parametrize(("policy", "value"), [("skip", None), (Default("later"), "later")])
async def test_a_steps_timeout_obeys_its_policy(policy: Any, value: Any) -> None:
    wf = Workflow("w")
    wf.add(slow, seconds=100, timeout=3, on_error=policy)
    wf.returns({"x": Node("slow")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"x": value}
        assert isinstance(run.failures["slow"], TimedOut)
        assert run.steps["slow"].status == "failed"


@pytest.mark.parametrize("kind", ["map", "nested"])
async def test_a_containers_timeout_bounds_everything_in_it(kind: str) -> None:
    wf = Workflow("w")
    if kind == "map":
        wf.map(slow, name="box", seconds=each([2, 50, 60]), timeout=10, on_error="skip")
        inside = ["box[0]", "box[1]", "box[2]"]
    else:
        inner = Workflow("inner")
        inner.returns([inner.add(slow, name=f"s{i}", seconds=n) for i, n in enumerate([2, 50, 60])])
        wf.add(inner, name="box", timeout=10, on_error="skip")
        inside = ["box/s0", "box/s1", "box/s2"]
    wf.returns({"box": Node("box"), "one": wf.add(one)})
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert anyio.current_time() - began == pytest.approx(10)
        assert run.status == "partial"
        assert run.output == {"box": None, "one": 1}
        assert isinstance(run.failures["box"], TimedOut)
        assert [run.steps[path].status for path in inside] == ["succeeded", "cancelled", "cancelled"]


async def test_a_timed_out_container_ends_after_what_is_in_it() -> None:
    async def untidy() -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

    wf = Workflow("w")
    wf.add(named("inner", untidy), timeout=5)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert isinstance((await s.log(run))[-1], RunFinished)


async def test_a_runs_timeout_fails_it_and_cancels_what_is_in_flight() -> None:
    wf = Workflow("w", on_error="skip")
    wf.add(slow, seconds=100)
    wf.add(one)
    wf.add(lambda slow: 0, name="never")
    wf.returns([Node("never"), Node("one")])
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf, timeout=7)
        assert anyio.current_time() - began == pytest.approx(7)
        assert run.status == "failed"
        assert isinstance(run.error, TimedOut)
        assert "7" in str(run.error)
        assert run.steps["slow"].status == "cancelled"
        assert run.steps["never"].status == "pending"
        assert run["one"] == 1
        with pytest.raises(RunFailed):
            _ = run.output
        assert (await s.orch.get(run.id)).status == "failed"


async def test_a_runs_timeout_wins_over_a_failure_that_drains() -> None:
    wf = Workflow("w")
    wf.add(slow, seconds=100)
    wf.add(fails)
    wf.returns([Node("slow"), Node("fails")])
    async with stage() as s:
        assert isinstance((await s.orch.run(wf, timeout=7)).error, TimedOut)


async def test_cancel_stops_calls_and_keeps_what_is_recorded() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), Payload("c", "{{ b }}"), name="w")
    async with stage({"a": "A", "b": Reply("B", 100), "c": "C"}) as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(1)
        began = anyio.current_time()
        await handle.cancel()
        assert anyio.current_time() - began < 2
        run = await handle.result()
        assert run.status == "cancelled"
        assert run["a"] == "A"
        assert run.steps["b"].status == "cancelled"
        assert run.steps["c"].status == "pending"
        assert run.steps["c"].reason
        assert run.usage.requests == 2
        with pytest.raises(RunFailed):
            _ = run.output
        log = await s.log(run)
        assert any(isinstance(event, RunCancelRequested) for event in log)
        assert kinds(log)[-2:] == ["StepCancelled b", "RunFinished"]
        await handle.cancel()  # harmless
        assert (await handle.result()).status == "cancelled"
        assert kinds(await s.log(run)) == kinds(log)


async def test_cancel_wins_over_a_failure_that_drains() -> None:
    wf = Workflow("w")
    wf.add(slow, seconds=100)
    wf.add(fails)
    wf.returns([Node("slow"), Node("fails")])
    async with stage() as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(1)
        await handle.cancel()
        assert (await handle.result()).status == "cancelled"


async def test_cancel_before_the_first_turn_sends_nothing() -> None:
    async with stage({"a": "A"}) as s:
        handle = await s.orch.start(Payload("a", "x"))
        await handle.cancel()
        run = await handle.result()
        assert run.status == "cancelled"
        assert s.asked == []
        assert "CallStarted a" not in kinds(await s.log(run))


async def test_cancel_ignores_on_error() -> None:
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(slow, seconds=100, on_error=Default(0))])
    async with stage() as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(1)
        await handle.cancel()
        run = await handle.result()
        assert run.status == "cancelled"
        assert run.failures == {}


async def test_leaving_a_stream_early_cancels_the_run() -> None:
    async with stage({"a": Reply("A", 100)}) as s:
        async with s.orch.stream(Payload("a", "x")) as events:
            async for _ in events:
                break
        assert events.run.status == "cancelled"
        assert (await s.orch.get(events.run.id)).status == "cancelled"


async def test_an_error_inside_a_stream_block_cancels_the_run_and_is_raised() -> None:
    async with stage({"a": Reply("A", 100)}) as s:
        with pytest.raises(ZeroDivisionError):
            async with s.orch.stream(Payload("a", "x")) as events:
                raise ZeroDivisionError
        assert events.run.status == "cancelled"


async def test_a_run_cancelled_from_outside_is_recorded_as_cancelled() -> None:
    async with stage({"a": Reply("A", 100)}) as s:
        with anyio.move_on_after(3):
            await s.orch.run(Payload("a", "x"))
        (summary,) = await s.orch.runs()
        assert summary.status == "cancelled"
        run = await s.orch.get(summary.id)
        assert run.steps["a"].status == "cancelled"


async def test_a_step_can_cancel_its_own_run() -> None:
    async with stage() as s:

        async def suicidal() -> None:
            (summary,) = await s.orch.runs(status="running")
            await s.orch.attach(summary.id).cancel()
            await anyio.sleep(100)

        handle = await s.orch.start(suicidal)
        assert (await handle.result()).status == "cancelled"


async def test_a_cancelled_sync_function_is_left_behind_with_a_warning() -> None:
    gate = threading.Event()
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(lambda: gate.wait(20), name="stuck", timeout=1), wf.add(one)])
    try:
        async with stage() as s:
            run = await s.orch.run(wf)
            assert run.status == "partial"
            assert run.output == [1]
            assert isinstance(run.failures["stuck"], TimedOut)
            assert [(event.code, event.step) for event in run.warnings] == [("thread-abandoned", "stuck")]
            gate.set()
            await anyio.sleep(1)
            assert isinstance((await s.log(run))[-1], RunFinished)
            assert sum(isinstance(event, Warned) for event in await s.log(run)) == 1
    finally:
        gate.set()


@pytest.mark.parametrize("ending", ["success", "failure", "cancel", "timeout", "stream left", "outside"])
async def test_no_task_is_left_behind(ending: str) -> None:
    inner = Workflow("inner")
    inner.add(slow, seconds=1 if ending == "success" else 50)
    wf = Workflow("w")
    wf.add(inner, timeout=40)
    wf.add(Payload("p", "x"))
    wf.map(slow, name="m", seconds=each([1, 2, 60 if ending != "success" else 3]))
    if ending == "failure":
        wf.add(fails)
    wf.returns([Node(name) for name in ("inner", "p", "m")])
    seen: list[object] = []
    async with stage(
        {"p": ProviderUnavailable("x") if ending == "failure" else Reply("P", 1)}, hooks=[seen.append]
    ) as s:
        before = tasks_alive()
        if ending in ("success", "failure"):
            await s.orch.run(wf)
        elif ending == "timeout":
            await s.orch.run(wf, timeout=5)
        elif ending == "cancel":
            handle = await s.orch.start(wf)
            await anyio.sleep(1)
            await handle.cancel()
        elif ending == "stream left":
            async with s.orch.stream(wf) as events:
                async for _ in events:
                    break
        else:
            with anyio.move_on_after(2):
                await s.orch.run(wf)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert tasks_alive() == before
        assert type(seen[-1]).__name__ == "RunFinished"


async def test_leaving_the_orchestrator_starts_no_new_step() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")
    async with stage({"a": Reply("A", 1), "b": "B"}) as s:
        handle = await s.orch.start(wf)
        await anyio.sleep(0.5)
    assert s.asked == ["a"]
    log = await s.log(handle.id)
    assert "StepSucceeded a" in kinds(log)  # calls in flight are given ten seconds


async def test_leaving_the_orchestrator_waits_ten_seconds_for_a_call() -> None:
    began = anyio.current_time()
    async with stage({"a": Reply("A", 100)}) as s:
        await s.orch.start(Payload("a", "x"))
        await anyio.sleep(0.5)
    assert anyio.current_time() - began == pytest.approx(10.5, abs=3)


async def test_a_rate_limit_pause_ends_with_cancel() -> None:
    async with stage({"a": RateLimited("x", retry_after=100)}) as s:
        handle = await s.orch.start(Payload("a", "x"))
        await anyio.sleep(1)
        began = anyio.current_time()
        await handle.cancel()
        assert anyio.current_time() == began
        assert (await handle.result()).steps["a"].status == "cancelled"
