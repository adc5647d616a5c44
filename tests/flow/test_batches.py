"""Batches, and the orchestrator's life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pydantic import BaseModel

from llmorch import (
    InputInvalid,
    LLMOrchError,
    Orchestrator,
    Payload,
    WrongLoop,
)
from llmorch.testing import ScriptedProvider
from tests.flow.stage import Meter, one, slow, stage

pytestmark = pytest.mark.anyio


class Claim(BaseModel):
    text: str


class Facts(BaseModel):
    title: str
    claims: list[Claim]


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
