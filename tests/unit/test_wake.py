"""The async backend's own matters work alike on asyncio and trio."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest

from llmorch import _wake

BACKENDS = ["asyncio", "trio"]


@pytest.mark.anyio
async def test_the_backend_and_its_loop_are_known(anyio_backend: str) -> None:
    assert _wake.backend() == anyio_backend
    assert _wake.token() == _wake.token()
    assert abs(_wake.clock()() - anyio.current_time()) < 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_loops_have_two_tokens(backend: str) -> None:
    async def token() -> object:
        return _wake.token()

    tokens = [anyio.run(token, backend=backend) for _ in range(2)]  # both are alive here, so no address is reused
    assert tokens[0] != tokens[1]


def test_without_a_loop_there_is_no_backend() -> None:
    with pytest.raises(RuntimeError):
        _wake.backend()


@pytest.mark.anyio
async def test_a_waker_is_woken_from_another_thread_as_often_as_it_waits() -> None:
    waker = _wake.Waker()
    with anyio.fail_after(5):
        for _ in range(3):
            thread = threading.Thread(target=waker.wake)
            thread.start()
            await waker.wait()
            thread.join()


@pytest.mark.anyio
async def test_wakes_before_a_wait_count_as_one() -> None:
    waker = _wake.Waker()
    waker.wake()
    waker.wake()
    with anyio.fail_after(5):
        await waker.wait()
    with anyio.move_on_after(0.05) as scope:
        await waker.wait()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_wake_that_comes_while_nobody_waits_is_kept_for_the_next() -> None:
    waker = _wake.Waker()
    with anyio.move_on_after(0.02) as scope:
        await waker.wait()
    assert scope.cancelled_caught
    waker.wake()
    with anyio.fail_after(5):
        await waker.wait()


@pytest.mark.anyio
async def test_a_wake_together_with_a_cancellation_is_not_lost() -> None:
    waker = _wake.Waker()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(waker.wait)
            await anyio.wait_all_tasks_blocked()
            waker.wake()
            scope.cancel()
    with anyio.fail_after(5), anyio.CancelScope() as again:
        async with anyio.create_task_group() as group:
            group.start_soon(waker.wait)
            await anyio.wait_all_tasks_blocked()
            waker.wake()
    assert not again.cancelled_caught


@pytest.mark.parametrize("backend", BACKENDS)
def test_waking_after_the_end_of_the_loop_does_nothing(backend: str) -> None:
    async def make() -> _wake.Waker:
        return _wake.Waker()

    anyio.run(make, backend=backend).wake()


@pytest.mark.anyio
async def test_a_background_task_that_raises_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    ended = anyio.Event()

    async def fail(text: str) -> None:
        try:
            raise ValueError(text)
        finally:
            ended.set()

    _wake.spawn(fail, "boom")
    with anyio.fail_after(5):
        await ended.wait()
    await anyio.wait_all_tasks_blocked()
    assert "boom" in caplog.text


@pytest.mark.anyio
async def test_a_background_task_can_be_cancelled() -> None:
    started, stopped = anyio.Event(), anyio.Event()

    async def wait() -> None:
        try:
            started.set()
            await anyio.sleep_forever()
        finally:
            stopped.set()

    handle = _wake.spawn(wait)
    with anyio.fail_after(5):
        await started.wait()
        handle.cancel()
        await stopped.wait()
    handle.cancel()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cleanup_runs_when_the_loop_ends(backend: str) -> None:
    done: list[str] = []

    async def cleanup() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("closed")

    async def main() -> None:
        _wake.at_loop_end(cleanup)
        done.append("working")

    anyio.run(main, backend=backend)
    assert done == ["working", "closed"]


def test_a_loop_that_was_only_closed_leaves_nothing_parked_for_long() -> None:
    async def cleanup() -> None:
        raise AssertionError("a closed loop runs nothing")

    async def park() -> None:
        _wake.at_loop_end(cleanup)

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(park())
        loop.close()
    assert sum(loop.is_closed() for loop, _ in _wake._parked.values()) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("error")
def test_a_cleanup_that_was_called_off_does_not_run(backend: str) -> None:
    done: list[str] = []

    async def cleanup() -> None:
        done.append("closed")

    async def main() -> None:
        _wake.at_loop_end(cleanup)()

    anyio.run(main, backend=backend)
    assert not done


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cleanup_that_raises_is_logged(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    async def cleanup() -> None:
        raise ValueError("boom")

    async def main() -> None:
        _wake.at_loop_end(cleanup)

    anyio.run(main, backend=backend)
    assert "boom" in caplog.text


@pytest.mark.anyio
async def test_a_scope_ends_its_block_at_its_deadline_as_anyios_own_does() -> None:
    for _ in range(2):  # made by anyio, then by the class it was made of
        with _wake.cancel_scope(_wake.clock()()) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert isinstance(scope, anyio.CancelScope)
    with _wake.cancel_scope() as open_scope:
        await anyio.lowlevel.checkpoint()
    assert not open_scope.cancelled_caught
