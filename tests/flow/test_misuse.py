"""What cannot run is refused when it is written or planned, all of it at once, with the remedy."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import (
    Default,
    Node,
    Orchestrator,
    Payload,
    Ref,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    first_of,
    optional,
)
from llmorch.testing import ScriptedProvider
from tests.flow.stage import one, slow, stage


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
    [
        "true",
        "false",
        "none",
        "self",
        "output",
        "inputs",
        "item",
        "iteration",
        "class",
        "for",
        "if",
        "with",
        "lambda",
        "import",
    ],
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
    with pytest.raises(WorkflowInvalid) as caught:
        Orchestrator(providers=[ScriptedProvider({})], model="scripted:m").plan(wf)
    assert all(fault in str(caught.value) for fault in found)
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


@pytest.mark.parametrize(
    "call", [lambda: first_of(), lambda: first_of(1), lambda: first_n([], 1), lambda: first_n([1], 1)]
)
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


@pytest.mark.parametrize("policy", ["ignore", "Fail", None, True, 3])
def test_an_unknown_way_with_lost_calls_is_refused(policy: Any) -> None:
    with pytest.raises(TypeError, match="'retry', 'fail' or 'ask'"):
        Workflow("w").add(one, on_unknown=policy)
    with pytest.raises(TypeError, match="'retry', 'fail' or 'ask'"):
        Workflow("w").map(one, x=each([1]), on_unknown=policy)


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
    with pytest.raises(
        TypeError, match=f"'{option}' is both an option of add\\(\\) and a variable of 'hello'"
    ) as caught:
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
        lambda r: bool(r), lambda r: r == 3, lambda r: r != "x", lambda r: r < 3, lambda r: r >= 3, lambda r: r > 3,
        lambda r: "x" in r, lambda r: list(r), lambda r: f"{r}", lambda r: format(r, "s"), lambda r: not r,
        lambda r: r and 1, lambda r: (*r, 1), lambda r: r[1:2], lambda r: r[None], lambda r: r[1.5],
    ],
)  # fmt: skip
def test_a_reference_is_no_value(misuse: Any) -> None:
    with pytest.raises(TypeError, match=r"facts|part|key|index"):
        misuse(REF)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda v: v.title.upper(), lambda v: len(v.claims), lambda v: v.title == "x", lambda v: f"{v.title}",
        lambda v: v.a if v.b else v.c, lambda v: next(iter(v.claims)), lambda v: 3, lambda v: [v.title],
        lambda v: v.count > 3, lambda v: v.count + 1, lambda v: v.claims[1:], lambda v: "x" in v.title,
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
    wf.add(
        lambda text, last: [text, last],
        name="read",
        text=facts.pick(lambda f: f.claims[0].text),
        last=facts["claims"][-1]["text"],
    )
    async with stage({"facts": Facts(title="t", claims=[Claim(text="a"), Claim(text="b")])}) as s:
        run = await s.orch.run(wf)
        assert run.output == ["a", "b"]
        assert run[facts].claims[0] == Claim(text="a")
        assert run[facts["title"]] == "t"
