"""first_n and cancel_rest: a quorum of values, and what happens to the others."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from llmorch import (
    Default,
    Node,
    Payload,
    StepCancelled,
    StepNotRun,
    StepStarted,
    Workflow,
    each,
    first_n,
    first_of,
    optional,
)
from llmorch.testing import Reply
from tests.flow.stage import fails, named, one, slow, stage

pytestmark = pytest.mark.anyio


def votes(wf: Workflow[Any], *seconds: float) -> list[Node[Any]]:
    return [wf.add(slow, name=f"v{i}", seconds=s, on_error="skip") for i, s in enumerate(seconds)]


def join(xs: Any) -> Any:
    return xs


async def test_the_first_values_are_given_in_declared_order() -> None:
    wf = Workflow("w")
    wf.add(join, xs=first_n(votes(wf, 3, 9, 1), 2))
    wf.returns(Node("join"))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [3, 1]
        joined, last = run.steps["join"].finished_at, run.steps["v1"].finished_at
        assert joined is not None
        assert last is not None
        assert joined < last
        assert run.steps["v1"].status == "succeeded"  # without cancel_rest it goes on


async def test_failed_and_skipped_ones_do_not_count() -> None:
    wf = Workflow("w")
    nodes = [
        wf.add(fails, on_error="skip"),
        wf.add(one, name="gone", when="false", on_error="skip"),
        wf.add(fails, name="defaulted", on_error=Default(7)),
        wf.add(slow, seconds=4, on_error="skip"),
    ]
    wf.add(join, xs=first_n(nodes, 2))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [7, 4]
        assert run.status == "partial"


@pytest.mark.parametrize(("lost", "status"), [(True, "failed"), (False, "succeeded")])
async def test_fewer_than_n_possible_is_skipped_as_soon_as_it_is_known(lost: bool, status: str) -> None:
    wf = Workflow("w")
    first = wf.add(fails, name="a", on_error="skip") if lost else wf.add(one, name="a", when="false", on_error="skip")
    second = wf.add(slow, seconds=5, on_error="skip")
    wf.add(join, xs=first_n([first, second], 2))
    wf.add(lambda q: "no quorum" if q is None else q, name="after_all", q=optional(Node("join")))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["join"].status == "skipped"
        assert run.output == "no quorum"
        assert run.status == ("partial" if lost else "succeeded")
        wf.returns(Node("join"))
        assert (await s.orch.run(wf)).status == status


async def test_cancel_rest_stops_what_nothing_else_needs() -> None:
    wf = Workflow("w")
    nodes = votes(wf, 1, 2, 1000)
    wf.add(join, xs=first_n(nodes, 2, cancel_rest=True))
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert anyio.current_time() - began == pytest.approx(2)
        assert run.output == [1, 2]
        assert run.status == "succeeded"
        assert run.steps["v2"].status == "cancelled"
        assert "not needed" in run.steps["v2"].reason
        assert "not needed" in (await s.orch.get(run.id)).steps["v2"].reason
        assert run.failures == {}
        with pytest.raises(StepNotRun):
            run["v2"]


async def test_cancel_rest_leaves_what_somebody_else_reads() -> None:
    wf = Workflow("w")
    nodes = votes(wf, 1, 8, 9)
    wf.add(join, xs=first_n(nodes, 1, cancel_rest=True))
    wf.returns({"join": Node("join"), "late": nodes[1]})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"join": [1], "late": 8}
        assert run.steps["v2"].status == "cancelled"


async def test_cancel_rest_stops_calls_in_flight_and_in_a_retry_pause() -> None:
    wf = Workflow("w")
    nodes = [wf.add(Payload(name, "x"), on_error="skip") for name in ("quick", "hangs", "waits")]
    wf.add(join, xs=first_n(nodes, 1, cancel_rest=True))
    from llmorch import ProviderUnavailable, RateLimited

    script = {
        "quick": Reply("Q", 2),
        "hangs": Reply("H", 500),
        "waits": [RateLimited("later", retry_after=100), ProviderUnavailable("x")],
    }
    async with stage(script) as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert run.output == ["Q"]
        assert anyio.current_time() - began == pytest.approx(2)
        assert [run.steps[name].status for name in ("hangs", "waits")] == ["cancelled", "cancelled"]


async def test_cancel_rest_stops_nested_workflows_and_maps() -> None:
    from llmorch import each

    inner = named("inner", slow)
    inner.input("seconds", float)
    wf = Workflow("w")
    quick = wf.add(slow, name="quick", seconds=1, on_error="skip")
    nested = wf.add(inner, seconds=500, on_error="skip")
    mapped = wf.map(slow, name="mapped", seconds=each([300, 400]), on_error="skip", concurrency=1)
    wf.add(join, xs=first_n([quick, nested, mapped], 1, cancel_rest=True))
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert run.output == [1]
        assert anyio.current_time() - began == pytest.approx(1)
        assert run.steps["inner"].status == "cancelled"
        assert run.steps["inner/slow"].status == "cancelled"
        assert run.steps["mapped"].status == "cancelled"
        assert run.steps["mapped[0]"].status == "cancelled"
        assert run.steps["mapped[1]"].status == "pending"
        log = await s.log(run)
        assert "mapped[1]" not in [event.step for event in log if isinstance(event, StepStarted)]
        assert type(log[-1]).__name__ == "RunFinished"
        assert {event.step for event in log if isinstance(event, StepCancelled)} == {
            "inner", "inner/slow", "mapped", "mapped[0]",
        }  # fmt: skip


async def test_cancel_rest_stops_what_has_not_started() -> None:
    wf = Workflow("w")
    wf.add(slow, name="long", seconds=3)
    quick = wf.add(slow, name="quick", seconds=1, on_error="skip")
    later = wf.add(one, name="later", after=["long"], on_error="skip")
    wf.add(join, xs=first_n([quick, later], 1, cancel_rest=True))
    wf.returns({"join": Node("join"), "long": Node("long")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"join": [1], "long": 3}
        assert run.steps["later"].status == "cancelled"


async def test_the_same_selection_read_twice_decides_the_same() -> None:
    wf = Workflow("w")
    chosen = first_n(votes(wf, 3, 1, 2), 2)
    wf.add(lambda xs: xs, name="a", xs=chosen)
    wf.add(lambda xs: xs, name="b", xs=chosen)
    wf.returns([Node("a"), Node("b")])
    async with stage() as s:
        assert (await s.orch.run(wf)).output == [[1, 2], [1, 2]]


async def test_parts_of_values_can_be_chosen() -> None:
    def make(n: int) -> dict[str, int]:
        return {"n": n}

    wf = Workflow("w")
    nodes = [wf.add(make, name=f"m{n}", n=n, on_error="skip") for n in range(3)]
    wf.add(join, xs=first_n([node["n"] for node in nodes], 3))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == [0, 1, 2]


async def test_a_selection_in_the_output() -> None:
    wf = Workflow("w")
    wf.returns({"best": first_n(votes(wf, 2, 1), 1, cancel_rest=True)})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"best": [1]}
        assert run.steps["v0"].status == "cancelled"


async def test_laggards_of_every_kind_are_cancelled_and_what_they_cost_is_shown() -> None:
    ask = Payload("ask", "{{ x }}")
    inner = Workflow.of(ask, Payload("more", "{{ ask }}"), name="inner")
    wf = Workflow("w")
    options: dict[str, Any] = {"on_error": "skip", "x": "go"}
    nodes: list[Node[Any]] = [
        wf.loop(ask, name="looped", until="false", max_iterations=9, carry={"x": "output"}, **options),
        wf.loop(inner, name="nested", until="false", max_iterations=9, carry={"x": "output"}, **options),
        wf.dispatch("'a'", among={"a": inner, "b": ask}, name="chosen", **options),
        wf.map(inner, name="mapped", x=each(["a", "b"]), concurrency=1, on_error="skip"),
        wf.add(slow, seconds=1.5, on_error="skip"),
    ]
    wf.returns(first_n(nodes, 1, cancel_rest=True))
    async with stage({"*": Reply("text", 1)}) as s:
        since = anyio.current_time()
        run = await s.orch.run(wf)
        assert anyio.current_time() - since == pytest.approx(1.5)
        assert run.output == [1.5]
        assert run.status == "succeeded"
        for node in nodes[:-1]:
            assert run.steps[node.name].status == "cancelled"
            assert run.steps[node.name].reason == "not needed"
        assert run["looped@0"] == run["nested@0/ask"] == run["chosen/a/ask"] == run["mapped[0]/ask"] == "text"
        for path in ("looped@1", "nested@0", "nested@0/more", "chosen/a", "chosen/a/more", "mapped[0]/more"):
            assert run.steps[path].status == "cancelled", path
        assert run.steps["mapped[1]"].status == "pending"
        assert [run.steps[node.name].usage.requests for node in nodes] == [2, 2, 2, 2, 0]
        assert run.usage.requests == len(s.asked) == 8


async def test_when_stands_on_every_kind_of_step() -> None:
    inner = named("inner", one)
    wf = Workflow("w")
    wf.input("go", bool)
    nodes = [
        wf.add(one, when="go"),
        wf.add(Payload("p", "x"), when="go"),
        wf.add(inner, when="go"),
        wf.map(lambda n: n, name="m", n=each([1]), when="go"),
        wf.loop(one, name="l", until="true", max_iterations=1, when="go"),
        wf.dispatch("'a'", among={"a": one}, name="d", when="go"),
        wf.ask("q", "?", when="go", on_error=Default("none"), timeout=1),
    ]
    wf.returns(nodes)
    async with stage({"p": "x"}) as s:
        run = await s.orch.run(wf, go=False)
        assert run.output == []
        assert {run.steps[node.name].status for node in nodes} == {"skipped"}
        assert len(await s.log(run)) == len(nodes) + 2
        assert (await s.orch.run(wf.replace("q", one), go=True)).output == [1, "x", 1, [1], 1, 1, 1]


async def test_selections_take_loops_and_dispatches_like_any_other_step() -> None:
    wf = Workflow("w")
    off = wf.dispatch("'b'", among={"a": one}, name="off", on_error="skip")
    on = wf.loop(one, name="on", until="true", max_iterations=1, on_error="skip")
    wf.returns([first_of(off, on), first_n([off, on], 1), optional(off, default=7)])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [1, [1], 7]
        assert run.status == "partial"


@pytest.mark.parametrize("late_s", [0.0, 1.0])
async def test_a_quorum_that_cannot_be_reached_is_lost_to_a_failure_whichever_ends_first(late_s: float) -> None:
    async def failing() -> int:
        await anyio.sleep(late_s)
        raise ValueError("no")

    async def skipped(n: int) -> int:
        return n

    wf: Workflow[Any] = Workflow("w", on_error="skip")
    n = wf.input("n", int)
    members = [
        wf.add(skipped, name="a", n=n, when="n > 1"),
        wf.add(skipped, name="b", n=n, when="n > 1"),
        wf.add(failing, name="c"),
    ]
    wf.returns(first_n(members, 2))
    async with stage() as s:
        run = await s.orch.run(wf, n=1)
        assert run.status == "failed"
        assert "no" in str(run.error)
