"""Code that is not ours may do anything: providers, hooks, functions, their answers and errors."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import anyio
import pytest

from llmorch import (
    CallFinished,
    Event,
    LLMOrchError,
    Node,
    Orchestrator,
    Payload,
    Price,
    ProviderUnavailable,
    Retry,
    RunFinished,
    StepCancelled,
    StepError,
    StepFailed,
    StepStarted,
    StepSucceeded,
    Usage,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
)
from llmorch.ports import Call, Proceed, ProviderRequest, ProviderResponse
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import Meter, one, stage

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("price", [None, Price(input=1, output=1)])
@pytest.mark.parametrize(
    "usage",
    [
        Usage(-5, 3),
        Usage(3, -5),
        Usage(float("nan"), 1),  # type: ignore[arg-type]
        Usage(float("inf"), 1),  # type: ignore[arg-type]
        Usage("5", 1),  # type: ignore[arg-type]
        Usage(None, 1),  # type: ignore[arg-type]
        Usage(10**400, 1),
        Usage(1, 1, cached_tokens=-1),
    ],
    ids=lambda usage: repr(usage)[:40],
)
async def test_absurd_usage_is_estimated_and_never_fails_a_paid_answer(usage: Usage, price: Price | None) -> None:
    prices = {} if price is None else {"scripted:m": price}
    async with stage({"p": ProviderResponse("a good answer", usage=usage)}, prices=prices) as s:
        run = await s.orch.run(Payload("p", "x" * 30))
        assert run.output == "a good answer"
        assert [warning.code for warning in run.warnings] == ["usage-estimated"]
        assert run.usage.requests == 1
        assert run.usage.input_tokens == 10
        assert (run.cost is None) == (price is None)


async def test_an_answer_is_data_before_it_is_recorded() -> None:
    raw = {"id": "x", "score": float("nan"), "blob": b"x", "word": "\ud800"}
    async with stage({"p": ProviderResponse("a\ud800b", usage=Usage(1, 1), raw=raw)}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.output == "a\ufffdb"
        (finished,) = [event for event in await s.log(run) if isinstance(event, CallFinished)]
        assert is_dataclass(finished.answer)
        json.dumps(asdict(finished.answer), allow_nan=False).encode("ascii")
        "".join(str(part) for part in asdict(finished.answer).values()).encode("utf-8")


@pytest.mark.parametrize("answer", [None, "text", 3])
async def test_a_provider_that_answers_no_response_is_named(answer: Any) -> None:
    class Wrong(ScriptedProvider):
        async def complete(self, request: ProviderRequest, *, on_delta: Any = None) -> ProviderResponse:
            return answer  # type: ignore[no-any-return]

    provider = Wrong({}, name="wrong")
    async with Orchestrator(providers=[provider], model="wrong:m") as orch:
        run = await orch.run(Payload("p", "x", retry=Retry(attempts=1)))
        assert run.status == "failed"
        assert "wrong" in str(run.error)
        assert "ProviderResponse" in str(run.error)
        assert all(call.error is not None for call in run.steps["p"].calls)


async def test_a_hook_that_answers_no_response_is_named() -> None:
    class Forgetful:
        async def around_call(self, call: Call, proceed: Proceed) -> Any:
            await proceed(call)

    async with stage({"p": "P"}, hooks=[Forgetful()]) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.status == "failed"
        assert "Forgetful" in str(run.error)
        assert run.usage.requests == 1  # it was paid for


async def test_capabilities_that_raise_are_a_fault() -> None:
    class Wrong(ScriptedProvider):
        def capabilities(self, model: str) -> Any:
            raise KeyError(model)

    with pytest.raises(WorkflowInvalid, match="'p'"):
        Orchestrator(providers=[Wrong({})], model="scripted:m").plan(Payload("p", "x"))


async def test_an_error_that_cannot_be_read_is_still_the_steps_failure() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def raises() -> None:
        raise Mute

    async with stage() as s:
        run = await s.orch.run(raises)
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert "Mute" in str(run.error)


async def test_an_errors_text_can_be_recorded() -> None:
    def raises() -> None:
        raise ValueError("half a pair: \ud800")

    async with stage() as s:
        run = await s.orch.run(raises)
        finished = (await s.log(run))[-1]
        assert isinstance(finished, RunFinished)
        assert finished.error is not None
        finished.error.text.encode("utf-8")


async def test_errors_that_cause_each_other_are_recorded() -> None:
    def raises() -> None:
        first, second = ValueError("a"), ValueError("b")
        first.__cause__, second.__cause__ = second, first
        raise first

    async with stage() as s:
        run = await s.orch.run(raises)
        assert run.status == "failed"
        assert (await s.orch.get(run.id)).error is not None


async def test_an_interrupt_ends_the_run_and_is_raised() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    async with stage() as s:
        with pytest.raises(KeyboardInterrupt):
            await s.orch.run(interrupted)
        (summary,) = await s.orch.runs()
        assert summary.status == "cancelled"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5"])
async def test_a_timeout_of_a_run_that_makes_no_sense_is_refused_before_it_starts(timeout: Any) -> None:
    async with stage() as s:
        with pytest.raises((TypeError, ValueError), match="timeout"):
            await s.orch.run(one, timeout=timeout)
        assert await s.orch.runs() == []


async def test_the_default_of_an_input_is_of_its_type() -> None:
    wf = Workflow("w")
    wf.input("n", int, default="5")
    wf.add(lambda n: type(n).__name__, name="kind")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.inputs == {"n": 5}
        assert run.output == "int"


async def test_a_default_that_does_not_fit_is_refused_before_a_run() -> None:
    def plan() -> None:
        wf = Workflow("w")
        wf.input("n", int, default="many")
        wf.add(lambda n: n, name="same")
        Orchestrator().plan(wf)

    with pytest.raises((LLMOrchError, TypeError, ValueError), match="'n'"):
        plan()


async def test_a_hook_that_never_returns_delays_the_end_by_ten_seconds_at_most() -> None:
    async def stuck(event: object) -> None:
        await anyio.sleep_forever()

    async with stage(hooks=[stuck]) as s:
        began = anyio.current_time()
        assert (await s.orch.run(one)).status == "succeeded"
        assert anyio.current_time() - began <= 10


def check_log(log: Sequence[Event]) -> None:
    """Numbered without gaps, ended once and last, and every step that started has ended once."""
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert [index for index, event in enumerate(log) if isinstance(event, RunFinished)] == [len(log) - 1]
    started = [event.step for event in log if isinstance(event, StepStarted)]
    ended = [event.step for event in log if isinstance(event, StepSucceeded | StepFailed | StepCancelled)]
    assert len(started) == len(set(started))
    assert len(ended) == len(set(ended))
    assert set(started) <= set(ended)


async def check_places(orch: Orchestrator, count: int) -> None:
    """So many steps run at once: none of the places is lost, none is there twice."""
    meter = Meter()
    wf = Workflow("calm")
    wf.returns([wf.add(meter.work, name=f"s{i}", seconds=1) for i in range(3 * count)])
    began = anyio.current_time()
    assert (await orch.run(wf)).status == "succeeded"
    assert anyio.current_time() - began == pytest.approx(3)
    assert meter.peak == count


async def test_after_a_storm_of_cancelled_runs_everything_works() -> None:
    """Random runs, cancelled, timed out and left at random moments; then all places, and nothing else, are there."""
    dice = random.Random(7)
    meter = Meter()
    seen: list[object] = []

    def stormy() -> Workflow[Any]:
        wf = Workflow("stormy", on_error="skip")
        inner = Workflow("inner")
        inner.input("seconds", float)
        inner.add(meter.work, name="a")
        inner.add(Payload("p", "x", retry=Retry(attempts=3, base=dice.random())), after=["a"])
        inner.returns([Node("a"), Node("p")])
        nodes = [
            wf.add(inner, name=f"n{i}", seconds=dice.random() * 3, timeout=dice.choice([None, 0.5, 2.0]))
            for i in range(3)
        ]
        mapped = wf.map(
            inner, name="m", seconds=each([dice.random() for _ in range(4)]), concurrency=dice.choice([None, 1, 2]),
            timeout=dice.choice([None, 1.0]),
        )  # fmt: skip
        return wf.returns({"q": first_n(nodes, 2, cancel_rest=dice.random() < 0.5), "m": mapped})

    async def one_run(orch: Orchestrator) -> None:
        await anyio.sleep(dice.random() * 10)
        match dice.randrange(4):
            case 0:
                await orch.run(stormy(), timeout=dice.choice([None, 0.5, 3.0]))
            case 1:
                handle = await orch.start(stormy())
                await anyio.sleep(dice.random() * 4)
                await handle.cancel()
            case 2:
                with anyio.move_on_after(dice.random() * 4):
                    await orch.run(stormy())
            case _:
                async with orch.stream(stormy()) as events:
                    for _ in range(dice.randrange(40)):
                        await anext(events, None)

    def answer(_: object) -> object:
        return Reply(ProviderUnavailable("x") if dice.random() < 0.4 else "fine", dice.random())

    async with stage({"p": answer}, concurrency=3, hooks=[seen.append]) as s:
        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(one_run, s.orch)
        for summary in await s.orch.runs(limit=1_000):
            assert summary.status in ("succeeded", "partial", "failed", "cancelled")
            check_log(await s.log(summary.id))
        assert meter.peak <= 3
        assert meter.now == 0
        await check_places(s.orch, 3)
    assert sum(isinstance(event, RunFinished) for event in seen) == 61
