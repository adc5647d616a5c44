"""How the threads of the SQLite store answer the tasks that wait for them."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

import anyio
import anyio.to_thread
import pytest

from llmorch.errors import StoreError
from llmorch.stores._lane import Job, Lane

Ts = TypeVarTuple("Ts")


def job() -> Job[object]:
    return Job(lambda _: None, patience_s=None)


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    wakes = 0

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.wakes += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def test_a_loop_is_woken_once_for_all_of_its_jobs_that_are_answered_together() -> None:
    async def main() -> list[object]:
        jobs = [job() for _ in range(50)]
        waiting = [asyncio.create_task(one.outcome()) for one in jobs]
        await asyncio.sleep(0)
        thread = threading.Thread(target=Job.answer, args=([(one, at, None) for at, one in enumerate(jobs)],))
        thread.start()
        answers: list[object] = list(await asyncio.gather(*waiting))
        thread.join()
        return answers

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(main()) == list(range(50))
        assert loop.wakes == 1


@pytest.mark.anyio
async def test_each_job_gets_its_own_answer_or_refusal() -> None:
    good, bad = job(), job()
    outcomes: list[Any] = [(good, "done", None), (bad, None, StoreError("no"))]
    await anyio.to_thread.run_sync(Job.answer, outcomes)
    assert await good.outcome() == "done"
    with pytest.raises(StoreError, match="no"):
        await bad.outcome()


@pytest.mark.anyio
async def test_the_first_answer_of_a_job_counts() -> None:
    one = job()
    Job.answer([(one, "first", None)])
    one.fail(StoreError("later"))
    one.finish("last")
    Job.answer([(one, None, StoreError("later"))])
    assert await one.outcome() == "first"


def test_a_loop_that_has_ended_does_not_keep_others_from_their_answers() -> None:
    ended: list[Job[object]] = []

    async def leave() -> None:
        ended.append(job())

    async def main() -> object:
        mine = job()
        thread = threading.Thread(target=Job.answer, args=([(ended[-1], 1, None), (mine, 2, None)],))
        thread.start()
        with anyio.fail_after(10):
            answer = await mine.outcome()
        thread.join()
        return answer

    anyio.run(leave)
    assert anyio.run(main) == 2
    anyio.run(leave, backend="trio")
    assert anyio.run(main, backend="trio") == 2


@pytest.mark.anyio
async def test_a_lane_takes_as_many_jobs_at_once_as_it_is_told() -> None:
    sizes: list[int] = []
    begun, is_full = threading.Event(), threading.Event()

    def attempt(jobs: list[Job[object]]) -> list[Job[object]]:
        begun.set()
        is_full.wait(5)
        sizes.append(len(jobs))
        Job.answer((one, None, None) for one in jobs)
        return []

    lane = Lane("test", attempt, at_end=lambda: None, share=lambda waiting: max(1, waiting // 2))
    jobs = [job() for _ in range(9)]
    lane.put(jobs[0])
    begun.wait(5)
    for one in jobs[1:]:
        lane.put(one)
    is_full.set()
    for one in jobs:
        await one.outcome()
    lane.stop()
    await anyio.to_thread.run_sync(lane.join)
    assert sizes == [1, 4, 2, 1, 1]


@pytest.mark.anyio
async def test_a_thread_that_blocks_for_a_job_goes_on_when_it_is_done() -> None:
    one = job()
    thread = threading.Timer(0.05, Job.answer, args=([(one, "done", None)],))
    thread.start()
    assert one.done_within(10)
    assert one.given() == "done"
    thread.join()
    assert one.done_within(0)


@pytest.mark.anyio
async def test_a_job_that_takes_longer_wakes_the_task_that_waits_for_it_then() -> None:
    one = job()
    assert not one.done_within(0.01)
    thread = threading.Timer(0.05, Job.answer, args=([(one, "done", None)],))
    thread.start()
    with anyio.fail_after(10):
        assert await one.outcome() == "done"
    thread.join()


@pytest.mark.anyio
async def test_no_answer_is_lost_however_close_it_comes_to_the_limit() -> None:
    asked: queue.SimpleQueue[Job[object] | None] = queue.SimpleQueue()
    failed: list[Exception] = []
    late = 0

    def serve() -> None:
        count = 0
        while (one := asked.get()) is not None:
            count += 1
            time.sleep(count * 7 % 50 * 1e-6)
            try:
                Job.answer([(one, "done", None)])
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with anyio.fail_after(20):
            for number in range(2_000):
                one = job()
                asked.put(one)
                if not one.done_within(number % 40 * 5e-6):
                    late += 1
                    assert await one.outcome() == "done"
    finally:
        sys.setswitchinterval(before)
        asked.put(None)
        await anyio.to_thread.run_sync(thread.join)
    assert not failed
    assert 0 < late < 2_000
