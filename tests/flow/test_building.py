"""How a workflow is written: names as edges, inputs, nesting, copies."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import (
    Block,
    InputInvalid,
    Node,
    Orchestrator,
    Payload,
    RunContext,
    Workflow,
    WorkflowInvalid,
    each,
)
from llmorch.testing import ScriptedProvider
from tests.flow.stage import fails, one, stage


class Claim(BaseModel):
    text: str
    sources: list[str] = []


class Facts(BaseModel):
    title: str
    claims: list[Claim]


def faults(wf: Workflow[Any]) -> tuple[str, ...]:
    """Every fault the planner finds, with any model at hand."""
    try:
        Orchestrator(providers=[ScriptedProvider({})], model="scripted:m").plan(wf)
    except WorkflowInvalid as error:
        return error.faults
    return ()


def only_fault(wf: Workflow[Any]) -> str:
    found = faults(wf)
    assert len(found) == 1, found
    return found[0]


# Names are edges


@pytest.mark.anyio
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_order_of_add_does_not_matter(order: tuple[int, ...]) -> None:
    steps = [
        Payload("outline", "Outline {{ topic }}."),
        Payload("critique", "Weak points: {{ outline }}"),
        Payload("talk", "Talk: {{ outline }} / {{ critique }}"),
    ]
    wf = Workflow.of(*(steps[i] for i in order), name="talk")
    async with stage({"outline": "O", "critique": "C", "talk": "T"}) as s:
        run = await s.orch.run(wf, topic="x")
        assert s.asked == ["outline", "critique", "talk"]
        assert s.prompts("talk") == ["Talk: O / C"]
        assert run.output == "T"
        assert list(run.steps) == [planned.path for planned in s.orch.plan(wf).steps]


@pytest.mark.anyio
async def test_an_input_may_be_declared_after_the_step_that_reads_it() -> None:
    wf = Workflow("w")
    wf.add(Payload("p", "{{ tone }} {{ topic }}"))
    wf.input("tone", default="dry")
    async with stage({"p": "P"}) as s:
        await s.orch.run(wf, topic="tea")
        assert s.prompts("p") == ["dry tea"]


def test_what_nobody_names_becomes_a_required_input() -> None:
    wf = Workflow.of(Payload("p", "{{ article }}"), name="w")
    spec = wf.inputs["article"]
    assert spec.implied
    assert spec.is_required


@pytest.mark.anyio
async def test_the_lookup_goes_binding_then_step_then_default() -> None:
    block = Block(
        "b", "{{ a }} {{ b }} {{ c }} {{ d }}", defaults={"b": "default b", "c": "default c", "a": "default a"}
    )
    wf = Workflow("w")
    wf.add(lambda: "step b", name="b")
    wf.add(Payload("p", block), a="bound a")
    wf.returns(Node("p"))
    assert list(wf.inputs) == ["d"]
    async with stage({"p": "P"}) as s:
        await s.orch.run(wf, d="given d")
        assert s.prompts("p") == ["bound a step b default c given d"]


@pytest.mark.anyio
async def test_a_functions_parameters_bind_by_name_and_defaults_never_become_inputs() -> None:
    def facts() -> list[int]:
        return [1, 2]

    def report(facts: list[int], title: str, scale: int = 3, *args: Any, context: RunContext, **kwargs: Any) -> str:
        return f"{title}: {sum(facts) * scale} {context.step} {context.deps} {args} {kwargs}"

    wf = Workflow.of(facts, report, name="w")
    assert list(wf.inputs) == ["title"]
    async with stage(deps="DEPS") as s:
        run = await s.orch.run(wf, title="T")
        assert run.output == "T: 9 report DEPS () {}"


@pytest.mark.anyio
async def test_the_run_context_knows_its_run_and_path() -> None:
    def where(n: int, here: RunContext) -> str:
        return f"{here.run_id} {here.step}"

    wf = Workflow("w")
    wf.map(where, n=each([1, 2]))
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == [f"{run.id} where[0]", f"{run.id} where[1]"]


@pytest.mark.anyio
async def test_a_hyphen_is_written_as_underscore_in_templates_and_may_be_in_bindings() -> None:
    wf = Workflow("w")
    wf.input("the-topic")
    wf.add(Payload("first-draft", "about {{ the_topic }}"))
    wf.add(Payload("final", "{{ first_draft }} {{ extra_words }}"), extra_words="!")
    async with stage({"first-draft": "D", "final": "F"}) as s:
        run = await s.orch.run(wf, the_topic="tea")
        assert s.prompts("final") == ["D !"]
        assert run["first-draft"] == "D"
        assert run["first_draft"] == "D"
        assert (await s.orch.run(wf, {"the-topic": "tea"})).inputs == {"the-topic": "tea"}


@pytest.mark.anyio
async def test_one_action_may_stand_under_several_names() -> None:
    say = Payload("say", "Say {{ word }}")
    wf = Workflow("w")
    wf.returns([wf.add(say, name="a", word="x"), wf.add(say.using(name="b"), word="y")])
    async with stage({"a": "A", "b": "B"}) as s:
        assert (await s.orch.run(wf)).output == ["A", "B"]


# Nesting and copies


@pytest.mark.anyio
async def test_a_nested_workflow_binds_by_the_same_lookup() -> None:
    inner = Workflow("inner")
    inner.input("tone", default="dry")
    inner.add(Payload("say", "{{ tone }} {{ topic }} {{ facts }}"))
    wf = Workflow("w")
    wf.add(lambda: "F", name="facts")
    wf.add(inner)
    wf.add(inner, name="again", tone="wet", topic="bound")
    wf.returns([Node("inner"), Node("again")])
    assert list(wf.inputs) == ["topic"]
    async with stage({"say": "S"}) as s:
        await s.orch.run(wf, topic="T")
        assert sorted(s.prompts("say")) == ["dry T F", "wet bound F"]
        assert sorted(s.asked) == ["again/say", "inner/say"]


@pytest.mark.anyio
async def test_a_nested_workflow_is_copied_when_it_is_added() -> None:
    inner = Workflow("inner")
    inner.add(one, name="first")
    wf = Workflow("w")
    wf.add(inner)
    inner.add(fails, after=["first"])
    inner.returns(Node("fails"))
    async with stage() as s:
        assert (await s.orch.run(wf)).output == 1
        assert (await s.orch.run(inner)).status == "failed"


@pytest.mark.anyio
async def test_a_nested_workflows_inputs_are_validated_to_their_type() -> None:
    inner = Workflow("inner")
    inner.input("n", int)
    inner.add(lambda n: type(n).__name__, name="kind")
    wf = Workflow("w", on_error="skip")
    wf.returns([wf.add(inner, n="5"), wf.add(inner, name="bad", n="many")])
    async with stage() as s:
        run = await s.orch.run(wf)
        assert run.output == ["int"]
        assert run.steps["bad"].status == "failed"
        assert "'n'" in str(run.failures["bad"])


def test_a_nested_workflow_with_faults_is_refused_when_it_is_added() -> None:
    inner = Workflow("inner")
    inner.add(one, nonsense=1)
    with pytest.raises(WorkflowInvalid, match="nonsense"):
        Workflow("w").add(inner)


def test_a_workflow_cannot_hold_itself() -> None:
    wf = Workflow("w")
    wf.add(one)
    wf.add(wf, name="again", after=["one"])
    assert "again" in [step.name for step in wf.freeze().steps]  # it holds a copy of what it was
    assert len(wf.freeze().steps) == 2


@pytest.mark.anyio
async def test_replace_and_with_block_make_changed_copies() -> None:
    voice = Block("voice", "Be {{ style }}.", role="system")
    wf = Workflow("w")
    wf.input("style", default="dry")
    wf.add(Payload("a", voice, "A"))
    wf.add(Payload("b", voice, "{{ a }}"))
    other = wf.with_block(Block("voice", "Shout.", role="system"))
    third = wf.replace("a", lambda: "fixed")
    async with stage({"*": "x"}) as s:
        await s.orch.run(other)
        assert [r.messages[0].text for r in s.provider.requests] == ["Shout.", "Shout."]
        s.provider.requests.clear()
        await s.orch.run(third)
        assert s.prompts("b") == ["fixed"]
        s.provider.requests.clear()
        await s.orch.run(wf)
        assert [r.messages[0].text for r in s.provider.requests] == ["Be dry.", "Be dry."]
    with pytest.raises(KeyError, match="'zzz'"):
        wf.replace("zzz", one)
    with pytest.raises(KeyError, match="'zzz'"):
        wf.with_block(Block("zzz", "x"))


@pytest.mark.anyio
async def test_with_block_reaches_nested_workflows() -> None:
    inner = Workflow.of(Payload("p", Block("voice", "old")), name="inner")
    wf = Workflow.of(inner, name="w")
    async with stage({"*": "x"}) as s:
        await s.orch.run(wf.with_block(Block("voice", "new")))
        assert s.prompts("p") == ["new"]


@pytest.mark.anyio
async def test_a_workflow_may_grow_after_it_was_run() -> None:
    wf = Workflow("w")
    wf.add(one)
    async with stage() as s:
        assert (await s.orch.run(wf)).output == 1
        wf.add(lambda one: one + 1, name="two")
        assert (await s.orch.run(wf)).output == 2


def test_returns_gives_the_same_workflow() -> None:
    wf = Workflow("w")
    node = wf.add(one)
    assert wf.returns(node) is wf


# Inputs of a run


@pytest.mark.anyio
async def test_wrong_inputs_are_all_named_before_anything_starts() -> None:
    wf = Workflow("w")
    wf.input("topic")
    wf.input("count", int, default=1)
    wf.add(Payload("p", "{{ topic }} {{ count }}"))
    async with stage({"p": "P"}) as s:
        with pytest.raises(InputInvalid) as caught:
            await s.orch.run(wf, {"topc": "x"}, count="many")
        for word in ("'topc'", "did you mean 'topic'", "'count'", "'topic'"):
            assert word in str(caught.value)
        assert await s.orch.runs() == []
        assert s.asked == []


@pytest.mark.anyio
async def test_inputs_given_twice_are_refused() -> None:
    wf = Workflow("w")
    wf.input("the-topic")
    wf.add(Payload("p", "{{ the_topic }}"))
    async with stage({"p": "P"}) as s:
        for values, keywords in (({"the-topic": 1}, {"the_topic": 2}), ({"the_topic": 1}, {"the_topic": 1})):
            with pytest.raises(InputInvalid, match="twice"):
                await s.orch.run(wf, values, **keywords)


@pytest.mark.anyio
async def test_inputs_are_converted_as_pydantic_does_in_lax_mode() -> None:
    wf = Workflow("w")
    n, facts, when = wf.input("n", int), wf.input("facts", Facts), wf.input("flags", dict[str, bool], default={})
    wf.returns({"n": n, "facts": facts, "flags": when, "one": wf.add(one)})
    async with stage() as s:
        run = await s.orch.run(wf, n="5", facts={"title": "t", "claims": [{"text": "c"}]}, flags={"a": "yes"})
        assert run.inputs == {
            "n": 5,
            "facts": {"title": "t", "claims": [{"text": "c", "sources": []}]},
            "flags": {"a": True},
        }
        assert run.output["n"] == 5


@pytest.mark.anyio
@pytest.mark.parametrize("bad", [float("nan"), b"x", object(), "\ud800", {"\ud800": 1}])
async def test_an_input_that_is_no_data_is_refused(bad: Any) -> None:
    wf = Workflow("w")
    wf.input("x", Any)
    wf.add(lambda x: 1, name="p")
    async with stage() as s:
        with pytest.raises(InputInvalid, match="'x'"):
            await s.orch.run(wf, x=bad)


@pytest.mark.anyio
@pytest.mark.parametrize("option", ["timeout", "tags", "metadata"])
async def test_an_option_of_run_that_is_also_an_input_goes_into_the_mapping(option: str) -> None:
    wf = Workflow("w")
    wf.add(Payload("p", f"{{{{ {option} }}}}"))
    value: Any = {"timeout": 5, "tags": ["a"], "metadata": {"a": 1}}[option]
    async with stage({"p": "P"}) as s:
        with pytest.raises((InputInvalid, TypeError), match=f"'{option}' is both"):
            await s.orch.run(wf, **{option: value})
        assert (await s.orch.run(wf, {option: value})).status == "succeeded"


@pytest.mark.anyio
async def test_a_bare_action_takes_all_its_variables() -> None:
    payload = Payload("p", Block("b", "{{ x }} {{ y }}", defaults={"y": "default"}))

    def add(a: int, b: int = 2) -> int:
        return a + b

    async with stage({"p": "P"}) as s:
        await s.orch.run(payload, x="1", y="2")
        await s.orch.run(payload, x="1")
        assert s.prompts("p") == ["1 2", "1 default"]
        assert (await s.orch.run(add, a=1, b=5)).output == 6
        assert (await s.orch.run(add, a="1")).output == 3


@pytest.mark.anyio
async def test_without_a_model_planning_is_refused_with_what_to_do() -> None:
    async with Orchestrator() as orch:
        with pytest.raises(WorkflowInvalid) as caught:
            orch.plan(Payload("p", "x"))
        assert "offline" in str(caught.value)
        assert "LLMORCH_MODEL" in str(caught.value)
        with pytest.raises(WorkflowInvalid):
            await orch.run(Payload("p", "x"))


@pytest.mark.parametrize("model", ["nocolon", ":x", "x:", "nonesuch:m"])
def test_an_unknown_model_or_provider_is_a_fault(model: str) -> None:
    with pytest.raises(WorkflowInvalid, match=r"'p'"):
        Orchestrator().plan(Payload("p", "x", model=model))
    with pytest.raises(WorkflowInvalid, match="fallback"):
        Orchestrator(providers=[ScriptedProvider({})]).plan(Payload("p", "x", model="scripted:m", fallback=[model]))


def test_each_orchestrator_checks_for_itself() -> None:
    wf = Workflow.of(Payload("p", "x"), name="w")
    for _ in range(20):  # addresses of dead objects are used again
        Orchestrator(providers=[ScriptedProvider({})], model="scripted:m").plan(wf)
        with pytest.raises(WorkflowInvalid):
            Orchestrator().plan(wf)
