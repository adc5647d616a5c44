"""Loops: what ends them, what is carried over, what a failing or skipped iteration means."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from llmorch import (
    Block,
    Budget,
    BudgetExceeded,
    Default,
    LoopTurned,
    Node,
    Payload,
    Question,
    Run,
    StepError,
    StepNotRun,
    TimedOut,
    Workflow,
    each,
    optional,
)
from tests.flow.stage import Meter, fails, kinds, named, one, slow, stage

pytestmark = pytest.mark.anyio

DRAFT = Payload("draft", Block("ask", "Write. Fix: {{ feedback }}", defaults={"feedback": "nothing"}))


class Score(BaseModel):
    text: str
    points: int


def grow(n: int) -> int:
    return n + 1


def counting(*, until: str = "output >= 3", most: int = 5, **options: Any) -> Workflow[Any]:
    """A workflow whose only step counts up from the input `n`."""
    wf = Workflow("w")
    return wf.returns(wf.loop(grow, name="count", until=until, max_iterations=most, carry={"n": "output"}, **options))


def turns(run: Run[Any], step: str = "count") -> list[Any]:
    """Status or value of each iteration."""
    found = [path for path in run.steps if path.startswith(f"{step}@") and "/" not in path]
    return [run[path] if run.steps[path].status == "succeeded" else run.steps[path].status for path in found]


async def test_the_value_is_the_output_of_the_iteration_at_which_until_is_true() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(), n=0)
        assert run.output == 3
        assert run.status == "succeeded"
        assert (run.steps["count"].iterations, run.steps["count"].finished) == (3, True)


async def test_until_is_asked_only_after_an_iteration() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(until="true"), n=7)
        assert run.output == 8
        assert run.steps["count"].iterations == 1


async def test_each_iteration_is_kept_and_stands_below_the_loop() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(), n=0)
        assert list(run.steps) == ["count", "count@0", "count@1", "count@2"]
        assert turns(run) == [1, 2, 3]
        assert run["count"] == run["count@2"]


async def test_the_log_says_what_was_decided_after_each_iteration() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(), n=1)
        log = await s.log(run)
        assert kinds(log)[1:-1] == [
            "StepStarted count",
            *("StepStarted count@0", "StepSucceeded count@0", "LoopTurned count"),
            *("StepStarted count@1", "StepSucceeded count@1", "LoopTurned count"),
            "StepSucceeded count",
        ]
        said = [(e.iteration, e.finished, e.carried) for e in log if isinstance(e, LoopTurned)]
        assert said == [(0, False, {"n": 2}), (1, True, {})]


async def test_a_loop_that_does_not_come_to_its_end_keeps_its_last_output() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(until="false", most=2), n=0)
        assert run.output == 2
        assert run.status == "succeeded"
        assert (run.steps["count"].iterations, run.steps["count"].finished) == (2, False)


async def test_a_loop_that_must_come_to_its_end_fails_when_it_does_not() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(until="false", most=2, on_exhausted="fail"), n=0)
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert run.error.step == "count"
        assert "2 iterations did not suffice" in str(run.error)
        assert turns(run) == [1, 2]


async def test_a_loop_that_ends_in_its_last_iteration_is_not_exhausted() -> None:
    async with stage() as s:
        run = await s.orch.run(counting(until="output == 2", most=2, on_exhausted="fail"), n=0)
        assert run.output == 2
        assert run.steps["count"].finished is True


async def test_rules_see_the_output_the_inputs_and_the_number_of_the_iteration() -> None:
    def work(n: int, seen: list[Any], fixed: str) -> dict[str, Any]:
        return {"n": n * 10, "seen": seen, "fixed": fixed}

    wf = Workflow("w")
    wf.loop(
        work,
        until="iteration == 2",
        max_iterations=9,
        carry={"n": "inputs.n + output.n", "seen": "[inputs.n, output.n, iteration]"},
        n=1,
        seen=[],
        fixed="same",
    )
    async with stage() as s:
        run = await s.orch.run(wf)
        assert [run[f"work@{i}"] for i in range(3)] == [
            {"n": 10, "seen": [], "fixed": "same"},
            {"n": 110, "seen": [1, 10, 0], "fixed": "same"},
            {"n": 1210, "seen": [11, 110, 1], "fixed": "same"},
        ]


async def test_a_rule_sees_the_default_of_a_block() -> None:
    wf = Workflow("w")
    wf.loop(DRAFT, until="iteration == 1", max_iterations=2, carry={"feedback": "inputs.feedback + '!'"})
    async with stage({"draft": "text"}) as s:
        await s.orch.run(wf)
        assert s.prompts("draft") == ["Write. Fix: nothing", "Write. Fix: nothing!"]


async def test_a_carried_input_that_has_no_default_is_an_input_of_the_workflow() -> None:
    wf = counting()
    assert list(wf.inputs) == ["n"]


async def test_functions_may_decide_and_get_typed_values() -> None:
    def write(n: int) -> Score:
        return Score(text="x" * n, points=n)

    def good(output: Score) -> bool:
        assert isinstance(output, Score)
        return output.points >= 3

    def more(output: Score, inputs: dict[str, int], iteration: int, step: int = 1) -> int:
        assert inputs == {"n": output.points}
        return output.points + iteration + step

    wf = Workflow("w")
    node = wf.loop(write, until=good, max_iterations=5, carry={"n": more}, n=1)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert [turn.points for turn in turns(run, "write")] == [1, 2, 4]
        assert run[node] == run.output == Score(text="xxxx", points=4)


async def test_a_rule_gets_a_copy_of_its_own() -> None:
    def collect(items: list[int]) -> list[int]:
        return [*items, len(items)]

    def meddling(output: list[int]) -> bool:
        output.append(99)
        return len(output) > 3

    wf = Workflow("w")
    wf.loop(collect, until=meddling, max_iterations=9, carry={"items": "output"}, items=[])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert turns(run, "collect") == [[0], [0, 1], [0, 1, 2]]


def says(what: str) -> Any:
    def rule(output: Any) -> Any:
        raise ValueError(what)

    return rule


@pytest.mark.parametrize(
    ("until", "carry", "message"),
    [
        (says("odd"), "output", "Step 'count': until raised ValueError: odd"),
        ("1 / iteration", "output", "Step 'count': until"),
        ("false", says("even"), r"Step 'count': carry\['n'\] raised ValueError: even"),
        ("false", "output + 'text'", r"Step 'count': carry\['n'\]"),
        ("false", lambda output: object(), r"Step 'count': carry\['n'\]"),
    ],
)
async def test_a_rule_that_fails_is_the_failure_of_the_loop(until: Any, carry: Any, message: str) -> None:
    wf = Workflow("w")
    wf.loop(grow, name="count", until=until, max_iterations=3, carry={"n": carry}, n=0)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert isinstance(run.error, StepError)
        assert run.error.step == "count"
        with pytest.raises(StepError, match=message):
            raise run.error
        assert turns(run) == [1]
        assert run.steps["count"].iterations == 0


async def test_a_failed_iteration_fails_the_loop_and_what_was_done_is_kept() -> None:
    def down(n: int) -> int:
        return 6 // n - 2

    wf = Workflow("w")
    wf.loop(down, until="false", max_iterations=5, carry={"n": "output"}, n=3)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert turns(run, "down") == [0, "failed"]
        assert set(run.failures) == {"down@1", "down"}
        assert "ZeroDivisionError" in str(run.error)
        assert (run.steps["down"].iterations, run.steps["down"].finished) == (1, False)


async def test_a_failed_loop_under_skip_skips_those_that_read_it() -> None:
    wf = Workflow("w")
    loop = wf.loop(fails, until="true", max_iterations=1, on_error="skip")
    wf.returns({"loop": loop, "reader": wf.add(lambda fails: fails, name="reader"), "kept": optional(loop, default=5)})
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"loop": None, "reader": None, "kept": 5}
        assert run.status == "partial"
        assert run.steps["reader"].status == "skipped"


async def test_a_failed_loop_under_default_has_that_value_but_its_iteration_has_none() -> None:
    wf = Workflow("w")
    loop = wf.loop(fails, until="true", max_iterations=1, on_error=Default("instead"))
    wf.returns(wf.add(lambda fails: [fails], name="reader"))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == ["instead"]
        assert run[loop] == "instead"
        assert run.status == "partial"
        with pytest.raises(StepNotRun):
            run["fails@0"]


async def test_the_policy_of_a_workflow_that_is_repeated_counts_inside_it() -> None:
    inner = Workflow("inner", on_error="skip")
    inner.input("n", int)
    bad = inner.add(fails)
    inner.returns({"bad": bad, "n": inner.add(grow)})
    wf = Workflow("w")
    wf.loop(inner, until="output.n >= 2", max_iterations=3, carry={"n": "output.n"}, n=0)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == {"bad": None, "n": 2}
        assert run.status == "partial"
        assert list(run.failures) == ["inner@0/fails", "inner@1/fails"]


async def test_a_skipped_iteration_ends_the_loop_as_skipped() -> None:
    inner = Workflow("inner")
    inner.input("n", int)
    inner.add(grow, when="n < 2")
    wf = Workflow("w")
    loop = wf.loop(inner, until="false", max_iterations=9, carry={"n": "output"}, n=0)
    wf.returns(loop)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "succeeded"
        assert run.output is None
        assert run.steps["inner"].status == "skipped"
        assert turns(run, "inner") == [1, 2, "skipped"]
        assert not run.failures


async def test_a_loop_is_skipped_like_any_other_step() -> None:
    wf = Workflow("w")
    gone = wf.add(one, name="gone", when="false")
    wf.loop(grow, name="guarded", until="true", max_iterations=1, n=1, when="false")
    wf.loop(grow, name="reads", until="true", max_iterations=1, n=gone)
    wf.loop(grow, name="kept", until="true", max_iterations=1, n=optional(gone, default=4), after=["guarded"])
    wf.returns(Node("kept"))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == 5
        assert [run.steps[name].status for name in ("guarded", "reads")] == ["skipped", "skipped"]
        assert run.steps["guarded"].iterations is None


async def test_a_workflow_is_repeated_with_what_is_carried_into_its_inputs() -> None:
    inner = Workflow("refine")
    inner.input("feedback", str, default="none")
    inner.add(Payload("draft", "{{ topic }}, fix {{ feedback }}"))
    review = inner.add(Payload("review", "Review {{ draft }}"))
    inner.returns({"draft": Node("draft"), "review": review})
    wf = Workflow("w")
    wf.loop(inner, until="output.review == 'fine'", max_iterations=4, carry={"feedback": "output.review"})
    async with stage({"draft": ["d0", "d1"], "review": ["shorter", "fine"]}) as s:
        run = await s.orch.run(wf, topic="tea")
        assert run.output == {"draft": "d1", "review": "fine"}
        assert s.asked == ["refine@0/draft", "refine@0/review", "refine@1/draft", "refine@1/review"]
        assert s.prompts("draft") == ["tea, fix none", "tea, fix shorter"]
        assert list(run.steps)[:4] == ["refine", "refine@0", "refine@0/draft", "refine@0/review"]
        assert run.steps["refine"].usage.requests == 4
        assert run.steps["refine@1"].usage.requests == 2


async def test_an_input_with_a_hyphen_is_carried_under_either_spelling() -> None:
    for spelling in ("so-far", "so_far"):
        inner = Workflow("inner")
        inner.input("so-far", int)
        inner.add(lambda so_far: so_far + 1, name="add")
        wf = Workflow("w")
        wf.loop(inner, until="output >= 3", max_iterations=9, carry={spelling: "output + inputs.so_far"}, so_far=0)
        async with stage() as s:
            run = await s.orch.run(wf)
            assert turns(run, "inner") == [1, 2, 4]


async def test_what_is_carried_must_fit_the_type_of_the_input() -> None:
    inner = Workflow("inner")
    inner.input("n", int)
    inner.add(lambda n: "no number", name="say")
    wf = Workflow("w")
    wf.loop(inner, until="false", max_iterations=3, carry={"n": "output"}, n=1)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert turns(run, "inner") == ["no number", "failed"]
        assert "input 'n' of workflow 'inner'" in str(run.error)


async def test_the_timeout_bounds_the_loop_and_what_was_done_is_kept() -> None:
    async def wait(n: int) -> int:
        await anyio.sleep(2)
        return n + 1

    wf = Workflow("w")
    wf.loop(wait, until="false", max_iterations=9, carry={"n": "output"}, n=0, timeout=5)
    async with stage() as s:
        since = anyio.current_time()
        run = await s.orch.run(wf)
        assert run.status == "failed"
        assert isinstance(run.error, TimedOut)
        assert "'wait'" in str(run.error)
        assert turns(run, "wait") == [1, 2, "cancelled"]
        assert anyio.current_time() - since == pytest.approx(5)


async def test_the_timeout_of_a_loop_may_be_answered_by_a_default() -> None:
    inner = named("inner", slow)
    inner.input("n", int, default=0)
    wf = Workflow("w")
    wf.loop(inner, until="false", max_iterations=99, carry={"n": "iteration"}, timeout=2.5, on_error=Default(-1))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == -1
        assert run.status == "partial"
        assert run.steps["inner@2/slow"].status == "cancelled"


async def test_a_cancelled_run_stops_in_the_middle_of_a_loop() -> None:
    wf = Workflow("w")
    wf.loop(slow, until="false", max_iterations=9, carry={"seconds": "output + 1"}, seconds=1.0)
    async with stage() as s:
        handle = await s.orch.start(wf)
        async for event in handle.events():
            if isinstance(event, LoopTurned) and event.iteration == 1:
                await handle.cancel()
        run = await handle.result()
        assert run.status == "cancelled"
        assert turns(run, "slow") == [1.0, 2.0, "cancelled"]
        assert run.steps["slow"].status == "cancelled"


async def test_a_budget_that_runs_out_in_a_loop_ends_the_run() -> None:
    wf = Workflow("w")
    wf.loop(DRAFT, until="false", max_iterations=9, carry={"feedback": "output"}, on_error="skip")
    async with stage({"draft": "text"}) as s:
        run = await s.orch.run(wf, budget=Budget(calls=2))
        assert run.status == "failed"
        assert isinstance(run.error, BudgetExceeded)
        assert turns(run, "draft")[:2] == ["text", "text"]


async def test_nothing_further_begins_in_a_loop_whose_workflow_has_failed() -> None:
    meter = Meter()

    async def late() -> None:
        await anyio.sleep(1.5)
        raise ValueError("late")

    inner = Workflow("inner")
    inner.loop(meter.work, name="work", until="false", max_iterations=9, carry={"seconds": "1.0"}, seconds=1.0)
    inner.add(late)
    inner.returns([Node("work"), Node("late")])
    wf = Workflow("w").returns([])
    wf.add(inner, on_error="skip")
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.steps["inner"].status == "failed"
        assert meter.total in (2, 9)  # the loop is a step in flight: it may go on to its end
        assert run.steps["inner/work"].status in ("succeeded", "failed")


async def test_loops_stand_inside_nested_workflows_and_maps_of_them() -> None:
    wf = Workflow("w")
    wf.map(counting(), name="each-one", n=each([0, 2, 9]), concurrency=2)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [3, 3, 10]
        assert turns(run, "each-one[0]/count") == []  # those stand below a slash
        assert [run[f"each-one[0]/count@{i}"] for i in range(3)] == [1, 2, 3]
        assert run.steps["each-one[2]/count"].iterations == 1


async def test_a_loop_over_a_workflow_may_hold_a_map_and_another_loop() -> None:
    inner = Workflow("inner")
    base = inner.input("base", int)
    inner.map(lambda n, base: n + base, name="add", n=each([1, 2]), base=base)
    inner.loop(grow, name="up", until="output > 2", max_iterations=9, carry={"n": "output"}, n=Node("add")[0])
    wf = Workflow("w")
    wf.loop(inner, until="output > 5", max_iterations=9, carry={"base": "output"}, base=0)
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run["inner@0/add"] == [1, 2]
        assert run["inner@0/up@0"] == 2
        assert run["inner@0/up@1"] == 3
        assert [run[f"inner@{i}"] for i in range(3)] == [3, 5, 7]


async def test_equal_prompts_of_several_iterations_are_each_asked() -> None:
    wf = Workflow("w")
    wf.loop(
        Payload("roll", "Roll. {{ n | default('', true) }}"), until="output == 'six'", max_iterations=5,
        carry={"n": "''"}, n="",
    )  # fmt: skip
    async with stage({"roll": ["one", "two", "six"]}, cache=3600) as s:
        run = await s.orch.run(wf)
        assert turns(run, "roll") == ["one", "two", "six"]
        again = await s.orch.run(wf)
        assert again.output == "six"
        assert again.usage.requests == 0


async def test_a_report_shows_each_iteration() -> None:
    wf = Workflow("w")
    wf.loop(DRAFT, until="iteration == 1", max_iterations=2, carry={"feedback": "output"})
    async with stage({"draft": ["bad", "good"]}) as s:
        run = await s.orch.run(wf)
        assert run.steps["draft@0"].response is not None
        assert run.steps["draft"].response is None
        report = run.report()
        assert "draft@0" in report
        assert "Write. Fix: bad" in report
        assert "draft@1" in run._repr_html_()
        assert "draft@1" in run.to_dict()["steps"]


def test_rules_are_expressions_or_plain_functions() -> None:
    async def later(output: Any) -> bool:
        return True

    wf = Workflow("w")
    n = wf.input("n", int)
    for until in (True, None, 3, n):
        with pytest.raises(TypeError, match="until= takes an expression or a function"):
            wf.loop(grow, until=until, max_iterations=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="until= takes a plain function"):
        wf.loop(grow, until=later, max_iterations=1)
    with pytest.raises(TypeError, match=r"carry\['n'\]= takes an expression or a function"):
        wf.loop(grow, until="true", max_iterations=1, carry={"n": 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="it is 'keep' or 'fail'"):
        wf.loop(grow, until="true", max_iterations=1, on_exhausted="drop")  # type: ignore[arg-type]


def test_an_option_of_loop_that_is_also_a_variable_is_refused() -> None:
    wf = Workflow("w")
    with pytest.raises(TypeError, match=r"'until' is both an option of loop\(\) and a variable of 'p'"):
        wf.loop(Payload("p", "{{ until }}"), until="true", max_iterations=1)


async def test_a_question_is_asked_again_until_its_answer_will_do() -> None:
    wf = Workflow("w")
    wf.loop(
        Question("A number above {{ last }}?", answer=int, name="guess"), until="output > inputs.last",
        max_iterations=5, carry={"last": "[inputs.last, output] | max"}, last=10,
    )  # fmt: skip
    told = iter([3, 9, 12])
    async with stage() as s:
        run = await s.orch.run(wf, on_ask=lambda question: next(told))
        assert run.output == 12
        assert turns(run, "guess") == [3, 9, 12]


async def test_a_run_waits_for_people_in_the_middle_of_a_loop() -> None:
    inner = Workflow("inner")
    inner.input("n", int)
    inner.ask("ok", "Is {{ n }} enough?", answer=bool)
    inner.returns({"ok": Node("ok"), "n": inner.add(grow)})
    wf = Workflow("w")
    wf.loop(inner, until="output.ok", max_iterations=5, carry={"n": "output.n"}, n=0)
    async with stage() as s:
        handle = await s.orch.start(wf)
        for index, answer in enumerate([False, False, True]):
            run = await handle.result()
            assert run.status == "waiting"
            assert [question.step for question in run.questions] == [f"inner@{index}/ok"]
            await handle.answer(f"inner@{index}/ok", answer)
        run = await handle.result(wait_for_answers=True)
        assert run.output == {"ok": True, "n": 3}


async def test_a_branch_may_be_a_question() -> None:
    wf = Workflow("w")
    among = {"ask": Question("{{ n }}?", answer=int), "call": Payload("p", "{{ n }}")}
    wf.dispatch(wf.input("way"), among=among, name="pick", n=1)
    async with stage({"call": "called"}) as s:
        run = await s.orch.run(wf, way="ask", on_ask=lambda question: 5)
        assert run.output == 5
        assert run["pick/ask"] == 5
        assert (await s.orch.run(wf, way="call")).output == "called"
