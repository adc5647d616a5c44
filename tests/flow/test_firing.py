"""When steps start: as soon as what they read is decided, and only if it has a value."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from llmorch import (
    Default,
    Node,
    Payload,
    RunFailed,
    StepError,
    StepNotRun,
    StepSkipped,
    TemplateError,
    Workflow,
    first_of,
    optional,
)
from llmorch.testing import Reply
from tests.flow.stage import fails, one, slow, stage

pytestmark = pytest.mark.anyio


async def test_a_step_starts_as_soon_as_its_own_inputs_are_there() -> None:
    script = {"slow": Reply("S", 10), "quick": Reply("Q", 1), "after_quick": Reply("AQ", 1), "join": "J"}
    async with stage(script) as s:
        wf = Workflow.of(
            Payload("slow", "x"), Payload("quick", "x"), Payload("after_quick", "{{ quick }}"),
            Payload("join", "{{ slow }} {{ after_quick }}"), name="w",
        )  # fmt: skip
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert anyio.current_time() - began == pytest.approx(10)
    finished, slow_end = run.steps["after_quick"].finished_at, run.steps["slow"].finished_at
    assert s.asked == ["slow", "quick", "after_quick", "join"]
    assert finished is not None
    assert slow_end is not None
    assert finished < slow_end


async def test_sibling_branches_take_as_long_as_the_longest() -> None:
    wf = Workflow("w")
    wf.returns([wf.add(slow, name=f"s{i}", seconds=i) for i in range(1, 6)])
    async with stage() as s:
        began = anyio.current_time()
        assert (await s.orch.run(wf)).output == [1, 2, 3, 4, 5]
        assert anyio.current_time() - began == pytest.approx(5)


async def test_when_false_skips_the_step_and_what_reads_it() -> None:
    wf = Workflow("w")
    flag = wf.input("flag", bool)
    maybe = wf.add(one, name="maybe", when=flag)
    wf.add(lambda maybe: maybe, name="reader")
    async with stage() as s:
        run = await s.orch.run(wf, flag=False)
        assert run.status == "succeeded"
        assert run.output is None
        assert [run.steps[name].status for name in ("maybe", "reader")] == ["skipped", "skipped"]
        assert run.steps["maybe"].reason
        assert run.steps["reader"].reason
        assert (await s.orch.run(wf, flag=True)).output == 1
        with pytest.raises(StepNotRun, match="maybe"):
            run[maybe]


@pytest.mark.parametrize(
    ("expression", "flag", "runs"),
    [
        ("score > 3", 5, True),
        ("score > 3", 2, False),
        ("score == 5 and not done", 5, True),
        ("score in [1, 2]", 2, True),
        ("'a' in words", 0, True),
        ("words | length > 5", 0, False),
        ("person.name == 'Ada'", 0, True),
        ("score", 0, False),
    ],
)
async def test_when_is_an_expression_over_names(expression: str, flag: int, runs: bool) -> None:
    wf = Workflow("w")
    wf.input("score", int)
    wf.input("done", bool, default=False)
    wf.input("words", list, default=["a", "b"])
    wf.input("person", dict, default={"name": "Ada"})
    wf.add(one, when=expression)
    async with stage() as s:
        run = await s.orch.run(wf, score=flag)
        assert run.steps["one"].status == ("succeeded" if runs else "skipped")


async def test_when_makes_the_step_wait_for_what_it_names() -> None:
    async def flag() -> bool:
        await anyio.sleep(5)
        return True

    wf = Workflow("w")
    wf.add(flag)
    wf.add(one, when="flag")
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert run["one"] == 1
        assert anyio.current_time() - began == pytest.approx(5)


async def test_a_skipped_name_in_when_skips_the_step() -> None:
    wf = Workflow("w")
    wf.add(fails, on_error="skip")
    wf.add(one, when="fails == 3")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["one"].status == "skipped"
        assert run.status == "failed"  # the output is skipped because of a failure


async def test_an_error_while_when_is_asked_is_the_steps_failure() -> None:
    wf = Workflow("w", on_error="skip")
    wf.input("text", str)
    wf.add(one, when="text > 3")
    wf.returns({"one": Node("one")})
    async with stage() as s:
        run = await s.orch.run(wf, text="abc")
        assert run.steps["one"].status == "failed"
        assert isinstance(run.steps["one"].error, TemplateError)
        assert run.status == "partial"


async def test_a_missing_part_in_a_reference_when_is_the_steps_failure() -> None:
    wf = Workflow("w")
    given = wf.input("given", dict)
    wf.add(one, when=given["flag"])
    async with stage() as s:
        run = await s.orch.run(wf, given={})
        assert isinstance(run.error, StepError)
        assert run.error.step == "one"
        assert "flag" in str(run.error)


async def test_bindings_are_looked_at_before_when() -> None:
    wf = Workflow("w")
    wf.add(one, name="maybe", when="false")
    wf.input("text", str)
    wf.add(lambda maybe: maybe, name="reader", when="text > 3")  # asking it would be an error
    async with stage() as s:
        run = await s.orch.run(wf, text="abc")
        assert run.steps["reader"].status == "skipped"
        assert run.status == "succeeded"


@pytest.mark.parametrize("outcome", ["succeeded", "skipped", "failed"])
async def test_after_is_satisfied_by_any_outcome(outcome: str) -> None:
    wf = Workflow("w")
    if outcome == "succeeded":
        first: Any = wf.add(slow, seconds=3)
    elif outcome == "skipped":
        first = wf.add(slow, when="false")
    else:
        first = wf.add(fails, on_error="skip")
    wf.returns(wf.add(one, after=[first]))
    async with stage() as s:
        began = anyio.current_time()
        run = await s.orch.run(wf)
        assert run.output == 1
        assert run.steps[first.name].status == outcome
        assert anyio.current_time() - began == pytest.approx(3 if outcome == "succeeded" else 0)


async def test_optional_turns_a_skip_into_its_default() -> None:
    wf = Workflow("w")
    gone = wf.add(one, name="gone", when="false")
    lost = wf.add(fails, on_error="skip")
    wf.add(
        lambda a, b, c: [a, b, c],
        name="join",
        a=optional(gone),
        b=optional(lost, default={"x": 1}),
        c=[optional(gone, 3), 4],
    )
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [None, {"x": 1}, [3, 4]]
        assert run.status == "partial"


async def test_a_list_binding_is_skipped_when_a_part_of_it_is() -> None:
    wf = Workflow("w")
    there, gone = wf.add(one, name="there"), wf.add(one, name="gone", when="false")
    wf.add(lambda xs: xs, name="join", xs=[there, gone])
    wf.add(lambda d: d, name="joined", d={"a": there, "b": {"c": gone}})
    wf.returns([Node("join"), Node("joined"), there])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["join"].status == "skipped"
        assert run.steps["joined"].status == "skipped"
        assert run.output == [1]


async def test_a_missing_part_at_run_time_is_the_dependent_steps_failure() -> None:
    def make() -> dict[str, Any]:
        return {"title": "t"}

    wf = Workflow("w", on_error="skip")
    made = wf.add(make)
    wf.add(lambda x: x, name="reader", x=made["titel"])
    wf.returns({"made": made, "read": Node("reader")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "partial"
        assert run.steps["make"].status == "succeeded"
        assert run.steps["reader"].status == "failed"
        assert "titel" in str(run.failures["reader"])
        assert "title" in str(run.failures["reader"])
        assert run.output == {"made": {"title": "t"}, "read": None}


@pytest.mark.parametrize("shape", ["alone", "in a list", "in a dict"])
async def test_a_missing_part_in_the_output_fails_the_run(shape: str) -> None:
    def make() -> dict[str, Any]:
        return {"title": "t"}

    wf = Workflow("w", on_error="skip")
    part = wf.add(make)["x"]
    wf.returns({"alone": part, "in a list": [part], "in a dict": {"x": part}}[shape])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert "'x'" in str(run.error)
        with pytest.raises(RunFailed):
            _ = run.output


async def test_first_of_takes_the_first_declared_with_a_value_and_waits_for_it() -> None:
    wf = Workflow("w")
    a = wf.add(slow, name="a", seconds=10)
    b = wf.add(slow, name="b", seconds=1)
    wf.add(lambda x: x, name="pick", x=first_of(a, b))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == 10


async def test_first_of_goes_on_past_skipped_and_failed_ones() -> None:
    wf = Workflow("w")
    a = wf.add(slow, name="a", when="false")
    b = wf.add(fails, name="b", on_error="skip")
    c = wf.add(slow, name="c", seconds=2)
    d = wf.add(slow, name="d", seconds=90)
    wf.add(lambda x: x, name="pick", x=first_of(a, b, c, d))
    wf.returns({"pick": Node("pick")})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"pick": 2}
        picked, last = run.steps["pick"].finished_at, run.steps["d"].finished_at
        assert picked is not None
        assert last is not None
        assert picked <= last


@pytest.mark.parametrize(("lost", "status"), [(False, "succeeded"), (True, "failed")])
async def test_first_of_nothing_is_skipped(lost: bool, status: str) -> None:
    wf = Workflow("w")
    a = wf.add(slow, name="a", when="false")
    b = wf.add(fails, name="b", on_error="skip") if lost else wf.add(slow, name="b", when="false")
    wf.returns(wf.add(lambda x: x, name="pick", x=first_of(a, b)))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["pick"].status == "skipped"
        assert run.status == status


async def test_first_of_is_allowed_over_on_error_fail() -> None:
    wf = Workflow("w")
    wf.add(lambda x: x, name="pick", x=first_of(wf.add(one, name="a"), wf.add(one, name="b")))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == 1


async def test_a_default_counts_as_a_value() -> None:
    wf = Workflow("w")
    bad = wf.add(fails, on_error=Default({"score": 0}))
    wf.add(lambda x: x, name="reader", x=bad["score"])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "partial"
        assert run.output == 0
        assert run.steps["fails"].status == "failed"
        assert run.steps["fails"].value == {"score": 0}
        assert isinstance(run.steps["fails"].error, StepError)
        assert run[bad] == {"score": 0}


async def test_a_skip_is_recorded_once_with_its_reason() -> None:
    wf = Workflow("w")
    wf.add(one, when="false")
    async with stage() as s:
        run = await s.orch.run(wf)
        skips = [event for event in await s.log(run) if isinstance(event, StepSkipped)]
        assert [(event.step, bool(event.reason)) for event in skips] == [("one", True)]
