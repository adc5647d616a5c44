"""The results of a map, given to a consumer in item order as they come."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from llmorch import Default, Node, Payload, ProviderUnavailable, Retry, StepFailed, Workflow, each
from llmorch.testing import Reply
from tests.flow.elsewhere import SharedStore, cut, process, whole
from tests.flow.stage import one, stage

pytestmark = pytest.mark.anyio


class Score(BaseModel):
    points: int


async def wait(n: float) -> float:
    await anyio.sleep(n)
    return n


def half(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


def waiting(*seconds: float, **options: Any) -> Workflow[Any]:
    wf = Workflow("w")
    return wf.returns(wf.map(wait, name="m", n=each(list(seconds)), **options))


def halves(*numbers: int, **options: Any) -> Workflow[Any]:
    wf = Workflow("w")
    return wf.returns(wf.map(half, name="m", n=each(list(numbers)), **options))


async def test_each_item_comes_in_order_as_soon_as_those_before_it_are_known() -> None:
    async with stage() as s:
        handle = await s.orch.start(waiting(3, 1, 5, 4))
        began = anyio.current_time()
        got = [(item, round(anyio.current_time() - began)) async for item in handle.items("m")]
        assert got == [((0, 3), 3), ((1, 1), 3), ((2, 5), 5), ((3, 4), 5)]
        assert (await handle.result()).status == "succeeded"


async def test_items_come_while_the_run_goes_on() -> None:
    wf = Workflow("w")
    m = wf.map(wait, name="m", n=each([1.0, 2.0]))
    wf.returns([m, wf.add(wait, name="late", n=50.0)])
    async with stage() as s:
        handle = await s.orch.start(wf)
        began = anyio.current_time()
        assert [index async for index, _ in handle.items(m)] == [0, 1]
        assert anyio.current_time() - began < 3, "it does not wait for the run"
        assert (await handle.peek()).status == "running"
        await handle.cancel()


@pytest.mark.parametrize(
    ("policy", "items"), [("skip", [(0, 1), (2, 2)]), (Default(None), [(0, 1), (1, None), (2, 2)]), ("fail", [(0, 1)])]
)
async def test_an_item_without_a_value_is_passed_over(policy: Any, items: list[Any]) -> None:
    async with stage() as s:
        handle = await s.orch.start(halves(2, 3, 4, on_error=policy, concurrency=1))
        live = [item async for item in handle.items("m")]
        run = await handle.result()
        after = [item async for item in handle.items("m")]
        assert live == after == items
        if run.status != "failed":
            assert [value for _, value in items] == run.output


async def test_a_skipped_item_is_passed_over() -> None:
    inner = Workflow("inner")
    inner.input("n", int)
    inner.add(lambda n: n * 10, name="keep", when="n > 1")
    wf = Workflow("w")
    wf.map(inner, name="m", n=each([1, 2, 3]))
    async with stage() as s:
        handle = await s.orch.start(wf)
        assert [item async for item in handle.items("m")] == [(1, 20), (2, 30)]


async def test_values_have_their_type() -> None:
    wf = Workflow("w")
    m = wf.map(Payload("p", "{{ n }}", output=Score), n=each([1, 2]))
    async with stage({"p": lambda request: {"points": int(request.messages[-1].text)}}) as s:
        handle = await s.orch.start(wf)
        assert [value.points async for _, value in handle.items(m)] == [1, 2]


async def test_a_consumer_cannot_change_the_run() -> None:
    wf = Workflow("w")
    wf.map(lambda n: [n], name="m", n=each([1, 2]))
    async with stage() as s:
        handle = await s.orch.start(wf)
        async for _, value in handle.items("m"):
            value.append("mine")
        assert (await handle.result()).output == [[1], [2]]


async def test_maps_inside_workflows_items_and_iterations_have_items_of_their_own() -> None:
    inner = Workflow("inner")
    inner.input("row", list)
    inner.map(lambda word: word + "!", name="shout", word=each(Node("row")))
    loop = Workflow("loop")
    loop.input("base", int)
    loop.map(lambda n, base: n + base, name="plus", n=each([1, 2]), base=Node("base"))
    wf = Workflow("w")
    wf.map(inner, name="rows", row=each([["a"], ["b", "c"]]))
    wf.loop(loop, name="again", until="false", max_iterations=2, carry={"base": "output[1]"}, base=0)
    wf.dispatch("'x'", among={"x": inner}, name="pick", row=["z"])
    wf.returns([Node("rows"), Node("again"), Node("pick")])
    async with stage() as s:
        handle = await s.orch.start(wf)
        for path, expected in (
            ("rows[1]/shout", [(0, "b!"), (1, "c!")]),
            ("rows", [(0, ["a!"]), (1, ["b!", "c!"])]),
            ("again@1/plus", [(0, 3), (1, 4)]),
            ("pick/x/shout", [(0, "z!")]),
        ):
            assert [item async for item in handle.items(path)] == expected


@pytest.mark.parametrize("width", [0, 1, 1200])
async def test_any_width(width: int) -> None:
    wf = Workflow("w")
    wf.map(lambda n: n, name="m", n=each(wf.input("xs", list)))
    async with stage() as s:
        handle = await s.orch.start(wf, xs=list(range(width)))
        assert [item async for item in handle.items("m")] == [(n, n) for n in range(width)]
        await handle.result()
        assert [item async for item in handle.items("m")] == [(n, n) for n in range(width)]


async def test_a_map_that_never_runs_has_no_items() -> None:
    wf = Workflow("w")
    wf.map(half, name="gone", n=each([2]), when="false")
    wf.map(half, name="broken", n=each(wf.input("xs", Any)), on_error="skip")
    wf.add(half, name="fails", n=1)
    wf.map(half, name="behind", n=each([2]), after=["fails"])
    wf.returns([])
    async with stage() as s:
        handle = await s.orch.start(wf, xs="no list")
        for name in ("gone", "broken", "behind"):
            assert [item async for item in handle.items(name)] == []


async def test_what_is_no_map_is_refused() -> None:
    wf = halves(2)
    wf.add(one)
    async with stage() as s:
        handle = await s.orch.start(wf)
        with pytest.raises(ValueError, match="'one' is no map"):
            await handle.items("one").__anext__()
        with pytest.raises(ValueError, match=r"'m\[0\]' is no map"):
            await handle.items("m[0]").__anext__()
        with pytest.raises(KeyError, match="did you mean 'one'"):
            await handle.items("oen").__anext__()
        with pytest.raises(ValueError, match="takes the map itself"):
            handle.items(Node("m")[0])


async def test_a_stream_has_the_items_too_and_leaving_it_early_cancels_the_run() -> None:
    async with stage() as s:
        async with s.orch.stream(waiting(1, 2, 3)) as events:
            assert [item async for item in events.items("m")] == [(0, 1), (1, 2), (2, 3)]
            kinds = [type(event).__name__ async for event in events]
            assert kinds[-1] == "RunFinished"
        async with s.orch.stream(waiting(1, 200)) as events, aclosing(events.items("m")) as items:
            assert await items.__anext__() == (0, 1)
        assert events.run.status == "cancelled"


async def test_a_map_whose_list_was_given_in_a_fork_has_these_items() -> None:
    async with stage() as s:
        run = await s.orch.run(halves(2, 4))
        handle = await s.orch.fork(run.id, replace={"m": [7, 8, 9]})
        assert [item async for item in handle.items("m")] == [(0, 7), (1, 8), (2, 9)]


ONCE = Retry(attempts=1)


def asking() -> Workflow[Any]:
    wf = Workflow("w")
    wf.map(Payload("p", "{{ n }}", retry=ONCE), n=each([0, 1, 2, 3]), on_error="fail", concurrency=1)
    return wf


async def test_after_a_resume_an_item_that_had_failed_stands_in_its_place() -> None:
    answers = ["a", ProviderUnavailable("down")]
    async with stage({"p[1]": [answers[1], "b"], "p": "x"}) as s:
        handle = await s.orch.start(asking())
        assert [item async for item in handle.items("p")] == [(0, "x")]
        assert (await handle.result()).status == "failed"
        again = await s.orch.resume(handle.id)
        assert [item async for item in again.items("p")] == [(0, "x"), (1, "b"), (2, "x"), (3, "x")]
        done = await again.result()
        assert [item async for item in again.items("p")] == list(enumerate(done.output))


async def test_the_items_of_a_run_that_another_process_carries_out_come_too() -> None:
    wf = Workflow("w")
    wf.map(Payload("p", "{{ n }}"), n=each([3, 1, 2]))
    script = {"p": lambda request: Reply(f"<{request.messages[-1].text}>", float(request.messages[-1].text))}
    store = SharedStore()
    async with process(store, script, workflows=[wf]) as s:
        handle = await s.orch.start(wf)
        async with process(SharedStore("b", of=store), workflows=[wf]) as other:
            assert [item async for item in other.orch.attach(handle.id).items("p")] == [
                (0, "<3>"),
                (1, "<1>"),
                (2, "<2>"),
            ]
        assert (await handle.result()).output == ["<3>", "<1>", "<2>"]


async def test_the_items_of_a_run_that_lost_its_process_go_on_where_it_is_taken_up() -> None:
    wf = asking()
    store, run_id = await whole(wf, {"p": lambda request: request.messages[-1].text})
    log = await store.events(run_id, limit=1000)
    assert not any(isinstance(event, StepFailed) for event in log)
    for at in range(1, len(log)):
        async with process(await cut(store, run_id, at), {"p": lambda r: r.messages[-1].text}, workflows=[wf]) as s:
            got = [item async for item in s.orch.attach(run_id).items("p")]
            assert got == [(n, str(n)) for n in range(4)], at


async def test_the_items_of_a_run_that_nobody_goes_on_with_end() -> None:
    wf = asking()
    store, run_id = await whole(wf, {"p": "x"})
    log = await store.events(run_id, limit=1000)
    async with process(await cut(store, run_id, len(log) - 4), {}, workflows=[wf], recover=False) as s:
        got = [item async for item in s.orch.attach(run_id).items("p")]
        assert got in ([(0, "x"), (1, "x"), (2, "x")], [(0, "x"), (1, "x")])
