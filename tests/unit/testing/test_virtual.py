"""The virtual clock: it jumps when all tasks wait, never over threads at work, and ends what is stuck."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from llmorch import Default, Orchestrator, Run, Workflow
from llmorch._clock import now_us
from llmorch.testing import ClockStuck, run_virtual, virtual_clock_options

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@BOTH
def test_a_day_passes_in_no_time(backend: str) -> None:
    async def day(hours: int) -> float:
        began = anyio.current_time()
        for _ in range(hours):
            await anyio.sleep(3600)
        return anyio.current_time() - began

    real = time.perf_counter()
    assert run_virtual(day, 24, backend=backend) == pytest.approx(86_400)
    assert time.perf_counter() - real < 5


@BOTH
def test_time_stands_still_while_a_task_can_go_on(backend: str) -> None:
    async def busy() -> float:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 1000)
            for _ in range(200):
                await anyio.lowlevel.checkpoint()
            passed = anyio.current_time() - began
            tasks.cancel_scope.cancel()
        return passed

    assert run_virtual(busy, backend=backend) == 0


@BOTH
def test_recorded_times_move_with_the_clock_until_the_run_is_over(backend: str) -> None:
    async def day() -> float:
        began = now_us()
        await anyio.sleep(3600)
        await anyio.sleep(82_800)
        return (now_us() - began) / 1e6

    assert run_virtual(day, backend=backend) == pytest.approx(86_400, abs=1e-5)
    assert abs(now_us() / 1e6 - time.time()) < 60


@BOTH
def test_the_time_of_a_question_passes_on_the_virtual_clock(backend: str) -> None:
    async def ask() -> Run[int]:
        wf: Workflow[int] = Workflow("w")
        wf.returns(wf.ask("q", "How many?", answer=int, timeout=600, on_error=Default(7)))
        async with Orchestrator() as orch:
            handle = await orch.start(wf)
            return await handle.result(wait_for_answers=True)

    run = run_virtual(ask, backend=backend)
    assert run.output == 7
    assert run.duration is not None
    assert run.duration.total_seconds() == pytest.approx(600, abs=1e-3)


@BOTH
def test_tasks_wake_in_the_order_of_their_timers(backend: str) -> None:
    woken: list[int] = []

    async def wake(after: int) -> None:
        await anyio.sleep(after)
        woken.append(after)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            for after in (50, 7, 300, 1):
                tasks.start_soon(wake, after)

    run_virtual(all_of_them, backend=backend)
    assert woken == [1, 7, 50, 300]


@BOTH
def test_a_timeout_fires_on_the_virtual_clock(backend: str) -> None:
    async def wait() -> bool:
        with anyio.move_on_after(600) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert run_virtual(wait, backend=backend)


@BOTH
@pytest.mark.parametrize("round_of", ["new threads", "threads used before"])
def test_no_timer_overtakes_a_thread_at_work(backend: str, round_of: str) -> None:
    def work() -> str:
        return "".join(str(number) for number in range(20_000))[:3]  # real work of some milliseconds

    async def race() -> tuple[str, float]:
        if round_of == "threads used before":
            await anyio.to_thread.run_sync(work)
        began = anyio.current_time()
        with anyio.fail_after(0.000_001):
            got = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        return got, anyio.current_time() - began

    for _ in range(3):
        assert run_virtual(race, backend=backend) == ("012", 0)


@BOTH
def test_idle_threads_do_not_slow_the_clock(backend: str) -> None:
    async def many_sleeps() -> None:
        await anyio.to_thread.run_sync(int)
        for _ in range(200):
            await anyio.sleep(1)

    real = time.perf_counter()
    run_virtual(many_sleeps, backend=backend)
    assert time.perf_counter() - real < 5  # 200 jumps at 50 ms would be 10 s


@BOTH
def test_a_thread_that_blocks_does_not_stop_time(backend: str) -> None:
    release = threading.Event()

    async def wait() -> bool:
        with anyio.move_on_after(3600) as scope:
            await anyio.to_thread.run_sync(release.wait, 20, abandon_on_cancel=True)
        release.set()
        return scope.cancelled_caught

    assert run_virtual(wait, backend=backend)


@BOTH
def test_a_thread_that_ends_late_is_waited_for_though_no_timer_is_set(backend: str) -> None:
    went_on = threading.Event()
    ticker = threading.Timer(0.2, went_on.set)

    async def wait() -> bool:
        ticker.start()
        return await anyio.to_thread.run_sync(went_on.wait, 20)

    assert run_virtual(wait, backend=backend)


@BOTH
def test_a_wait_that_nobody_ends_is_an_error(backend: str) -> None:
    async def stuck() -> None:
        await anyio.Event().wait()

    with pytest.raises(ClockStuck, match="no timer is set"):
        run_virtual(stuck, backend=backend)


@BOTH
def test_stuck_tasks_are_cleaned_up(backend: str) -> None:
    cleaned: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("child")

    async def stuck() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.Event().wait()

    with pytest.raises(ClockStuck):
        run_virtual(stuck, backend=backend)
    assert cleaned == ["child"]


@BOTH
def test_errors_come_out_as_they_are(backend: str) -> None:
    async def fail() -> None:
        await anyio.sleep(5)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtual(fail, backend=backend)


def test_another_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="no virtual clock for backend 'curio'"):
        virtual_clock_options("curio")


class TestInPytest:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return request.param, virtual_clock_options(request.param)

    @pytest.mark.anyio
    async def test_the_options_serve_the_anyio_plugin(self) -> None:
        real = time.perf_counter()
        with anyio.move_on_after(86_400) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert time.perf_counter() - real < 5


@pytest.mark.parametrize("name", ["llmorch.testing", "llmorch.testing.scripted"])
def test_the_kit_is_loaded_without_an_async_backend(name: str) -> None:
    code = f"import sys, {name}; print([m for m in ('trio', 'asyncio', 'anyio', 'pytest') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
