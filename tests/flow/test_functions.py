"""Python functions as steps: threads, arguments, retries, cancellation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pydantic import BaseModel

from llmorch import (
    Payload,
    Retry,
    Run,
    StepError,
    Workflow,
    step,
)
from tests.flow.stage import slow, stage

pytestmark = pytest.mark.anyio


class Claim(BaseModel):
    text: str


class Facts(BaseModel):
    title: str
    claims: list[Claim]


# Functions as steps


async def test_a_function_with_a_retry_is_run_again_and_one_without_is_not() -> None:
    tries: list[str] = []

    @step(retry=Retry(attempts=3, base=2, cap=2))
    async def flaky() -> int:
        tries.append("flaky")
        if len(tries) < 3:
            raise ConnectionError("again")
        return len(tries)

    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(flaky)
        assert run.output == 3
        assert 2 <= anyio.current_time() - began <= 4
        assert run.steps["flaky"].calls == ()
        tries.clear()

        @step
        def once() -> int:
            tries.append("once")
            raise ConnectionError("no")

        assert (await s.orch.run(once)).status == "failed"
        assert tries == ["once"]


async def test_sync_functions_run_in_threads_and_inline_ones_on_the_loop() -> None:
    import threading

    loop_thread = threading.get_ident()

    def there() -> bool:
        return threading.get_ident() == loop_thread

    @step(inline=True)
    def here() -> bool:
        return threading.get_ident() == loop_thread

    wf = Workflow("w")
    wf.returns([wf.add(there), wf.add(here)])
    async with stage() as s:
        assert (await s.orch.run(wf)).output == [False, True]


async def test_functions_get_their_arguments_in_their_annotated_types() -> None:
    def read(day: datetime, facts: Facts | None, kind: Literal["a", "b"], raw: Any, free=None) -> str:  # type: ignore[no-untyped-def]
        return f"{day.year} {type(facts).__name__} {kind} {raw} {free}"

    wf = Workflow("w")
    wf.add(read, day="2024-01-02T00:00:00Z", facts={"title": "t", "claims": []}, kind="a", raw=[1], free={"x": 1})
    async with stage() as s:
        assert (await s.orch.run(wf)).output == "2024 Facts a [1] {'x': 1}"


async def test_methods_partials_and_callable_objects_are_functions_too() -> None:
    from functools import partial

    class Greeter:
        def __init__(self, word: str) -> None:
            self.word = word

        def greet(self, who: str) -> str:
            return f"{self.word} {who}"

        async def __call__(self, who: str) -> str:
            return f"{self.word}, {who}"

    wf = Workflow("w")
    hello = Greeter("hello")
    wf.returns([
        wf.add(hello.greet, who="a"), wf.add(hello, name="obj", who="b"),
        wf.add(partial(hello.greet, who="c"), name="part"), wf.add(partial(hello.greet), name="open", who="d"),
    ])  # fmt: skip
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == ["hello a", "hello, b", "hello c", "hello d"]


def positional(x: int, /) -> int:
    return x


async def test_a_function_that_cannot_be_called_by_name_is_refused() -> None:
    with pytest.raises(TypeError, match="'x'"):
        Workflow("w").add(positional)


async def test_a_function_that_lets_a_foreign_cancellation_out_is_a_failed_step() -> None:
    import asyncio
    import sys

    async def careless() -> int:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(100))
        task.cancel()
        await task
        return 1

    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            pytest.skip("trio's cancellation cannot leave its scope")
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(careless), wf.add(slow, seconds=2)])
    async with stage() as s:
        with anyio.fail_after(20):
            run = await s.orch.run(wf)
        assert run.status == "partial"
        assert run.output == [2]
        assert "careless" in run.failures
        with anyio.fail_after(20):
            assert (await s.orch.run(careless)).status == "failed"


async def test_a_run_inside_a_step_is_a_run_of_its_own() -> None:
    async with stage({"p": "inner"}) as s:

        async def outer() -> str:
            run: Run[str] = await s.orch.run(Payload("p", "x"))
            return run.output + "!"

        assert (await s.orch.run(outer)).output == "inner!"
        assert len(await s.orch.runs()) == 2


async def test_a_thousand_steps_in_a_row_and_side_by_side() -> None:
    chain = Workflow("chain")
    last: Any = 0
    for n in range(1_000):
        last = chain.add(increment, name=f"s{n}", n=last)
    chain.returns(last)
    wide = Workflow("wide")
    wide.returns([wide.add(increment, name=f"s{n}", n=n) for n in range(1_000)])
    async with stage() as s:
        assert (await s.orch.run(chain)).output == 1_000
        assert (await s.orch.run(wide)).output == list(range(1, 1_001))


@step(inline=True, pure=True)
def increment(n: int) -> int:
    return n + 1


@pytest.mark.anyio
async def test_a_value_that_does_not_fit_the_functions_annotation_fails_the_step() -> None:
    def count(x: str) -> int:
        return "many"  # type: ignore[return-value]  # the mistake under test

    wf = Workflow("w")
    wf.add(count)
    async with stage() as s:
        run = await s.orch.run(wf, x="a")
    assert run.status == "failed"
    assert isinstance(run.error, StepError)
    for word in ("'count'", "'many'", "int", "annotation"):
        assert word in str(run.error)


@pytest.mark.anyio
async def test_an_annotation_that_says_nothing_checkable_is_no_fault() -> None:
    class Opaque:
        pass

    def make(x: Opaque | None = None) -> Opaque:
        return {"a": 1}  # type: ignore[return-value]  # pydantic knows no such type, so nothing is checked

    wf = Workflow("w")
    wf.add(make)
    async with stage() as s:
        run = await s.orch.run(wf)
    assert run.output == {"a": 1}
