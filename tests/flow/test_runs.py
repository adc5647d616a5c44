"""The run as people read it, handles, lists, batches, and the orchestrator's life."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pydantic import BaseModel

from llmorch import (
    CodeMissing,
    Default,
    InputInvalid,
    LLMOrchError,
    Node,
    Orchestrator,
    Payload,
    ProviderUnavailable,
    Retry,
    Run,
    RunFailed,
    RunNotFinished,
    RunNotFound,
    StepError,
    StepNotRun,
    Workflow,
    WorkflowInvalid,
    WrongLoop,
    each,
    step,
)
from llmorch.stores.memory import MemoryStore
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import Meter, fails, named, one, slow, stage

pytestmark = pytest.mark.anyio


class Claim(BaseModel):
    text: str


class Facts(BaseModel):
    title: str
    claims: list[Claim]


# Reading a run


async def test_values_have_their_declared_type_everywhere() -> None:
    def count(facts: Facts) -> int:
        assert isinstance(facts, Facts)
        return len(facts.claims)

    def again(facts: Facts) -> Facts:
        return facts

    wf = Workflow("w")
    facts = wf.add(Payload("facts", "x", output=Facts))
    n, same = wf.add(count), wf.add(again)
    mapped = wf.map(lambda c: c["text"], name="m", c=each(facts["claims"]))
    wf.returns(same)
    value = Facts(title="t", claims=[Claim(text="a")])
    async with stage({"facts": value}) as s:
        run = await s.orch.run(wf)
        for reading in (run, await s.orch.get(run.id), await s.orch.get(run.id, workflow=wf)):
            assert reading.output == value
            assert reading[facts] == value
            assert reading["facts"].title == "t"
            assert reading[n] == 1
            assert reading[mapped] == ["a"]
            assert reading.steps["facts"].value == value
            response = reading.steps["facts"].response
            assert response is not None
            assert response.value == value


async def test_without_a_declared_type_a_value_is_plain_data() -> None:
    def untyped():  # type: ignore[no-untyped-def]
        return Facts(title="t", claims=[])

    wf = Workflow("w")
    wf.returns({"x": wf.add(untyped), "y": 1})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"x": {"title": "t", "claims": []}, "y": 1}
        assert run["untyped"] == {"title": "t", "claims": []}


async def test_each_read_gives_a_copy_of_its_own() -> None:
    async with stage() as s:
        run = await s.orch.run(make_list)
        run.output.append(3)
        run["make_list"].append(4)
        assert run.output == [1, 2]
        assert run["make_list"] == [1, 2]


def make_list() -> list[int]:
    return [1, 2]


async def test_a_run_tells_what_it_was() -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    wf = Workflow.of(Payload("a", "{{ x }}"), Payload("b", "{{ a }}"), name="w")
    async with stage({"a": "AAAA", "b": "B"}) as s:
        run = await s.orch.run(wf, {"x": "12345678"}, tags=["t", "u"], metadata={"who": {"id": 1}})
        assert len(run.id) == 26
        assert run.workflow == "w"
        assert run.status == "succeeded"
        assert run.inputs == {"x": "12345678"}
        assert run.tags == ("t", "u")
        assert run.metadata == {"who": {"id": 1}}
        assert run.usage.requests == 2
        assert (run.usage.input_tokens, run.usage.output_tokens) == (3, 2)
        assert run.error is None
        assert run.failures == {}
        assert run.warnings == ()
        assert run.questions == ()
        assert run.checks == ()
        assert run.finished_at is not None
        assert before < run.started_at <= run.finished_at
        assert run.duration == run.finished_at - run.started_at
        run.raise_for_status()
        result = run.steps["a"]
        assert result.usage.requests == 1
        assert result.started_at is not None
        assert result.finished_at is not None
        assert (result.choice, result.iterations, result.finished, result.cached) == (None, None, None, False)
        call = result.calls[0]
        assert (call.call, call.provider, call.model, call.error) == (1, "scripted", "scripted:m", None)
        assert call.duration is not None
        assert "w" in repr(run)


async def test_asking_for_what_is_not_there_says_what_is() -> None:
    wf = Workflow("w")
    wf.add(one, name="outline", when="false")
    wf.returns([wf.add(one, name="talk"), Node("outline")])
    async with stage() as s:
        run = await s.orch.run(wf)
        with pytest.raises(KeyError, match="did you mean 'outline'"):
            run["outlin"]
        with pytest.raises(KeyError):
            run.steps["nonesuch"]
        with pytest.raises(StepNotRun, match="'outline'") as caught:
            run["outline"]
        assert caught.value.step == "outline"
        assert "outlin" not in run.steps
        assert len(run.steps) == 2


async def test_steps_that_never_came_to_be_are_still_there() -> None:
    inner = named("inner", one)
    wf = Workflow("w")
    wf.add(inner, when="false")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert list(run.steps) == ["inner", "inner/one"]
        with pytest.raises(StepNotRun):
            run["inner/one"]


async def test_a_running_run_can_be_looked_at() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        handle = await s.orch.start(Payload("p", "x"))
        await anyio.sleep(1)
        run = await s.orch.get(handle.id)
        assert run.status == "running"
        assert run.steps["p"].status == "running"
        with pytest.raises(RunNotFinished):
            _ = run.output
        with pytest.raises(RunNotFinished):
            run.raise_for_status()
        with pytest.raises(StepNotRun):
            run["p"]
        assert (await handle.result()).output == "P"


async def test_failures_are_rebuilt_as_their_classes() -> None:
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(Payload("p", "x", retry=Retry(attempts=1))), wf.add(fails)])
    async with stage({"p": ProviderUnavailable("down", status=503, provider="scripted", model="m")}) as s:
        run = await s.orch.run(wf)
        for reading in (run, await s.orch.get(run.id)):
            failures = reading.failures
            assert isinstance(failures["p"], ProviderUnavailable)
            assert failures["p"].status == 503
            assert failures["p"].step == "p"
            assert isinstance(failures["fails"], StepError)
            assert reading.status == "partial"


async def test_to_dict_and_report_hold_the_run() -> None:
    wf = Workflow.of(Payload("a", "Say {{ x }}"), Payload("b", "{{ a }}"), name="talk")
    async with stage({"a": "the first answer", "b": ProviderUnavailable("it is down")}) as s:
        run = await s.orch.run(wf, x="tea")
        data = run.to_dict()
        assert json.loads(json.dumps(data)) == data
        assert data["id"] == run.id
        assert data["status"] == "failed"
        report = run.report()
        for words in ("talk", "the first answer", "it is down", "Say tea", run.id):
            assert words in report


# Handles and lists


async def test_a_handle_waits_and_dropping_it_cancels_nothing() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        first = await s.orch.start(Payload("p", "x"))
        run_id = first.id
        del first
        again = s.orch.attach(run_id)
        assert (await again.result()).output == "P"
        assert (await again.result()).output == "P"
        await again.cancel()
        assert (await s.orch.get(run_id)).status == "succeeded"


async def test_many_may_wait_for_one_run() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        handle = await s.orch.start(Payload("p", "x"))
        outputs: list[str] = []

        async def wait() -> None:
            outputs.append((await handle.result()).output)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wait)
        assert outputs == ["P"] * 5


async def test_a_failed_run_is_returned_and_a_refused_one_raises() -> None:
    async with stage() as s:
        assert (await s.orch.run(fails)).status == "failed"
        handle = await s.orch.start(fails)
        assert (await handle.result()).status == "failed"
        for refused in (s.orch.run, s.orch.start):
            with pytest.raises(InputInvalid):
                await refused(one, surprise=1)
            with pytest.raises(WorkflowInvalid):
                await refused(Workflow("empty"))
        with pytest.raises(InputInvalid):
            async with s.orch.stream(one, surprise=1):
                pass


async def test_runs_are_listed_newest_first_and_filtered() -> None:
    async with stage() as s:
        first = await s.orch.run(named("first", one), tags=["x"])
        second = await s.orch.run(named("second", fails), tags=["x", "y"])
        moment = datetime.now(UTC)
        third = await s.orch.run(named("first", one))

        async def ids(*args: Any, **filters: Any) -> list[str]:
            return [summary.id for summary in await s.orch.runs(*args, **filters)]

        assert await ids() == [third.id, second.id, first.id]
        assert await ids("first") == [third.id, first.id]
        assert await ids(status="failed") == [second.id]
        assert await ids(tag="x") == [second.id, first.id]
        assert await ids(tag="y") == [second.id]
        assert await ids(since=moment) == [third.id]
        assert await ids(limit=2) == [third.id, second.id]
        assert await ids(before=second.id) == [first.id]
        summary = (await s.orch.runs("second"))[0]
        assert (summary.workflow, summary.status, summary.tags) == ("second", "failed", ("x", "y"))
        assert summary.finished_at is not None


async def test_a_deleted_run_is_gone_and_a_running_one_is_not_deleted() -> None:
    async with stage({"p": Reply("P", 5)}) as s:
        run = await s.orch.run(one)
        await s.orch.delete(run.id)
        with pytest.raises(RunNotFound):
            await s.orch.get(run.id)
        with pytest.raises(RunNotFound):
            await s.orch.delete(run.id)
        assert run.output == 1  # what was read stays
        handle = await s.orch.start(Payload("p", "x"))
        with pytest.raises(LLMOrchError, match="cancel"):
            await s.orch.delete(handle.id)
        await handle.result()
        await s.orch.delete(handle.id)


async def test_a_run_of_unknown_code_says_so() -> None:
    store = MemoryStore()
    wf = named("mine", one)
    async with Orchestrator(store) as orch:
        run = await orch.run(wf)
    async with Orchestrator(store) as other:
        with pytest.raises(CodeMissing, match="'mine'"):
            await other.get(run.id)
        assert (await other.get(run.id, workflow=wf)).output == 1
    async with Orchestrator(store, workflows=[wf]) as knowing:
        assert (await knowing.get(run.id)).output == 1


async def test_changing_a_workflow_does_not_change_the_run_that_was() -> None:
    wf = named("w", one)
    async with stage() as s:
        run = await s.orch.run(wf)
        wf.add(fails, after=["one"])
        wf.returns(Node("fails"))
        assert (await s.orch.get(run.id)).output == 1
        assert run.output == 1


# Batches


async def test_a_batch_gives_every_row_with_its_index_as_runs_end() -> None:
    async with stage() as s:
        seen = [(index, run.output) async for index, run in s.orch.batch(slow, [{"seconds": n} for n in (3, 1, 2)])]
        assert seen == [(1, 1), (2, 2), (0, 3)]
        assert [pair async for pair in s.orch.batch(slow, [])] == []


async def test_a_failed_row_is_a_run_like_any_other() -> None:
    async with stage() as s:
        rows = [{"n": 1}, {"n": 0}, {"n": 2}]
        statuses = {index: run.status async for index, run in s.orch.batch(inverse, rows)}
        assert statuses == {0: "succeeded", 1: "failed", 2: "succeeded"}


def inverse(n: int) -> float:
    return 1 / n


async def test_a_batch_runs_so_many_rows_at_once() -> None:
    meter = Meter()
    async with stage() as s:
        count = 0
        async for _ in s.orch.batch(meter.work, [{"seconds": 1} for _ in range(9)], concurrency=3):
            count += 1
        assert (count, meter.peak) == (9, 3)
    with pytest.raises(ValueError, match="concurrency"):
        Orchestrator().batch(one, [], concurrency=0)


async def test_a_batch_takes_rows_as_it_goes() -> None:
    taken: list[int] = []

    def rows() -> Any:
        for n in range(100):
            taken.append(n)
            yield {"seconds": 1}

    async with stage() as s:
        batch = s.orch.batch(slow, rows(), concurrency=2)
        async for _ in batch:
            break
        assert len(taken) <= 4
        await batch.aclose()


async def test_a_row_that_is_refused_is_raised_and_stops_the_others() -> None:
    meter = Meter()
    async with stage() as s:
        with pytest.raises(InputInvalid):
            async for _ in s.orch.batch(meter.work, [{"seconds": 50}, {"nonsense": 1}, {"seconds": 50}], concurrency=2):
                pass
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert meter.now == 0


@pytest.mark.parametrize("way", ["break", "cancel", "error"])
async def test_a_batch_left_early_leaves_nothing_running(way: str) -> None:
    meter = Meter()
    rows = [{"seconds": n} for n in (1, 50, 60, 70)]
    async with stage() as s:
        batch = s.orch.batch(meter.work, rows, concurrency=4)
        with anyio.move_on_after(5):
            try:
                async for _ in batch:
                    if way == "break":
                        break
                    if way == "error":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        if way != "cancel":
            await batch.aclose()
        await anyio.sleep(1)
        assert meter.now == 0
        assert {summary.status for summary in await s.orch.runs()} <= {"succeeded", "cancelled"}


# The orchestrator's life


async def test_an_orchestrator_belongs_to_one_loop() -> None:
    async with stage() as s:
        await s.orch.run(one)

        def elsewhere() -> None:
            with pytest.raises(WrongLoop):
                s.orch.run_sync(one)

        await anyio.to_thread.run_sync(elsewhere)


async def test_a_closed_orchestrator_starts_nothing() -> None:
    orch = Orchestrator()
    async with orch:
        await orch.run(one)
    with pytest.raises(LLMOrchError, match="closed"):
        await orch.run(one)


async def test_providers_are_closed_on_leaving_also_after_an_error() -> None:
    closed: list[str] = []

    class Closing(ScriptedProvider):
        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()
            closed.append(self.name)

    with pytest.raises(ZeroDivisionError):
        async with Orchestrator(providers=[Closing({}, name="a"), Closing({}, name="b")]):
            raise ZeroDivisionError
    assert sorted(closed) == ["a", "b"]


async def test_providers_may_be_given_by_name() -> None:
    mine = ScriptedProvider({"p": "P"})
    async with Orchestrator(providers={"mine": mine}, model="mine:m") as orch:
        run = await orch.run(Payload("p", "x"))
        assert run.output == "P"
        assert run.steps["p"].response.model == "mine:m"


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"concurrency": -1}, {"store": "nonesuch"}, {"hooks": [3]}])
async def test_wrong_options_are_refused_at_once(wrong: Mapping[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Orchestrator(**wrong)


@pytest.mark.parametrize("tags", ["text", [1], None])
async def test_tags_are_words(tags: Any) -> None:
    async with stage() as s:
        if tags is None:
            assert (await s.orch.run(one)).tags == ()
        else:
            with pytest.raises(TypeError):
                await s.orch.run(one, tags=tags)


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
    def read(when: datetime, facts: Facts | None, kind: Literal["a", "b"], raw: Any, free=None) -> str:  # type: ignore[no-untyped-def]
        return f"{when.year} {type(facts).__name__} {kind} {raw} {free}"

    wf = Workflow("w")
    wf.add(read, when="2024-01-02T00:00:00Z", facts={"title": "t", "claims": []}, kind="a", raw=[1], free={"x": 1})
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


async def test_outputs_of_failed_runs_raise_with_the_cause() -> None:
    wf = Workflow("w")
    wf.add(fails)
    async with stage() as s:
        run = await s.orch.run(wf)
        with pytest.raises(RunFailed) as caught:
            _ = run.output
        assert isinstance(caught.value.__cause__, StepError)
        assert caught.value.run_id == run.id
        with pytest.raises(StepNotRun) as missing:
            run["fails"]
        assert isinstance(missing.value.__cause__, StepError)


async def test_defaults_of_inputs_are_recorded_with_the_run() -> None:
    wf = Workflow("w")
    x = wf.input("x", list[int], default=[1])
    wf.returns([x, wf.add(one, on_error=Default(0))])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.inputs == {"x": [1]}
        run.inputs["x"].append(2)
        assert (await s.orch.run(wf)).inputs == {"x": [1]}
