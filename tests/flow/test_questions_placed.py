"""Questions wherever a step may stand: in maps, nested workflows, loops, branches, behind a guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmorch import (
    Approval,
    Default,
    Node,
    Payload,
    Question,
    Workflow,
    each,
    first_n,
    first_of,
    optional,
)
from llmorch.testing import Reply
from tests.flow.asked import Place, desk, place_of, waiting
from tests.flow.elsewhere import SharedStore, process
from tests.flow.stage import kinds

pytestmark = pytest.mark.anyio

KEEP = Question("Keep {{ n }}?", answer=bool, name="keep")


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place_of(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return place_of("memory", tmp_path)


def open_paths(run: Any) -> list[str]:
    return [asked.step for asked in run.questions]


async def test_a_map_asks_about_all_its_items_at_once(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(KEEP, n=each([5, 6, 7])))
    async with desk(place) as d:
        handle = await waiting(d.orch, wf)
        run = await handle.peek()
        assert open_paths(run) == ["keep[0]", "keep[1]", "keep[2]"]
        assert [asked.question for asked in run.questions] == ["Keep 5?", "Keep 6?", "Keep 7?"]
        assert run.steps["keep"].status == "running"
        for index in (1, 2, 0):
            await handle.answer(f"keep[{index}]", index == 1)
            run = await handle.result()
        assert (run.status, run.output) == ("succeeded", [False, True, False])


async def test_a_map_asks_about_as_many_at_once_as_its_concurrency_says(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(KEEP, n=each([5, 6, 7]), concurrency=2))
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        assert open_paths(await handle.peek()) == ["keep[0]", "keep[1]"]
        await handle.answer("keep[1]", True)
        assert open_paths(await handle.result()) == ["keep[0]", "keep[2]"]
        await handle.answer("keep[0]", True)
        await handle.result()
        await handle.answer("keep[2]", False)
        assert (await handle.result()).output == [True, True, False]


async def test_a_nested_workflow_asks_under_its_path(place: Place) -> None:
    inner: Workflow[Any] = Workflow("inner")
    inner.ask("ok", "Is {{ text }} right?", answer=Approval)
    inner.returns(inner.add(Payload("use", "{{ ok.approved }}: {{ ok.note }}")))
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.add(inner, name="part"))
    async with desk(place, {"part/use": "U"}) as d:
        handle = await waiting(d.orch, wf, text="this")
        assert open_paths(await handle.peek()) == ["part/ok"]
        await handle.answer("part/ok", Approval(approved=True, note="fine"))
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", "U")
        assert run["part/ok"] == Approval(approved=True, note="fine")
        assert d.provider.requests[0].messages[-1].text == "true: fine"


async def test_a_map_of_workflows_asks_in_each(place: Place) -> None:
    inner: Workflow[Any] = Workflow("inner")
    inner.ask("ok", "Is {{ n }} right?", answer=bool)
    inner.returns(inner.add(Payload("use", "{{ n }} {{ ok }}")))
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(inner, n=each([1, 2])))
    script: dict[str, object] = {"inner[0]/use": "U0", "inner[1]/use": "U1"}
    async with desk(place, script) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("inner[1]/ok", True)
        run = await handle.result()
        assert (open_paths(run), d.asked) == (["inner[0]/ok"], ["inner[1]/use"])
        await handle.answer("inner[0]/ok", False)
        assert (await handle.result()).output == ["U0", "U1"]


async def test_a_loop_asks_until_somebody_is_content(place: Place) -> None:
    body: Workflow[Any] = Workflow("body")
    body.add(Payload("draft", "Draft after {{ said }}"))
    body.returns({"draft": Node("draft"), "said": body.ask("said-now", "What of {{ draft }}?")})
    wf: Workflow[Any] = Workflow("w")
    wf.returns(
        wf.loop(body, until="output.said == 'good'", max_iterations=5, carry={"said": "output.said"}, said="nothing")
    )
    script: dict[str, object] = {"body@0/draft": "D0", "body@1/draft": "D1"}
    async with desk(place, script) as d:
        handle = await waiting(d.orch, wf)
        assert open_paths(await handle.peek()) == ["body@0/said-now"]
        await handle.answer("body@0/said-now", "shorter")
        run = await handle.result()
        assert [asked.question for asked in run.questions] == ["What of D1?"]
        await handle.answer("body@1/said-now", "good")
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", {"draft": "D1", "said": "good"})
        assert d.provider.requests[1].messages[-1].text == "Draft after shorter"


def guesses(wf: Workflow[Any]) -> Node[Any]:
    question = Question("Not {{ last }}. So?", answer=int, name="guess")
    return wf.loop(question, until="output == 7", max_iterations=3, carry={"last": "output"}, last=0)


async def test_a_loop_over_a_bare_question_asks_again(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(guesses(wf))
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        for index, (last, number) in enumerate(((0, 3), (3, 9), (9, 7))):
            (asked,) = (await handle.result()).questions
            assert asked.question == f"Not {last}. So?"
            await handle.answer(f"guess@{index}", number)
            run = await handle.result()
        assert (run.status, run.output) == ("succeeded", 7)


async def test_a_branch_may_ask_and_the_others_do_not(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.input("size", str)
    among = {"big": Question("Really, {{ what }}?", answer=bool, name="sure"), "small": Payload("go", "{{ what }}")}
    wf.returns(wf.dispatch("size", among=among, name="pick"))
    async with desk(memory, {"pick/small": "S"}) as d:
        assert (await d.orch.run(wf, size="small", what="it")).output == "S"
        handle = await waiting(d.orch, wf, size="big", what="it")
        assert open_paths(await handle.peek()) == ["pick/big"]
        await handle.answer("pick/big", True)
        assert (await handle.result()).output is True


async def test_an_answer_chooses_the_branch(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("how", "Short or long?", answer=bool)
    wf.returns(wf.dispatch(Node("how"), among={"true": Payload("a", "A"), "false": Payload("b", "B")}))
    async with desk(memory, {"dispatch/true": "yes", "dispatch/false": "no"}) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("how", False)
        assert (await handle.result()).output == "no"


async def test_an_answer_guards_what_follows(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("ok", "Publish?", answer=bool)
    post = wf.add(Payload("post", "Go."), when="ok")
    wf.returns([optional(post, "not published")])
    for said, output in ((True, ["P"]), (False, ["not published"])):
        async with desk(place, {"post": "P"}) as d:
            handle = await waiting(d.orch, wf)
            await handle.answer("ok", said)
            assert (await handle.result()).output == output


async def test_a_question_that_is_skipped_is_not_asked(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.input("risky", bool)
    ok = wf.ask("ok", "Sure?", answer=bool, when="risky")
    then = wf.ask("then", "{{ ok }}, and?", ok=ok)
    wf.returns([optional(ok, True), optional(then, "nothing")])
    async with desk(memory) as d:
        run = await d.orch.run(wf, risky=False)
        assert (run.status, run.output) == ("succeeded", [True, "nothing"])
        assert kinds(await d.log(run.id))[1:-1] == ["StepSkipped ok", "StepSkipped then"]


async def test_a_quorum_does_not_wait_for_the_last_person(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    votes = [wf.ask(f"vote-{n}", "Yes?", answer=bool, on_error="skip") for n in range(3)]
    wf.returns(wf.add(Payload("count", "{{ votes }}"), votes=first_n(votes, 2, cancel_rest=True)))
    async with desk(memory, {"count": "C"}) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("vote-2", True)
        assert (await handle.result()).status == "waiting"
        await handle.answer("vote-0", False)
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", "C")
        assert (run.steps["vote-1"].status, run.steps["vote-1"].reason) == ("cancelled", "not needed")
        assert d.provider.requests[0].messages[-1].text == "[false, true]"


async def test_a_workflow_that_is_not_needed_any_more_gives_its_questions_up(memory: Place) -> None:
    slow: Workflow[Any] = Workflow("slow")
    slow.returns(slow.ask("ok", "Well?"))
    wf: Workflow[Any] = Workflow("w")
    nodes = [wf.add(slow, on_error="skip"), wf.ask("quick", "Quick?", on_error="skip")]
    wf.returns(wf.add(Payload("use", "{{ found }}"), found=first_n(nodes, 1, cancel_rest=True)))
    async with desk(memory, {"use": "U"}) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("quick", "x")
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", "U")
        assert [run.steps[path].status for path in ("slow", "slow/ok")] == ["cancelled", "cancelled"]
        assert run.questions == ()


async def test_the_first_of_a_question_and_a_model_waits_for_the_question(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    by_hand = wf.ask("by-hand", "Title?", timeout=60, on_error="skip")
    model = wf.add(Payload("model", "Title."))
    wf.returns(wf.add(Payload("use", "{{ title }}"), title=first_of(by_hand, model)))
    async with desk(memory, {"model": Reply("M", 1), "use": "U"}) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("by-hand", "Bees")
        assert (await handle.result()).output == "U"
        assert d.provider.requests[-1].messages[-1].text == "Bees"


async def test_a_map_with_a_default_keeps_the_places_of_what_nobody_answers_in_cancel(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns(wf.map(KEEP, n=each([5, 6]), on_error=Default(None)))
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        await handle.answer("keep[0]", True)
        await handle.result()
        await handle.cancel()
        run = await handle.result()
        assert (run.status, run.steps["keep[0]"].value, run.steps["keep[1]"].status) == ("cancelled", True, "cancelled")
        handle = await d.orch.resume(handle.id)
        assert open_paths(await handle.result()) == ["keep[1]"]
        await handle.answer("keep[1]", False)
        assert (await handle.result()).output == [True, False]


async def test_everything_open_everywhere_survives_the_change_of_the_process() -> None:
    inner: Workflow[Any] = Workflow("inner")
    inner.returns(inner.ask("ok", "{{ n }}?", answer=int))
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.map(inner, n=each([1, 2])), guesses(wf), wf.ask("last", "Last?", answer=int)])
    here = SharedStore("a")
    async with process(here, recover=False) as a:
        handle = await waiting(a.orch, wf)
    answers = [("inner[1]/ok", 2), ("guess@0", 1), ("last", 9), ("guess@1", 7), ("inner[0]/ok", 1)]
    for number, (path, value) in enumerate(answers):
        async with process(SharedStore(f"p{number}", of=here), workflows=[wf]) as p:
            run = await p.orch.attach(handle.id).result()
            assert run.status == "waiting"
            assert path in open_paths(run)
            await p.orch.answer(handle.id, path, value)
            run = await p.orch.attach(handle.id).result()
    assert (run.status, run.output) == ("succeeded", [[1, 2], 7, 9])
