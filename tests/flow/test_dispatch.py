"""Dispatch: one of several actions, by what only the run knows."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel

from llmorch import (
    Approval,
    Block,
    Default,
    Node,
    Payload,
    StepError,
    StepNotRun,
    TimedOut,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    first_of,
    optional,
)
from tests.flow.stage import fails, named, one, slow, stage

pytestmark = pytest.mark.anyio


class Kind(BaseModel):
    kind: Literal["bug", "praise"]


def left(x: int) -> str:
    return f"left {x}"


def right(x: int, y: int) -> str:
    return f"right {x} {y}"


def pair(choice: Any, **options: Any) -> Workflow[Any]:
    """A workflow that goes left or right by the input `way`."""
    wf = Workflow("w")
    way = wf.input("way", Any)
    given = choice(way) if callable(choice) else choice
    return wf.returns(
        wf.dispatch(given, among={"left": left, "right": right}, name="pick", x=1, y=2, **options)
    )  # fmt: skip


@pytest.mark.parametrize("choice", [lambda way: way, "way", "'right' if way == 'right' else 'left'"])
async def test_the_choice_is_a_reference_or_an_expression(choice: Any) -> None:
    wf = pair(choice)
    async with stage() as s:
        assert (await s.orch.run(wf, way="left")).output == "left 1"
        run = await s.orch.run(wf, way="right")
        assert run.output == "right 1 2"
        assert run.steps["pick"].choice == "right"


async def test_only_the_branch_that_is_taken_runs_and_stands_under_its_key() -> None:
    wf = Workflow("support")
    kind = wf.add(Payload("triage", "What is this? {{ message }}", output=Kind))
    among = {"bug": Payload("fix", "Ask for steps: {{ message }}"), "praise": Payload("thank", "Thank: {{ message }}")}
    wf.dispatch(kind["kind"], among=among, name="reply")
    async with stage({"triage": {"kind": "praise"}, "praise": "Thanks!"}) as s:
        run = await s.orch.run(wf, message="Nice.")
        assert run.output == "Thanks!"
        assert s.asked == ["triage", "reply/praise"]
        assert list(run.steps) == ["triage", "reply", "reply/bug", "reply/praise"]
        assert run.steps["reply/bug"].status == "skipped"
        assert run["reply/praise"] == "Thanks!"
        assert run.steps["reply"].usage.requests == 1
        assert run.steps["reply"].choice == "praise"
        assert run.status == "succeeded"


@pytest.mark.parametrize(
    ("choice", "key"),
    [(True, "true"), (False, "false"), (None, "null"), (3, "3"), (1.5, "1.5"), ("3", "3"), ([1, "é"], '{"a": "b"}')],
)
async def test_what_is_no_text_counts_as_its_json_text(choice: Any, key: str) -> None:
    wf = Workflow("w")
    value = wf.input("value", Any)
    json_text = wf.dispatch(value, among={key: one}, otherwise=lambda: "other")
    filled = wf.dispatch("value", among={key: one}, otherwise=lambda: "other", name="filled")
    wf.returns([json_text, filled])
    async with stage() as s:
        run = await s.orch.run(wf, value=choice)
        expected = "other" if isinstance(choice, list) else 1
        assert run.output == [expected, expected]


async def test_otherwise_runs_when_no_key_is_the_choice() -> None:
    wf = pair("way", otherwise=lambda x: f"neither {x}")
    async with stage() as s:
        run = await s.orch.run(wf, way="up")
        assert run.output == "neither 1"
        assert run.steps["pick"].choice == "otherwise"
        assert run["pick/otherwise"] == "neither 1"


async def test_a_choice_that_is_no_key_is_the_failure_of_the_step() -> None:
    async with stage() as s:
        run = await s.orch.run(pair("way"), way="rigth")
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert run.error.step == "pick"
        assert "chose 'rigth', which is no key" in str(run.error)
        assert "did you mean 'right'?" in str(run.error)
        assert run.steps["pick"].choice is None
        absorbed = await s.orch.run(pair("way", on_error=Default("straight on")), way="up")
        assert (absorbed.output, absorbed.status) == ("straight on", "partial")


async def test_the_choice_otherwise_is_a_key_only_where_it_is_one() -> None:
    async with stage() as s:
        run = await s.orch.run(pair("way"), way="otherwise")
        assert run.status == "failed"
        wf = Workflow("w")
        wf.dispatch(wf.input("way"), among={"otherwise": one, "left": fails})
        assert (await s.orch.run(wf, way="otherwise")).output == 1


@pytest.mark.parametrize(
    ("policy", "output", "status"),
    [("fail", None, "failed"), ("skip", {"pick": None}, "partial"), (Default(7), {"pick": 7}, "partial")],
)
async def test_a_failing_branch_is_a_failed_step_whose_own_policy_decides(
    policy: Any, output: Any, status: str
) -> None:
    wf = Workflow("w")
    wf.returns({"pick": wf.dispatch("way", among={"a": fails, "b": one}, name="pick", on_error=policy)})
    wf.input("way")
    async with stage() as s:
        run = await s.orch.run(wf, way="a")
        assert run.status == status
        assert set(run.failures) == {"pick", "pick/a"}
        assert "on purpose" in str(run.failures["pick"])
        if output is not None:
            assert run.output == output
        with pytest.raises(StepNotRun):
            run["pick/a"]


async def test_a_branch_that_is_skipped_skips_the_dispatch() -> None:
    inner = Workflow("inner")
    inner.add(one, when="false")
    wf = Workflow("w")
    wf.returns({"pick": wf.dispatch("way", among={"a": inner}, name="pick")})
    wf.input("way")
    async with stage() as s:
        run = await s.orch.run(wf, way="a")
        assert run.output == {"pick": None}
        assert run.status == "succeeded"
        assert run.steps["pick"].status == "skipped"
        assert run.steps["pick/a"].status == "skipped"


async def test_what_any_branch_reads_is_bound_and_a_skipped_binding_skips() -> None:
    wf = Workflow("w")
    gone = wf.add(one, name="gone", when="false")
    wf.input("way")
    branches: dict[str, Any] = {"left": left, "right": right}
    skipped = wf.dispatch("way", among=branches, name="skipped", x=1, y=gone)
    kept = wf.dispatch("way", among=branches, name="kept", x=1, y=optional(gone, default=0))
    choice = wf.dispatch(gone, among=branches, name="undecided", x=1, y=2)
    wf.returns({"skipped": skipped, "kept": kept, "undecided": choice})
    async with stage() as s:
        run = await s.orch.run(wf, way="left")
        assert run.output == {"skipped": None, "kept": "left 1", "undecided": None}
        assert [run.steps[name].status for name in ("skipped", "undecided")] == ["skipped", "skipped"]


async def test_inputs_of_the_workflow_are_those_of_any_branch() -> None:
    wf = Workflow("w")
    wf.input("way", default="b")
    among = {"a": Payload("p", "{{ topic }} {{ tone }}"), "b": Payload("q", "{{ topic }} {{ length }}")}
    wf.dispatch("way", among=among)
    assert set(wf.inputs) == {"way", "topic", "tone", "length"}
    async with stage({"*": lambda request: request.messages[-1].text}) as s:
        assert (await s.orch.run(wf, topic="tea", tone="dry", length="short")).output == "tea short"


async def test_a_branch_may_be_called_like_an_input() -> None:
    wf = Workflow("w")
    wf.input("x", int)
    wf.dispatch("'x'", among={"x": left, "choice": one}, name="pick")
    async with stage() as s:
        run = await s.orch.run(wf, x=4)
        assert run.output == "left 4"
        assert run["pick/x"] == "left 4"


async def test_keys_may_be_any_text_that_can_stand_in_a_path() -> None:
    wf = Workflow("w")
    wf.dispatch(wf.input("way"), among={"Left turn": one, 'say "hi" \\ {{ x }}': one, "ü": one}, name="pick")
    async with stage() as s:
        for key in ("Left turn", 'say "hi" \\ {{ x }}', "ü"):
            run = await s.orch.run(wf, way=key)
            assert run[f"pick/{key}"] == 1
            assert run.steps["pick"].choice == key


async def test_a_branch_has_its_own_defaults() -> None:
    wf = Workflow("w")
    greet = Payload("greet", Block("hi", "Hi {{ who }}", defaults={"who": "you"}))
    part = Workflow("part")
    part.input("who", str, default="all")
    part.add(Payload("bye", "Bye {{ who }}"))
    wf.dispatch(wf.input("way"), among={"greet": greet, "part": part}, name="pick")
    async with stage({"*": lambda request: request.messages[-1].text}) as s:
        assert (await s.orch.run(wf, way="greet")).output == "Hi you"
        assert (await s.orch.run(wf, way="part")).output == "Bye all"


async def test_a_workflow_as_a_branch_has_its_steps_below() -> None:
    inner = named("inner", Payload("draft", "{{ topic }}"), Payload("polish", "Polish {{ draft }}"))
    wf = Workflow("w")
    wf.dispatch(wf.input("way"), among={"long": inner, "short": Payload("line", "{{ topic }}!")}, name="write")
    async with stage({"draft": "D", "polish": "P", "short": "S"}) as s:
        run = await s.orch.run(wf, way="long", topic="tea")
        assert run.output == "P"
        assert s.asked == ["write/long/draft", "write/long/polish"]
        assert "write/long/draft" in run.steps
        other = await s.orch.run(wf, way="short", topic="tea")
        assert other.output == "S"
        assert other.steps["write/long"].status == "skipped"
        assert other.steps["write/long/draft"].status == "pending"


async def test_a_dispatch_is_skipped_by_its_condition_and_waits_for_what_it_comes_after() -> None:
    wf = Workflow("w")
    wf.input("way")
    wf.add(slow)
    wf.dispatch("way", among={"a": one}, name="never", when="way == 'b'")
    wf.dispatch("way", among={"a": one}, name="late", after=["slow"])
    wf.returns([Node("never"), Node("late")])
    async with stage() as s:
        run = await s.orch.run(wf, way="a")
        assert run.output == [1]
        assert run.steps["never"].status == "skipped"
        started, ended = run.steps["late"].started_at, run.steps["slow"].finished_at
        assert started is not None
        assert ended is not None
        assert started >= ended


async def test_the_choice_may_be_a_selection() -> None:
    wf = Workflow("w")
    gone = wf.add(lambda: "left", name="gone", when="false", on_error="skip")
    there = wf.add(lambda: "right", name="there", on_error="skip")
    for index, choice in enumerate([first_of(gone, there), optional(gone, default="right"), first_n([there], 1)]):
        wf.dispatch(choice, among={"right": one}, otherwise=fails, name=f"d{index}", on_error=Default(2))
    wf.returns([Node("d0"), Node("d1"), Node("d2")])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [1, 1, 2]  # a list is no key


async def test_the_timeout_bounds_the_branch() -> None:
    wf = Workflow("w")
    wf.dispatch(wf.input("way"), among={"a": slow}, name="pick", seconds=9.0, timeout=3)
    async with stage() as s:
        since = anyio.current_time()
        run = await s.orch.run(wf, way="a")
        assert anyio.current_time() - since == pytest.approx(3)
        assert isinstance(run.error, TimedOut)
        assert run.steps["pick/a"].status == "cancelled"


async def test_a_dispatch_inside_a_mapped_workflow_decides_for_each_item() -> None:
    wf = Workflow("w")
    wf.map(pair("way"), name="each-one", way=each(["left", "right", "up"]), on_error="skip")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == ["left 1", "right 1 2"]
        assert list(run.steps["each-one"].failures) == [2]
        assert run["each-one[1]/pick/right"] == "right 1 2"


async def test_a_dispatch_inside_a_loop_may_decide_anew_in_each_iteration() -> None:
    inner = Workflow("inner")
    n = inner.input("n", int)
    inner.dispatch("'even' if n % 2 == 0 else 'odd'", among={"even": lambda n: n // 2, "odd": lambda n: 3 * n + 1},
                   name="next")  # fmt: skip
    inner.returns({"n": Node("next")})
    del n
    wf = Workflow("w")
    wf.loop(inner, until="output.n == 1", max_iterations=20, carry={"n": "output.n"}, n=6)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert [run[f"inner@{i}"]["n"] for i in range(8)] == [3, 10, 5, 16, 8, 4, 2, 1]
        assert [run.steps[f"inner@{i}/next"].choice for i in range(3)] == ["even", "odd", "even"]


async def test_values_have_the_type_that_all_branches_share() -> None:
    def a() -> Kind:
        return Kind(kind="bug")

    def b() -> Kind:
        return Kind(kind="praise")

    wf = Workflow("w")
    same = wf.dispatch("'a'", among={"a": a, "b": b}, name="same")
    mixed = wf.dispatch("'a'", among={"a": a, "b": one}, name="mixed")
    wf.returns([same, mixed])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run[same] == Kind(kind="bug")
        assert run[mixed] == {"kind": "bug"}
        assert run["mixed/a"] == Kind(kind="bug")


async def test_a_report_shows_the_branch_that_was_taken() -> None:
    wf = Workflow("w")
    wf.dispatch("'a'", among={"a": Payload("p", "Go {{ way }}"), "b": one}, name="pick")
    async with stage({"a": "gone"}) as s:
        run = await s.orch.run(wf, way="far")
        assert "Go far" in run.report()
        assert "pick/a" in run._repr_html_()


def test_a_choice_in_python_is_made_in_python() -> None:
    wf = Workflow("w")
    for choice in (True, 3, None):
        with pytest.raises(TypeError, match="chooses by a reference or an expression"):
            wf.dispatch(choice, among={"a": one})  # type: ignore[arg-type]


def test_keys_are_text() -> None:
    with pytest.raises(TypeError, match=r"key True of among=.* write 'true'"):
        Workflow("w").dispatch("x", among={True: one})  # type: ignore[dict-item]


def test_an_option_of_dispatch_that_is_also_a_variable_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'among' is both an option of dispatch\(\) and a variable of 'dispatch'"):
        Workflow("w").dispatch("'a'", among={"a": Payload("p", "{{ among }}")})


def test_a_choice_that_reads_a_field_nobody_has_is_told_as_the_choice() -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("ok", "Publish?", answer=Approval)
    wf.returns(wf.dispatch("ok.aproved", among={"true": Payload("go", "Go."), "false": Payload("no", "No.")}))
    with pytest.raises(WorkflowInvalid, match=r"Step 'dispatch': its choice: .*did you mean 'approved'\?"):
        wf.plan()
