"""Names are edges: what every variable and parameter stands for, and every fault found on the way."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch.definition.actions import PayloadAction
from llmorch.definition.functions import RunContext, function_action
from llmorch.definition.node import Each, Node, Ref, each, first_n, first_of, optional
from llmorch.definition.wiring import Draft, DraftStep, wire
from llmorch.models.block import Block
from llmorch.models.payload import Payload
from llmorch.models.policy import Default
from llmorch.workflow import Workflow


def wired(workflow: Workflow[Any]) -> dict[str, dict[str, str]]:
    """Step -> variable -> what it stands for."""
    return {
        step.name: {name: repr(binding) for name, binding in step.bindings.items()} for step in workflow.freeze().steps
    }


def faults(workflow: Workflow[Any]) -> tuple[str, ...]:
    return workflow.draft()[1]


def only(found: tuple[str, ...], *words: str) -> None:
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def test_a_variable_is_the_step_of_its_name_whatever_the_order() -> None:
    wf = Workflow("w")
    wf.add(Payload("talk", "{{ outline }}"))
    wf.add(Payload("outline", "x"))
    assert wired(wf) == {"talk": {"outline": "Ref(outline)"}, "outline": {}}


def test_a_binding_wins_over_a_step_and_a_step_over_a_default() -> None:
    block = Block("b", "{{ tone }} {{ style }}", defaults={"tone": "dry", "style": "plain"})
    wf = Workflow("w")
    wf.add(Payload("tone", "x"))
    wf.add(Payload("other", "x"))
    wf.add(Payload("a", block), tone=Ref("other"))
    wf.add(Payload("b", block))
    wf.returns([Ref("a"), Ref("b")])
    assert wired(wf)["a"] == {"tone": "Ref(other)"}
    assert wired(wf)["b"] == {"tone": "Ref(tone)"}


def test_a_name_nothing_has_becomes_a_required_implied_input() -> None:
    wf = Workflow.of(Payload("a", "{{ article }} {{ audience }}"), name="w")
    wf.input("audience", str)
    assert {name: (spec.implied, spec.is_required) for name, spec in wf.inputs.items()} == {
        "audience": (False, True),
        "article": (True, True),
    }


def test_a_name_close_to_a_known_one_is_a_typo() -> None:
    wf = Workflow.of(Payload("draft", "x"), Payload("end", "{{ draf }}"), name="w")
    wf.returns(Ref("end"))
    only(faults(wf), "Step 'end' reads 'draf'", "did you mean 'draft'?", "wf.input('draf')")


def test_a_declared_input_may_be_close_to_a_step() -> None:
    wf = Workflow.of(Payload("draft", "{{ drafts }}"), name="w")
    wf.input("drafts", str)
    assert faults(wf) == ()


def test_implied_inputs_are_never_what_somebody_meant() -> None:
    wf = Workflow.of(Payload("a", "{{ article }}"), Payload("b", "{{ articles }} {{ a }}"), name="w")
    assert set(wf.inputs) == {"article", "articles"}
    assert faults(wf) == ()


def test_hyphens_are_underscores_in_templates_parameters_and_bindings() -> None:
    def shout(first_draft: str, the_text: str) -> str:
        return first_draft + the_text

    wf = Workflow("w")
    wf.input("the-text", str)
    wf.add(Payload("first-draft", "x"))
    wf.add(shout)
    wf.add(Payload("end", "{{ shout }} {{ first_draft }}"), when="first_draft != ''")
    assert wired(wf)["shout"] == {"first_draft": "Ref(first-draft)", "the_text": "Ref(the-text)"}
    assert wired(wf)["end"] == {"first_draft": "Ref(first-draft)", "shout": "Ref(shout)"}


def test_a_nested_input_with_a_hyphen_takes_a_binding_with_an_underscore() -> None:
    inner = Workflow("inner")
    inner.input("the-text", str)
    inner.add(Payload("a", "{{ the_text }}"))
    outer = Workflow("outer")
    outer.add(inner, name="sub", the_text="x")
    assert wired(outer)["sub"] == {"the-text": "Literal(value='x')"}


def test_names_that_templates_cannot_tell_apart_are_faults() -> None:
    wf = Workflow.of(Payload("a-b", "x"), Payload("a_b", "{{ a_b }}"), name="w")
    wf.returns(Ref("a_b"))
    assert any("cannot tell apart: 'a-b' and 'a_b'" in fault for fault in faults(wf))


def test_the_same_name_twice_is_a_fault_for_steps_and_for_step_and_input() -> None:
    two = Workflow.of(Payload("a", "x"), Payload("a", "y"), name="w").returns(Ref("a"))
    only(faults(two), "has a name twice: 'a'", "name=...")
    step = Workflow.of(Payload("a", "x"), name="w")
    step.input("a", str, default="")
    assert any("twice: 'a'" in fault for fault in faults(step))


def test_names_made_at_run_time_clash_like_written_ones() -> None:
    names = ["".join(["step", "-", "one"]) for _ in range(2)]  # equal, but not the same object
    wf = Workflow.of(*(Payload(name, "x") for name in names), name="w").returns(Ref(names[0]))
    only(faults(wf), "twice: 'step-one'")


@pytest.mark.parametrize("name", ["A", "1a", "a b", "for", "output", "item", "class", "None", "_a"])
def test_names_that_templates_cannot_write_are_faults_with_a_suggestion(name: str) -> None:
    wf = Workflow("w")
    wf.add(Payload("x", "x"), name=name)
    only(faults(wf), repr(name), "such as ")


def test_an_unused_binding_is_a_fault_with_the_nearest_name() -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "{{ style }}"), style="x", stile="y")
    only(faults(wf), "Step 'a' is given 'stile'", "did you mean 'style'?")
    nothing = Workflow("w")
    nothing.add(Payload("a", "x"), tone="y")
    only(faults(nothing), "it reads nothing")


def test_a_binding_that_only_when_reads_is_used() -> None:
    wf = Workflow("w")
    other = wf.add(Payload("other", "x"))
    wf.add(Payload("a", "x"), when="go == 'yes'", go=other)
    assert faults(wf) == ()
    (step,) = [step for step in wf.freeze().steps if step.name == "a"]
    assert step.when is not None
    assert dict(step.when.bindings) == {"go": other}


def test_when_reads_what_the_step_is_given_under_that_name() -> None:
    wf = Workflow("w")
    wf.add(Payload("title", "x"))
    other = wf.add(Payload("other", "x"))
    wf.add(Payload("a", "{{ title }}"), title=other["name"], when="title")
    wf.returns([Ref("a"), Ref("title")])
    step = wf.freeze().step("a")
    assert step.when is not None
    assert step.when.bindings["title"] == other["name"]


def test_an_unknown_name_in_when_is_a_fault_and_never_an_input() -> None:
    wf = Workflow("w")
    wf.add(Payload("draft", "x"))
    wf.add(Payload("end", "{{ draft }}"), when="drift and unheard")
    found = faults(wf)
    assert len(found) == 2
    assert any("'drift'" in fault and "did you mean 'draft'?" in fault for fault in found)
    assert any("'unheard'" in fault and "wf.input()" in fault for fault in found)
    assert dict(wf.draft()[0].inputs) == {}


def test_an_expression_that_does_not_parse_is_a_fault() -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "x"), when="1 +")
    only(faults(wf), "Step 'a': when='1 +'")


def test_when_cannot_read_the_items_of_a_map() -> None:
    wf = Workflow("w")
    wf.map(Payload("a", "{{ x }}"), x=each([1]), when="x > 0")
    only(faults(wf), "when is asked once, before the map")


def test_each_belongs_to_a_map_and_a_map_needs_each() -> None:
    added = Workflow("w")
    added.add(Payload("a", "{{ x }}"), x=each([1]))
    only(faults(added), "which only wf.map() takes")
    mapped = Workflow("w")
    mapped.map(Payload("a", "{{ x }}"), x=[1])
    only(faults(mapped), "is a map without each(...)")


def test_references_to_nothing_name_the_nearest() -> None:
    wf = Workflow("w")
    wf.add(Payload("draft", "x"))
    wf.add(Payload("a", "{{ x }}"), x=Ref("drafd"), after=["drat"])
    found = faults(wf)
    assert sum("did you mean 'draft'?" in fault for fault in found) == 2
    assert any("'drafd'" in fault for fault in found)
    assert any("after refers to 'drat'" in fault for fault in found)


def test_a_reference_of_another_workflow_is_a_fault_at_any_depth() -> None:
    other = Workflow("other").add(Payload("a", "x"))
    wf = Workflow("w")
    wf.add(Payload("a", "x"))
    wf.add(Payload("b", "{{ x }} {{ y }}"), x=other, y=[{"deep": optional(other)}])
    found = faults(wf)
    assert len(found) == 2
    assert all("'a' of another workflow" in fault for fault in found)


def test_first_n_needs_a_possible_number_and_nodes_that_may_lack() -> None:
    wf = Workflow("w")
    failing = [wf.add(Payload(name, "x")) for name in ("a", "b")]
    skipping = [wf.add(Payload(name, "x"), on_error="skip") for name in ("c", "d")]
    defaulting = wf.add(Payload("e", "x"), on_error=Default("none"))
    wf.add(Payload("one", "{{ x }}"), x=first_n(skipping, 3))
    wf.add(Payload("two", "{{ x }}"), x=first_n(failing, 1))
    wf.add(Payload("three", "{{ x }}"), x=first_n([*skipping, defaulting], 2))
    wf.add(Payload("four", "{{ x }}"), x=first_of(*failing))
    wf.returns([Ref(name) for name in ("one", "two", "three", "four")])
    found = faults(wf)
    assert len(found) == 2
    assert "'one'" in found[0]
    assert "n is 1 to 2" in found[0]
    assert "'two'" in found[1]
    assert "on_error='skip'" in found[1]


def test_without_returns_the_only_sink_is_the_output() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")
    assert wf.freeze().output == Node("b")


def test_several_sinks_are_a_fault_naming_them() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "y"), name="w")
    only(faults(wf), "'a', 'b'", "wf.returns")


def test_a_step_read_only_by_when_or_after_is_no_sink() -> None:
    wf = Workflow.of(Payload("a", "x"), Payload("b", "y"), name="w")
    wf.add(Payload("c", "z"), when=Ref("a"), after=["b"])
    assert wf.freeze().output == Node("c")


def test_a_workflow_without_steps_is_a_fault() -> None:
    only(faults(Workflow("w")), "has no steps")


def test_an_unused_declared_input_is_a_warning() -> None:
    wf = Workflow.of(Payload("a", "x"), name="w")
    wf.input("unused", str)
    assert wf.freeze().warnings == ("input 'unused' of 'w' is read by no step",)
    used = Workflow("w")
    used.input("text", str)
    used.returns(Ref("text"))
    used.add(Payload("a", "x"))
    assert used.freeze().warnings == ()


def test_parameters_with_a_default_bind_but_never_become_inputs() -> None:
    def work(text: str, known: str = "k", unknown: str = "u", *rest: str, **more: str) -> str:
        return text

    wf = Workflow("w")
    wf.add(Payload("known", "x"))
    wf.add(work)
    assert wired(wf)["work"] == {"text": "Ref(text)", "known": "Ref(known)"}
    assert set(wf.inputs) == {"text"}
    assert wf.inputs["text"].type is str


def test_a_parameter_for_the_run_context_binds_to_nothing() -> None:
    def work(context: RunContext) -> str:
        return context.run_id

    wf = Workflow("w")
    wf.add(work)
    assert wired(wf) == {"work": {}}
    assert dict(wf.inputs) == {}


def test_a_nested_workflow_binds_by_the_same_lookup_and_is_a_copy() -> None:
    inner = Workflow("inner")
    inner.input("audience", str, default="all")
    inner.add(Payload("a", "{{ text }} {{ audience }} {{ extra }}"))
    outer = Workflow("outer")
    outer.add(Payload("text", "x"))
    outer.add(inner, name="sub", extra=1)
    inner.add(Payload("b", "{{ a }}"))
    assert wired(outer)["sub"] == {"text": "Ref(text)", "extra": "Literal(value=1)"}
    assert len(outer.freeze().step("sub").action.definition.steps) == 1  # type: ignore[union-attr]  # it is a workflow


def test_every_fault_is_found_at_once() -> None:
    wf = Workflow("w")
    wf.add(Payload("draft", "x"))
    wf.add(Payload("a", "{{ drafd }}"), when="nope", tone=1, after=["gone"])
    wf.add(Payload("Bad", "x"))
    wf.map(Payload("m", "x"))
    assert len(faults(wf)) == 7  # typo, when, unused, after, name, map, several sinks


def test_given_each_without_a_map_rule_is_found_in_drafts_too() -> None:
    def work(x: int) -> int:
        return x

    draft = Draft("w", None, steps=[DraftStep("a", function_action(work), {"x": Each(Ref("a"))})], output=Ref("a"))
    _, found = wire(draft)
    only(tuple(found), "each(...)")
    same = Draft("w", None, steps=[DraftStep("a", PayloadAction(Payload("a", "x")), {})])
    assert wire(same)[1] == []
