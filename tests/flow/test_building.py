"""How a workflow is written: names as edges, inputs, misuse, copies. Nothing runs that cannot."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import (
    Block,
    Default,
    InputInvalid,
    Node,
    Orchestrator,
    Payload,
    Ref,
    RunContext,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    first_of,
    optional,
)
from llmorch.testing import ScriptedProvider
from tests.flow.stage import fails, one, slow, stage


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
        assert all(fault in str(error) for fault in error.faults)
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
    block = Block("b", "{{ a }} {{ b }} {{ c }} {{ d }}", defaults={"b": "default b", "c": "default c", "a": "default a"})
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
    wf.add(Payload("final", "{{ first_draft }} {{ extra_words }}"), **{"extra_words": "!"})
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


# Faults


@pytest.mark.parametrize("same_object", [True, False])
def test_two_steps_of_one_name_are_a_fault(same_object: bool) -> None:
    first = Payload("say", "x")
    wf = Workflow("w")
    wf.add(first)
    wf.add(first if same_object else Payload("".join(["sa", "y"]), "y"))
    wf.returns(Node("say"))
    assert "'say'" in only_fault(wf)


def test_a_step_and_an_input_of_one_name_are_a_fault() -> None:
    wf = Workflow("w")
    wf.input("facts")
    wf.add(Payload("facts", "x"))
    assert "'facts'" in only_fault(wf)


def test_names_that_templates_cannot_tell_apart_are_a_fault() -> None:
    wf = Workflow("w")
    wf.add(Payload("a-b", "x"))
    wf.add(Payload("a_b", "x"))
    wf.returns(Node("a-b"))
    assert "'a-b'" in only_fault(wf)
    assert "'a_b'" in only_fault(wf)


@pytest.mark.parametrize(
    "name",
    ["true", "false", "none", "self", "output", "inputs", "item", "iteration", "class", "for", "if", "with", "lambda", "import"],
)
def test_reserved_names_are_refused(name: str) -> None:
    wf = Workflow("w")
    wf.add(one, name=name)
    assert repr(name) in only_fault(wf)
    wf = Workflow("w")
    wf.input(name)
    wf.add(one)
    assert repr(name) in only_fault(wf)


@pytest.mark.parametrize("name", ["Upper", "1st", "-x", "a b", "ä", "", "a.b", "a/b", "a[0]", "_x"])
def test_a_name_that_does_not_match_needs_another(name: str) -> None:
    wf = Workflow("w")
    wf.add(one, name=name)
    assert "lower-case" in only_fault(wf)


def test_an_action_whose_own_name_does_not_match_needs_one() -> None:
    wf = Workflow("w")
    wf.add(lambda: 1)
    assert "name=" in only_fault(wf)
    wf = Workflow("w")
    wf.add(lambda: 1, name="fine")
    assert faults(wf) == ()


def test_a_typo_is_a_fault_that_names_the_nearest() -> None:
    wf = Workflow.of(Payload("drafts", "x"), Payload("merge", "{{ draft }} {{ drafts }}"), name="w")
    fault = only_fault(wf)
    assert "'draft'" in fault
    assert "did you mean 'drafts'?" in fault
    assert "wf.input(" in fault
    assert "'merge'" in fault


def test_a_declared_input_is_no_typo() -> None:
    wf = Workflow.of(Payload("drafts", "x"), Payload("merge", "{{ draft }} {{ drafts }}"), name="w")
    wf.input("draft")
    assert faults(wf) == ()


def test_closeness_counts_only_against_steps_and_declared_inputs() -> None:
    wf = Workflow.of(Payload("p", "{{ article }} {{ articles }}"), name="w")
    assert faults(wf) == ()
    assert sorted(wf.inputs) == ["article", "articles"]


def test_every_fault_is_found_at_once() -> None:
    wf = Workflow("w")
    wf.input("topic")
    wf.add(Payload("a", "{{ topc }}"))
    wf.add(Payload("b", "{{ a }}"), colour="red")
    wf.add(one, name="Bad Name")
    wf.add(one, name="gated", when="nowhere > 1")
    wf.add(lambda x: x, name="nope", x=each([1]))
    found = faults(wf)
    for word in ("topc", "colour", "Bad Name", "nowhere", "each"):
        assert any(word in fault for fault in found), (word, found)


def test_an_unused_binding_is_a_fault_with_the_names_the_action_reads() -> None:
    wf = Workflow("w")
    wf.add(Payload("p", "{{ style }}"), styl="x", style="y")
    fault = only_fault(wf)
    assert "'styl'" in fault
    assert "did you mean 'style'?" in fault


@pytest.mark.anyio
async def test_an_unused_declared_input_is_a_warning() -> None:
    wf = Workflow("w")
    wf.input("unused", default="x")
    wf.add(one)
    async with stage() as s:
        assert any("'unused'" in warning for warning in s.orch.plan(wf).warnings)
        run = await s.orch.run(wf)
        assert run.status == "succeeded"
        assert [warning.code for warning in run.warnings] == ["unused-input"]


def test_an_input_only_the_output_reads_is_used() -> None:
    wf = Workflow("w")
    topic = wf.input("topic")
    wf.returns([wf.add(one), topic])
    assert Orchestrator().plan(wf).warnings == ()


def test_an_unknown_name_in_when_is_a_fault() -> None:
    wf = Workflow("w")
    wf.input("score", int)
    wf.add(one, when="scores > 3")
    fault = only_fault(wf)
    assert "'scores'" in fault
    assert "did you mean 'score'?" in fault


@pytest.mark.parametrize("when", ["score >", "{{ score }}", "score | nofilter", ""])
def test_an_expression_that_does_not_parse_is_a_fault(when: str) -> None:
    wf = Workflow("w")
    wf.input("score", int)
    wf.add(one, when=when)
    assert any("'one'" in fault for fault in faults(wf))


@pytest.mark.parametrize("when", [True, False, 1, [], lambda: True])
def test_a_when_that_is_no_expression_is_a_type_error(when: Any) -> None:
    with pytest.raises(TypeError, match="when="):
        Workflow("w").add(one, when=when)


def test_cycles_are_named_with_their_steps() -> None:
    wf = Workflow.of(Payload("a", "{{ c }}"), Payload("b", "{{ a }}"), Payload("c", "{{ b }}"), name="w")
    wf.returns(Node("a"))
    assert all(f"'{name}'" in " ".join(faults(wf)) for name in "abc")
    wf = Workflow.of(Payload("self-reader", "{{ self_reader }}"), name="w")
    wf.returns(Node("self-reader"))
    assert "'self-reader'" in only_fault(wf)


def test_several_sinks_are_a_fault_that_names_them() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "x"), name="w")
    fault = only_fault(wf)
    assert "'a'" in fault
    assert "'b'" in fault
    assert "returns" in fault


def test_a_workflow_without_steps_is_a_fault() -> None:
    assert "no steps" in only_fault(Workflow("w"))


def test_each_belongs_into_a_map_and_a_map_needs_it() -> None:
    wf = Workflow("w")
    wf.add(lambda x: x, name="a", x=each([1]))
    assert "map" in only_fault(wf)
    wf = Workflow("w")
    wf.map(lambda x: x, name="a", x=[1])
    assert "each" in only_fault(wf)


@pytest.mark.parametrize("given", ["text", b"x", {"a": 1}, 3, {1, 2}, None])
def test_each_takes_lists_and_references_only(given: Any) -> None:
    with pytest.raises(TypeError):
        each(given)


def test_each_stands_alone() -> None:
    wf = Workflow("w")
    with pytest.raises(TypeError, match="each"):
        wf.map(lambda x: x, name="a", x=[each([1])])
    with pytest.raises(TypeError, match="each"):
        wf.returns(each([1]))  # type: ignore[call-overload]


@pytest.mark.parametrize("n", [0, -1, 3])
@pytest.mark.parametrize("place", ["alone", "in a list", "in a dict", "optional", "output", "output dict", "each"])
def test_a_quorum_that_cannot_be_is_a_fault(n: int, place: str) -> None:
    wf = Workflow("w")
    nodes = [wf.add(slow, name=name, seconds=1, on_error="skip") for name in ("a", "b")]
    chosen = first_n(nodes, n)
    shapes: dict[str, Any] = {
        "alone": chosen, "in a list": [chosen], "in a dict": {"x": {"y": chosen}}, "optional": optional(chosen),
        "output": chosen, "output dict": {"x": chosen},
    }  # fmt: skip
    if place == "each":
        wf.map(lambda x: x, name="reader", x=each(chosen))
    elif place.startswith("output"):
        wf.returns(shapes[place])
    else:
        wf.add(lambda x: x, name="reader", x=shapes[place])
    assert "first_n" in only_fault(wf)


@pytest.mark.parametrize("place", ["binding", "dict", "output"])
def test_a_quorum_over_fail_is_a_fault(place: str) -> None:
    wf = Workflow("w")
    nodes = [wf.add(slow, name="a", seconds=1), wf.add(slow, name="b", seconds=1, on_error="skip")]
    chosen = first_n(nodes, 1)
    if place == "output":
        wf.returns({"x": chosen})
    else:
        wf.add(lambda x: x, name="reader", x=chosen if place == "binding" else {"x": chosen})
    fault = only_fault(wf)
    assert "'a'" in fault
    assert "on_error" in fault


@pytest.mark.parametrize("call", [lambda: first_of(), lambda: first_of(1), lambda: first_n([], 1), lambda: first_n([1], 1)])
def test_selections_take_references_only(call: Any) -> None:
    with pytest.raises(TypeError):
        call()


def test_optional_takes_references_and_selections() -> None:
    for given in ("x", 3, [1], optional(Ref("a")), each([1])):
        with pytest.raises(TypeError):
            optional(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["binding", "nested binding", "when", "after", "output", "each", "first_of"])
def test_a_reference_of_another_workflow_is_a_fault(where: str) -> None:
    other = Workflow("other")
    foreign = other.add(one, name="foreign")
    wf = Workflow("w")
    wf.add(one, name="foreign")  # the same name does not make it the same step
    match where:
        case "binding":
            wf.add(lambda x: x, name="reader", x=foreign)
        case "nested binding":
            wf.add(lambda x: x, name="reader", x={"a": [foreign]})
        case "when":
            wf.add(one, name="reader", when=foreign)
        case "after":
            wf.add(one, name="reader", after=[foreign])
        case "each":
            wf.map(lambda x: x, name="reader", x=each(foreign))
        case "first_of":
            wf.add(lambda x: x, name="reader", x=first_of(foreign))
        case _:
            wf.returns(foreign)
    if where != "output":
        wf.returns([Node("foreign"), Node("reader")])
    assert any("another workflow" in fault for fault in faults(wf))


def test_after_an_unknown_step_is_a_fault() -> None:
    wf = Workflow("w")
    wf.add(one, name="draft")
    wf.add(one, after=["drafts"])
    wf.returns(Node("one"))
    fault = only_fault(wf)
    assert "'drafts'" in fault
    assert "'draft'" in fault


@pytest.mark.parametrize("policy", ["retry", "ignore", 3, True, Default])
def test_an_unknown_policy_is_refused(policy: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Workflow("w").add(one, on_error=policy)


def test_default_is_no_policy_of_a_workflow() -> None:
    with pytest.raises((TypeError, ValueError), match="Default"):
        Workflow("w", on_error=Default(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_leaves_no_time_is_refused(timeout: float) -> None:
    with pytest.raises((TypeError, ValueError)):
        Workflow("w").add(one, timeout=timeout)


@pytest.mark.parametrize("action", [3, "text", None, Ref("x"), object()])
def test_what_is_no_action_is_refused(action: Any) -> None:
    with pytest.raises(TypeError):
        Workflow("w").add(action)


def test_an_input_declared_twice_is_refused() -> None:
    wf = Workflow("w")
    wf.input("a")
    with pytest.raises(WorkflowInvalid, match="'a'"):
        wf.input("a")


def test_an_unknown_field_of_a_typed_output_is_a_fault() -> None:
    wf = Workflow("w")
    facts = wf.add(Payload("facts", "x", output=Facts))
    wf.add(Payload("p", "{{ facts.titel }}"))
    wf.add(Payload("q", "{{ t }}"), t=facts["claims"][0]["txt"])
    wf.add(one, when="facts.nope")
    wf.returns([Node("p"), Node("q"), Node("one"), facts.pick(lambda f: f.claims[0].sources)])
    found = " ".join(faults(wf))
    for name in ("titel", "txt", "nope"):
        assert name in found


# Options against variables


@pytest.mark.parametrize(
    ("option", "value"),
    [("name", "x"), ("after", ["a"]), ("when", "true"), ("on_error", "skip"), ("timeout", 3), ("bind", {"a": 1})],
)
def test_an_option_that_is_also_a_variable_is_refused_at_once(option: str, value: Any) -> None:
    payload = Payload("hello", f"Hello {{{{ {option} }}}}")
    with pytest.raises(TypeError, match=f"'{option}' is both an option of add\\(\\) and a variable of 'hello'") as caught:
        Workflow("w").add(payload, **{option: value})
    assert f'bind={{"{option}": ...}}' in str(caught.value)


def test_concurrency_is_an_option_of_map_only() -> None:
    payload = Payload("hello", "{{ concurrency }} {{ x }}")
    with pytest.raises(TypeError, match="'concurrency'"):
        Workflow("w").map(payload, x=each([1]), concurrency=2)
    Workflow("w").add(payload, concurrency=2, x=1)


@pytest.mark.anyio
async def test_bind_reaches_a_variable_named_like_an_option() -> None:
    wf = Workflow("w")
    who = wf.input("who")
    wf.add(Payload("hello", "Hello {{ name }} {{ timeout }}"), bind={"name": who, "timeout": 3})
    async with stage({"hello": "H"}) as s:
        await s.orch.run(wf, who="Ada")
        assert s.prompts("hello") == ["Hello Ada 3"]


def test_a_variable_bound_twice_is_refused() -> None:
    wf = Workflow("w")
    with pytest.raises((TypeError, ValueError)):
        wf.add(Payload("p", "{{ x }}"), x=1, bind={"x": 2})


# References


REF = Ref[Any]("facts")


@pytest.mark.parametrize(
    "misuse",
    [
        lambda r: bool(r), lambda r: r == 3, lambda r: r != "x", lambda r: r < 3, lambda r: r >= 3, lambda r: 3 < r,
        lambda r: "x" in r, lambda r: list(r), lambda r: f"{r}", lambda r: "{}".format(r), lambda r: not r,
        lambda r: r and 1, lambda r: [x for x in r], lambda r: r[1:2], lambda r: r[None], lambda r: r[1.5],
    ],
)  # fmt: skip
def test_a_reference_is_no_value(misuse: Any) -> None:
    with pytest.raises(TypeError, match="facts|part|key|index"):
        misuse(REF)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda v: v.title.upper(), lambda v: len(v.claims), lambda v: v.title == "x", lambda v: f"{v.title}",
        lambda v: v.a if v.b else v.c, lambda v: next(iter(v.claims)), lambda v: 3, lambda v: [v.title],
        lambda v: v.count > 3, lambda v: v.count + 1, lambda v: v.claims[1:], lambda v: "x" == v.title,
    ],
)  # fmt: skip
def test_pick_takes_attributes_and_items_only(misuse: Any) -> None:
    with pytest.raises(TypeError):
        REF.pick(misuse)


def test_pick_names_the_same_part_as_items_do() -> None:
    assert REF.pick(lambda v: v.claims[0].text) == REF["claims"][0]["text"]
    assert REF["claims"].pick(lambda v: v[0].text) == REF["claims"][0]["text"]
    assert hash(REF["a"]) == hash(REF["a"])
    assert REF.pick(lambda v: v) == REF


@pytest.mark.anyio
async def test_a_picked_part_is_bound() -> None:
    wf = Workflow("w")
    facts = wf.add(Payload("facts", "x", output=Facts))
    wf.add(lambda text, last: [text, last], name="read", text=facts.pick(lambda f: f.claims[0].text), last=facts["claims"][-1]["text"])
    async with stage({"facts": Facts(title="t", claims=[Claim(text="a"), Claim(text="b")])}) as s:
        run = await s.orch.run(wf)
        assert run.output == ["a", "b"]
        assert run[facts].claims[0] == Claim(text="a")
        assert run[facts["title"]] == "t"


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
        assert run.inputs == {"n": 5, "facts": {"title": "t", "claims": [{"text": "c", "sources": []}]}, "flags": {"a": True}}
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
