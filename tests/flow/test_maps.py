"""Dynamic fan-out: items, policies, identity, order."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from llmorch import (
    Default,
    MapExpanded,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    StepError,
    StepNotRun,
    StepStarted,
    Workflow,
    each,
    optional,
    step,
)
from llmorch.testing import Reply
from tests.flow.stage import Meter, fails, kinds, one, stage

pytestmark = pytest.mark.anyio


def half(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


async def test_values_stand_in_item_order_whatever_ends_first() -> None:
    async def wait(n: int) -> int:
        await anyio.sleep(n)
        return n

    wf = Workflow("w")
    wf.map(wait, n=each([3, 1, 2]))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == [3, 1, 2]


async def test_items_have_paths_from_zero() -> None:
    inner = Workflow("inner")
    inner.add(Payload("check", "{{ text }}"))
    wf = Workflow("w")
    wf.map(inner, name="review", text=each(["a", "b"]))
    async with stage({"review[0]/check": "A", "check": "B"}) as s:
        run = await s.orch.run(wf)
        assert run.output == ["A", "B"]
        assert s.asked == ["review[0]/check", "review[1]/check"]
        assert list(run.steps) == ["review", "review[0]", "review[0]/check", "review[1]", "review[1]/check"]
        assert run["review[1]"] == "B"
        assert run.steps["review[1]/check"].response is not None


async def test_a_map_of_a_map_nests_its_paths() -> None:
    inner = Workflow("inner")
    inner.map(lambda word, suffix: word + suffix, name="spell", word=each(inner.input("row", list)))
    wf = Workflow("w")
    wf.map(inner, name="rows", row=each([["a"], ["b", "c"]]), suffix="!")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [["a!"], ["b!", "c!"]]
        assert run["rows[1]/spell[1]"] == "c!"


async def test_several_lists_are_zipped_and_plain_bindings_are_shared() -> None:
    wf = Workflow("w")
    wf.map(lambda a, b, c: f"{a}{b}{c}", name="m", a=each(["x", "y"]), b=each([1, 2]), c="!")
    async with stage() as s:
        assert (await s.orch.run(wf)).output == ["x1!", "y2!"]


async def test_lists_of_unequal_length_are_the_maps_failure() -> None:
    wf = Workflow("w")
    wf.map(lambda a, b: 0, name="m", a=each(wf.input("xs", list)), b=each([1, 2]))
    async with stage() as s:
        run = await s.orch.run(wf, xs=[1])
        assert isinstance(run.error, StepError)
        assert run.error.step == "m"
        assert "length" in str(run.error)


@pytest.mark.parametrize("given", ["text", {"a": 1}, 3, None])
async def test_what_is_no_list_is_the_maps_failure(given: Any) -> None:
    wf = Workflow("w")
    wf.map(lambda a: a, name="m", a=each(wf.input("xs", Any)))
    async with stage() as s:
        run = await s.orch.run(wf, xs=given)
        assert run.status == "failed"
        assert "'m'" in str(run.error)


async def test_an_empty_list_maps_to_an_empty_list() -> None:
    wf = Workflow("w")
    wf.map(half, n=each(wf.input("xs", list)), on_error="skip")
    async with stage() as s:
        run = await s.orch.run(wf, xs=[])
        assert run.output == []
        assert run.status == "succeeded"
        assert kinds(await s.log(run))[1:-1] == ["StepStarted half", "MapExpanded half", "StepSucceeded half"]


async def test_skip_leaves_failed_items_out() -> None:
    wf = Workflow("w")
    wf.map(half, n=each([2, 3, 4]), on_error="skip")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [1, 2]
        assert run.status == "partial"
        assert list(run.steps["half"].failures) == [1]
        assert isinstance(run.steps["half"].failures[1], StepError)
        assert run.steps["half"].status == "succeeded"
        assert list(run.failures) == ["half[1]"]


@pytest.mark.parametrize("items", [[2, 3, 4], [1, 3]])
async def test_default_keeps_positions_also_when_all_failed(items: list[int]) -> None:
    wf = Workflow("w")
    wf.map(half, n=each(items), on_error=Default(None))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [n // 2 if n % 2 == 0 else None for n in items]
        assert run.status == "partial"
        assert run[f"half[{items.index(3)}]"] is None


async def test_all_items_failed_under_skip_is_a_failed_map_that_is_skipped() -> None:
    wf = Workflow("w")
    halves = wf.map(half, n=each([1, 3]), on_error="skip")
    wf.returns({"m": halves, "o": optional(halves, default=[]), "r": wf.add(lambda half: half, name="reader")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["half"].status == "failed"
        assert run.steps["reader"].status == "skipped"
        assert run.output == {"m": None, "o": [], "r": None}
        assert run.status == "partial"
        assert set(run.failures) == {"half", "half[0]", "half[1]"}


async def test_under_fail_no_further_item_starts_and_those_in_flight_are_recorded() -> None:
    async def wait(n: int) -> int:
        await anyio.sleep(n)
        if n == 1:
            raise ValueError("stop")
        return n

    wf = Workflow("w")
    wf.map(wait, n=each([5, 1, 2, 2, 2]), concurrency=2)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert run["wait[0]"] == 5
        assert [run.steps[f"wait[{i}]"].status for i in range(5)] == [
            "succeeded",
            "failed",
            "pending",
            "pending",
            "pending",
        ]
        assert run.steps["wait[3]"].reason
        assert "wait[1]" in str(run.error)


async def test_a_failure_of_the_map_itself_under_default_acts_as_skip() -> None:
    wf = Workflow("w")
    m = wf.map(half, n=each(wf.input("xs", Any)), on_error=Default(0))
    wf.returns({"m": m})
    async with stage() as s:
        run = await s.orch.run(wf, xs="no list")
        assert run.output == {"m": None}
        assert run.status == "partial"
        with pytest.raises(StepNotRun):
            run[m]


@pytest.mark.parametrize("policy", ["fail", "skip", Default(9)])
async def test_a_skipped_item_is_left_out_and_makes_nothing_partial(policy: Any) -> None:
    inner = Workflow("inner")
    n = inner.input("n", int)
    inner.add(lambda n: n, name="keep", when="n > 1")
    del n
    wf = Workflow("w")
    wf.map(inner, n=each([1, 2, 3]), on_error=policy)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [2, 3]
        assert run.status == "succeeded"
        assert run.steps["inner[0]"].status == "skipped"


async def test_all_items_skipped_is_an_empty_list() -> None:
    inner = Workflow("inner")
    inner.input("n", int)
    inner.add(lambda n: n, name="keep", when="false")
    wf = Workflow("w")
    wf.map(inner, n=each([1, 2]), on_error="skip")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == []
        assert run.status == "succeeded"


async def test_when_is_asked_once_before_the_map() -> None:
    wf = Workflow("w")
    wf.map(half, n=each([2, 4]), when="false")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["half"].status == "skipped"
        assert not any(isinstance(event, MapExpanded) for event in await s.log(run))


@pytest.mark.parametrize("bound", [1, 3, None])
async def test_concurrency_bounds_the_items_at_once(bound: int | None) -> None:
    meter = Meter()
    wf = Workflow("w")
    wf.map(meter.work, seconds=each([1.0] * 6), concurrency=bound, name="m")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert len(run.output) == 6
        assert meter.peak == (bound or 6)


async def test_concurrency_counts_items_that_wait_inside_a_nested_workflow() -> None:
    meter = Meter()
    inner = Workflow("inner")
    inner.input("seconds", float)
    inner.add(meter.work, name="first")
    inner.add(meter.work, name="second", after=["first"])
    inner.returns(Node("second"))
    wf = Workflow("w")
    wf.map(inner, seconds=each([1.0] * 5), concurrency=2)
    async with stage() as s:
        await s.orch.run(wf)
        assert meter.peak == 2
        assert meter.total == 10


async def test_each_takes_any_reference() -> None:
    wf = Workflow("w")
    gone = wf.add(lambda: [1], name="gone", when="false")
    wf.map(lambda n: n + 1, name="m", n=each(optional(gone, default=[4, 5])))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == [5, 6]


async def test_each_over_a_list_with_references_inside() -> None:
    wf = Workflow("w")
    a = wf.add(one, name="a")
    wf.map(lambda n: n * 10, name="m", n=each([a, 2]))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == [10, 20]


async def test_a_map_of_payloads_asks_once_for_each_item() -> None:
    wf = Workflow("w")
    wf.map(Payload("sum", "Sum up {{ text }}"), text=each(wf.input("texts", list[str])))
    async with stage({"sum": lambda request: request.messages[-1].text.upper()}) as s:
        run = await s.orch.run(wf, texts=["a", "b"])
        assert run.output == ["SUM UP A", "SUM UP B"]
        assert run.steps["sum"].usage.requests == 2
        assert [len(run.steps[f"sum[{i}]"].calls) for i in range(2)] == [1, 1]


async def test_each_item_gets_a_copy_of_its_own() -> None:
    def add(item: dict[str, Any], shared: list[int]) -> list[int]:
        shared.append(item["n"])
        item["n"] = 0
        return shared

    wf = Workflow("w")
    items = wf.input("items", list)
    wf.map(add, item=each(items), shared=[7])
    wf.returns([Node("add"), items])
    async with stage() as s:
        run = await s.orch.run(wf, items=[{"n": 1}, {"n": 2}])
        assert run.output == [[[7, 1], [7, 2]], [{"n": 1}, {"n": 2}]]


async def test_the_first_items_come_first() -> None:
    wf = Workflow("w")
    wf.map(Payload("p", "{{ n }}"), n=each([0, 1, 2, 3]), concurrency=2)
    async with stage({"p": lambda request: Reply(request.messages[-1].text, 1)}) as s:
        run = await s.orch.run(wf)
        started = [event.step for event in await s.log(run) if isinstance(event, StepStarted)]
        assert started == ["p", "p[0]", "p[1]", "p[2]", "p[3]"]


async def test_a_map_may_be_ten_thousand_items_wide() -> None:
    wf = Workflow("w")
    wf.map(step(inline=True)(lambda n: n + 1), name="m", n=each(wf.input("xs", list)), on_error="skip")
    wf.returns(wf.add(lambda m: sum(m), name="sum"))
    async with stage() as s:
        run = await s.orch.run(wf, xs=list(range(10_000)))
        assert run.output == 50_005_000
        assert run["m[9999]"] == 10_000
        assert len(run.steps) == 10_002


async def test_maps_of_workflows_with_maps_keep_every_policy_apart() -> None:
    inner = Workflow("inner", on_error="skip")
    inner.map(half, name="halves", n=each(inner.input("row", list)), on_error=Default(-1))
    inner.add(lambda halves: sum(halves), name="total")
    inner.add(lambda total: 1 // (total - 3), name="odd")
    inner.returns(Node("odd"))
    wf = Workflow("w")
    wf.map(inner, name="rows", row=each([[2, 4], [1, 8], [10]]), on_error="skip", concurrency=2)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [0]
        assert run["rows[1]/halves"] == [-1, 4]
        assert list(run.steps["rows"].failures) == [0, 1]
        assert list(run.steps["rows[1]/halves"].failures) == [0]
        assert set(run.failures) == {"rows[0]", "rows[0]/odd", "rows[1]", "rows[1]/halves[0]", "rows[1]/odd"}
        assert run.status == "partial"


@pytest.mark.parametrize(("policy", "asked_again"), [("fail", ["p[1]"]), ("skip", [])])
async def test_resume_runs_single_items_of_a_failed_map_again(policy: Any, asked_again: list[str]) -> None:
    wf = Workflow("w")
    asked = wf.map(Payload("p", "{{ n }}", retry=Retry(attempts=1)), n=each([0, 1, 2]), on_error=policy)
    wf.returns([asked, wf.add(fails, name="end", after=[asked])])
    async with stage({"p[1]": [ProviderUnavailable("down"), "late"], "p": "x"}) as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert list(run.steps["p"].failures) == [1]
        s.provider.requests.clear()
        done = await (await s.orch.resume(run.id)).result()
        assert s.asked == asked_again
        assert done["p"] == (["x", "late", "x"] if asked_again else ["x", "x"])
        assert list(done.steps["p"].failures) == ([] if asked_again else [1])
