"""Questions to people: what is asked, what counts as an answer, and what goes on meanwhile."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel

from llmorch import (
    AlreadyAnswered,
    AnswerInvalid,
    Approval,
    NoSuchQuestion,
    Payload,
    Question,
    RunNotFound,
    RunWaiting,
    StepAnswered,
    StepWaiting,
    Workflow,
)
from llmorch.testing import Reply
from tests.flow.asked import Place, desk, open_at, place_of, waiting
from tests.flow.stage import kinds, named

pytestmark = pytest.mark.anyio


class Card(BaseModel):
    title: str
    stars: int = 3


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place_of(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return place_of("memory", tmp_path)


def question(answer: Any = str) -> Workflow[Any]:
    wf: Workflow[Any] = Workflow("w")
    return wf.returns(wf.ask("q", "Well, {{ who }}?", answer=answer))


async def test_a_run_waits_for_the_answer_and_goes_on_with_it(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("who", "Who is {{ subject }}?")
    wf.returns(wf.add(Payload("greet", "Greet {{ who }}.")))
    async with desk(place, {"greet": "Hello Ada."}) as d:
        run = await d.orch.run(wf, subject="she")
        assert (run.status, [asked.question for asked in run.questions]) == ("waiting", ["Who is she?"])
        assert d.asked == []
        await d.orch.answer(run.id, "who", "Ada", by="the desk")
        run = await d.orch.attach(run.id).result()
        assert (run.status, run.output, run["who"], run.questions) == ("succeeded", "Hello Ada.", "Ada", ())
        assert d.provider.requests[0].messages[-1].text == "Greet Ada."
        log = await d.log(run.id)
    assert kinds(log)[1:7] == [
        "StepStarted who", "StepWaiting who", "RunWaiting", "RunResumed", "StepAnswered who", "StepSucceeded who",
    ]  # fmt: skip
    answered = next(event for event in log if isinstance(event, StepAnswered))
    assert (answered.value, answered.by) == ("Ada", "the desk")
    assert next(event for event in log if isinstance(event, RunWaiting)).questions == ("who",)


@pytest.mark.parametrize(
    ("answer", "given", "value"),
    [
        (str, "Ada", "Ada"),
        (int, 41, 41),
        (float, 1, 1.0),
        (bool, False, False),
        (Literal["red", "blue"], "blue", "blue"),
        (Literal[1, 2], 2, 2),
        (Card, {"title": "Bees"}, Card(title="Bees", stars=3)),
        (Card, Card(title="Bees", stars=5), Card(title="Bees", stars=5)),
        (Approval, {"approved": False, "note": "later"}, Approval(approved=False, note="later")),
        (Approval, {"approved": True}, Approval(approved=True)),
        (Approval, Approval(approved=True, note="go"), Approval(approved=True, note="go")),
        (list[int], [1, 2], [1, 2]),
        (list[Card], [{"title": "a"}], [Card(title="a")]),
        (date, date(2026, 1, 2), date(2026, 1, 2)),
        (int | None, None, None),
        (SCHEMA, {"n": 1, "more": "x"}, {"n": 1, "more": "x"}),
    ],
    ids=str,
)
async def test_an_answer_has_the_type_that_was_asked_for(answer: Any, given: Any, value: Any, memory: Place) -> None:
    async with desk(memory) as d:
        handle = await waiting(d.orch, question(answer), who="Ada")
        await handle.answer("q", given)
        run = await handle.result()
    assert (run.status, run.output, run["q"]) == ("succeeded", value, value)
    assert type(run.output) is type(value)


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (str, 3),
        (int, "many"),
        (int, True),
        (int, 1.5),
        (bool, "yes"),
        (bool, 1),
        (bool, None),
        (Literal["red", "blue"], "green"),
        (Card, {"stars": 1}),
        (Card, {"title": "Bees", "stars": "many"}),
        (Approval, {"note": "no word on it"}),
        (Approval, {"approved": True, "by": "me"}),
        (list[int], [1, "two"]),
        (SCHEMA, {"n": "one"}),
        (str, object()),
        (float, float("nan")),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
async def test_an_answer_that_does_not_fit_comes_back_and_leaves_the_question_open(
    answer: Any, given: Any, memory: Place
) -> None:
    async with desk(memory) as d:
        handle = await waiting(d.orch, question(answer), who="Ada")
        before = await d.log(handle.id)
        with pytest.raises(AnswerInvalid, match=r"'q' \('Well, Ada\?'\).*answer again") as caught:
            await handle.answer("q", given)
        assert (caught.value.step, caught.value.run_id) == ("q", handle.id)
        assert await d.log(handle.id) == before
        assert [asked.step for asked in (await handle.peek()).questions] == ["q"]


async def test_a_good_answer_counts_after_a_bad_one(place: Place) -> None:
    async with desk(place) as d:
        handle = await waiting(d.orch, question(int), who="Ada")
        with pytest.raises(AnswerInvalid, match="integer"):
            await handle.answer("q", "three")
        await handle.answer("q", 3)
        assert (await handle.result()).output == 3


async def test_the_schema_stands_in_the_log_so_that_no_code_is_needed_to_check(memory: Place) -> None:
    async with desk(memory) as d:
        run = await d.orch.run(question(Card), who="Ada")
    (asked,) = run.questions
    assert asked.schema["required"] == ["title"]
    assert (asked.about, asked.deadline, asked.use) == ("step", None, None)


async def test_several_are_open_at_once_and_answered_in_any_order(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.ask(name, f"{name}?", answer=int) for name in ("one", "two", "three")])
    async with desk(place) as d:
        handle = await waiting(d.orch, wf)
        assert [asked.step for asked in (await handle.peek()).questions] == ["one", "two", "three"]
        for step, value in (("three", 3), ("one", 1)):
            await handle.answer(step, value)
            run = await handle.result()
            assert run.status == "waiting"
            assert run[step] == value
            with pytest.raises(AlreadyAnswered, match=rf"step '{step}' of run {handle.id} has its answer already"):
                await handle.answer(step, 0)
        assert [asked.step for asked in run.questions] == ["two"]
        await handle.answer("two", 2)
        assert (await handle.result()).output == [1, 2, 3]


async def test_a_question_suspends_only_what_depends_on_it(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("ok", "Is it right?", answer=bool)
    wf.add(Payload("other", "Go."))
    wf.add(Payload("next", "On: {{ other }}"))
    wf.returns(wf.add(Payload("end", "{{ ok }} {{ next }}")))
    async with desk(memory, {"other": Reply("O", 5), "next": "N", "end": "E"}) as d:
        handle = await d.orch.start(wf)
        await open_at(handle, "ok")
        run = await handle.result()
        assert run.status == "waiting"
        assert {path: step.status for path, step in run.steps.items()} == {
            "ok": "waiting", "other": "succeeded", "next": "succeeded", "end": "pending",
        }  # fmt: skip
        assert d.asked == ["other", "next"]
        await handle.answer("ok", True)
        assert (await handle.result()).output == "E"
        assert d.provider.requests[-1].messages[-1].text == "true N"


async def test_an_answer_that_comes_while_others_work_is_taken_at_once(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("ok", "Is it right?", answer=bool)
    after = wf.add(Payload("after", "{{ ok }}"))
    wf.returns([wf.add(Payload("long", "Go.")), after])
    async with desk(place, {"long": Reply("L", 3), "after": Reply("A", 1)}) as d:
        handle = await d.orch.start(wf)
        await open_at(handle, "ok")
        await handle.answer("ok", True)
        with pytest.raises(AlreadyAnswered):
            await handle.answer("ok", False)
        run = await handle.result()
        assert (run.status, run.output) == ("succeeded", ["L", "A"])
        log = await d.log(handle.id)
    names = kinds(log)
    assert names.index("StepSucceeded after") < names.index("StepSucceeded long"), "nobody waited for the long call"
    assert "RunWaiting" not in names


async def test_what_nobody_asks_cannot_be_answered(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.ask("first-one", "First?")
    wf.returns(wf.ask("second", "{{ first_one }} and?"))
    async with desk(memory) as d:
        handle = await waiting(d.orch, wf)
        with pytest.raises(NoSuchQuestion, match="did you mean 'first-one'"):
            await handle.answer("first-on", "x")
        with pytest.raises(NoSuchQuestion, match=r"'second' .* asks nothing just now"):
            await handle.answer("second", "too early")
        await handle.answer("first_one", "by its name in templates")
        await handle.result()
        await handle.answer("second", "x")
        run = await handle.result()
        assert run.output == "x"
        with pytest.raises(AlreadyAnswered):
            await handle.answer("second", "too late")
        with pytest.raises(NoSuchQuestion):
            await handle.answer("third", "x")
        with pytest.raises(RunNotFound):
            await d.orch.answer("a" * 26, "second", "x")


@pytest.mark.parametrize(("kind", "desks"), [("memory", 1), ("sqlite", 1), ("sqlite", 4)])
async def test_of_a_hundred_answers_at_once_exactly_one_wins(kind: str, desks: int, tmp_path: Path) -> None:
    place = place_of(kind, tmp_path)
    won: list[int] = []
    lost: list[int] = []
    async with AsyncExitStack() as stack:
        d = await stack.enter_async_context(desk(place))
        others = [await stack.enter_async_context(desk(place, recover=False)) for _ in range(desks - 1)]
        orchs = [d.orch, *(other.orch for other in others)]
        handle = await waiting(d.orch, question(int), who="Ada")

        async def say(number: int) -> None:
            try:
                await orchs[number % desks].answer(handle.id, "q", number)
                won.append(number)
            except AlreadyAnswered:
                lost.append(number)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(say, number)
        run = await handle.result(wait_for_answers=True)
        log = await d.log(handle.id)
    assert (len(won), len(lost)) == (1, 99)
    assert (run.status, run.output) == ("succeeded", won[0])
    assert [event.value for event in log if isinstance(event, StepAnswered)] == won


async def test_a_question_alone_is_a_workflow_too(memory: Place) -> None:
    async with desk(memory) as d:
        run = await d.orch.run(Question("How many, {{ who }}?", answer=int, name="many"), who="Ada")
        assert [(asked.step, asked.question) for asked in run.questions] == [("many", "How many, Ada?")]
        await d.orch.answer(run.id, "many", 3)
        assert (await d.orch.attach(run.id).result()).output == 3


async def test_the_text_is_rendered_once_and_what_a_value_contains_is_never_a_template(memory: Place) -> None:
    async with desk(memory) as d:
        run = await d.orch.run(question(), who="{{ 7 * 7 }}")
    assert run.questions[0].question == "Well, {{ 7 * 7 }}?"


async def test_a_text_that_fails_on_its_values_fails_the_step(memory: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.input("facts", dict)
    wf.returns(wf.ask("q", "Is {{ facts.title }} right?"))
    async with desk(memory) as d:
        run = await d.orch.run(wf, facts={})
    assert run.status == "failed"
    assert "title" in str(run.error)
    assert run.questions == ()


async def test_events_go_on_through_a_run_that_waits_and_a_stream_ends_there(memory: Place) -> None:
    async with desk(memory) as d:
        async with d.orch.stream(question(int), who="Ada") as events:
            seen = [type(event).__name__ async for event in events]
            assert seen == ["RunStarted", "StepStarted", "StepWaiting", "RunWaiting"]
            assert events.run.status == "waiting"
        handle = d.orch.attach(events.run.id)
        assert (await handle.peek()).status == "waiting", "leaving a stream that is over cancels nothing"
        watched: list[str] = []
        async for event in handle.events():
            watched.append(type(event).__name__)
            if isinstance(event, RunWaiting):
                await handle.answer("q", 3)
        assert watched[3:] == ["RunWaiting", "RunResumed", "StepAnswered", "StepSucceeded", "RunFinished"]


async def test_who_answers_may_wait_on_for_the_end(place: Place) -> None:
    wf: Workflow[Any] = Workflow("w")
    wf.returns([wf.ask("one", "One?", answer=int), wf.ask("two", "Two?", answer=int)])
    async with desk(place) as d:
        handle = await waiting(d.orch, wf)

        async def people() -> None:
            for step, value in (("two", 2), ("one", 1)):
                await anyio.sleep(1)
                await d.orch.answer(handle.id, step, value)

        async with anyio.create_task_group() as group:
            group.start_soon(people)
            run = await handle.result(wait_for_answers=True)
    assert (run.status, run.output) == ("succeeded", [1, 2])


async def test_an_open_question_is_shown_to_everybody_who_watches(memory: Place) -> None:
    wf = named("w", Payload("before", "Go."), Question("{{ before }}?", name="q"))
    async with desk(memory, {"before": Reply("B", 1)}) as d:
        handle = await d.orch.start(wf)
        found = await open_at(handle, "q")
        assert isinstance(found["q"], StepWaiting)
        assert found["q"].question == "B?"
        assert found["q"].run_id == handle.id
        await handle.cancel()


@pytest.mark.parametrize("kind", [int, list[str], dict])
async def test_the_type_of_an_answer_is_not_an_output(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"ask\('pick', output=\.\.\.\) .*; the type of an answer is answer="):
        Workflow("w").ask("pick", "Which?", output=kind)


async def test_a_binding_may_be_called_output() -> None:
    wf: Workflow[Any] = Workflow("w")
    draft = wf.add(Payload("draft", "Go.", model="scripted:m"))
    wf.ask("judge", "Is {{ output }} good?", output=draft)
    assert wf.freeze().steps[1].bindings.keys() == {"output"}
