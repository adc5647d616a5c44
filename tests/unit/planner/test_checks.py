"""Everything that is wrong with a workflow is found before anything is sent, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch.definition.actions import PayloadAction
from llmorch.definition.functions import function_action
from llmorch.definition.node import Ref, each, first_n, first_of, optional
from llmorch.definition.wiring import Draft, DraftStep, wire
from llmorch.models.message import Message
from llmorch.models.payload import Payload
from llmorch.planner.checks import MAX_DEPTH, check
from llmorch.requests import Capabilities
from llmorch.workflow import Workflow
from tests.unit.planner.make import Facts, ask, shelf

CATALOG = shelf("a:m")


def faults(workflow: Workflow[Any]) -> tuple[str, ...]:
    return check(workflow.freeze(), CATALOG).faults


def with_facts() -> tuple[Workflow[Any], Any]:
    wf = Workflow("w")
    return wf, wf.add(ask("facts", output=Facts))


def only(found: tuple[str, ...], *words: str) -> None:
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def test_a_sound_workflow_has_no_faults() -> None:
    wf, facts = with_facts()
    wf.add(
        ask("post", "{{ title }} {{ claims | bullets }} {{ facts.claims[0] }}"),
        title=facts["title"],
        claims=facts["claims"],
    )
    assert check(wf.freeze(), CATALOG) == check(wf.freeze(), None)
    assert faults(wf) == ()


def test_steps_that_wait_for_each_other_are_named_in_order() -> None:
    wf = Workflow("w")
    wf.add(ask("a", "{{ b }}"))
    wf.add(ask("b", "{{ a }}"))
    wf.returns(Ref("b"))
    only(faults(wf), "'a' -> 'b' -> 'a' wait for each other", "take away one")


def test_a_step_that_reads_itself_is_told_so() -> None:
    wf = Workflow("w").returns(Ref("a"))
    wf.add(ask("a", "{{ a }}"))
    only(faults(wf), "Step 'a' waits for itself")


def test_an_unknown_field_of_a_reference_names_step_binding_and_the_nearest() -> None:
    wf, facts = with_facts()
    wf.add(ask("post", "{{ title }}"), title=facts["titel"])
    only(faults(wf), "Step 'post': 'title' reads 'facts'['titel']", "did you mean 'title'")


def test_an_unknown_field_in_a_template_names_the_block_and_the_nearest() -> None:
    wf, _ = with_facts()
    wf.add(ask("post", "one\n{{ facts.clams }}"))
    only(faults(wf), "Step 'post': block 'post-1'", "line 2", "did you mean 'claims'")


def test_an_unknown_field_in_when_names_the_expression() -> None:
    wf, _ = with_facts()
    wf.add(ask("post", "go"), when="facts.titel == ''")
    wf.returns(Ref("post"))
    only(faults(wf), "Step 'post': when=\"facts.titel == ''\"", "did you mean 'title'")


def test_an_unknown_field_in_the_output_is_found() -> None:
    wf, facts = with_facts()
    wf.returns({"x": facts["nope"]})
    only(faults(wf), "output of 'w'", "'nope'")


def test_a_field_of_a_list_item_is_followed_through_a_map() -> None:
    wf, facts = with_facts()
    claims = wf.map(ask("check", "{{ claim }}", output=Facts), claim=each(facts["claims"]))
    wf.add(ask("end", "{{ first }}"), first=claims[0]["titel"])
    only(faults(wf), "'end'", "'titel'")


def test_a_function_with_a_return_type_is_checked_like_a_payload() -> None:
    def facts() -> Facts:
        raise NotImplementedError

    wf = Workflow("w")
    wf.add(facts)
    wf.add(ask("post", "{{ facts.titel }}"))
    only(faults(wf), "'titel'", "did you mean 'title'")


def test_the_output_type_of_a_nested_workflow_reaches_its_readers() -> None:
    inner, facts = with_facts()
    inner.returns({"all": facts, "named": facts["title"]})
    wf = Workflow("outer")
    wf.add(inner, name="inner-one")
    wf.add(ask("post", "{{ inner_one.all.titel }} {{ inner_one.nemed }}"))
    found = faults(wf)
    assert len(found) == 2
    assert "did you mean 'title'" in " ".join(found)
    assert "did you mean 'named'" in " ".join(found)


def test_a_typed_input_is_checked_and_an_untyped_one_is_not() -> None:
    wf = Workflow("w")
    wf.input("facts", Facts)
    wf.input("free", Any)
    wf.add(ask("post", "{{ facts.titel }} {{ free.anything.goes }}"))
    only(faults(wf), "'titel'")


def test_a_list_passed_to_a_filter_for_text_is_a_fault() -> None:
    wf, facts = with_facts()
    wf.add(ask("post", "{{ claims | upper }}"), claims=facts["claims"])
    only(faults(wf), "'upper'", "takes text")


def test_each_over_text_is_a_fault_and_over_a_list_is_not() -> None:
    wf, facts = with_facts()
    wf.map(ask("bad", "{{ x }}"), x=each(facts["title"]))
    wf.map(ask("good", "{{ x }}"), x=each(facts["claims"]))
    wf.returns(Ref("good"))
    only(faults(wf), "Step 'bad': 'x' is each('facts'['title']), which is text and no list")


def test_an_optional_list_may_be_mapped_over() -> None:
    wf, facts = with_facts()
    wf.map(ask("maybe", "{{ x }}"), x=each(optional(facts["claims"])))
    assert faults(wf) == ()


def test_an_item_of_a_map_has_the_type_of_the_lists_items() -> None:
    wf, facts = with_facts()
    several = wf.map(ask("several", "{{ claim }}", output=Facts), claim=each(facts["claims"]))
    wf.map(ask("one", "{{ it.titel }}"), it=each(several))
    only(faults(wf), "Step 'one'", "'titel'")


def test_first_of_alike_and_first_n_keep_their_type() -> None:
    wf = Workflow("w", on_error="skip")
    nodes = [wf.add(ask(f"v-{index}", output=Facts)) for index in range(3)]
    wf.add(ask("one", "{{ x.titel }}"), x=first_of(*nodes))
    wf.add(ask("two", "{{ x | upper }}"), x=first_n(nodes, 2))
    wf.returns([Ref("one"), Ref("two")])
    found = faults(wf)
    assert len(found) == 2
    assert "'titel'" in found[0]
    assert "'upper'" in found[1]


def test_what_is_known_of_a_literal_is_checked() -> None:
    wf = Workflow("w")
    wf.add(ask("a", "{{ options.tome }}"), options={"tone": "dry"})
    only(faults(wf), "'tome'", "did you mean 'tone'")


def test_an_unknown_model_names_step_and_reason_and_so_does_a_fallback() -> None:
    wf = Workflow("w")
    wf.add(ask("one", model="a:other"))
    wf.add(ask("two", fallback=["a:m", "b:gone"]))
    wf.returns([Ref("one"), Ref("two")])
    assert faults(wf) == (
        "Step 'one': there is no model 'a:other'",
        "Step 'two' (fallback): there is no model 'b:gone'",
    )


def test_without_any_model_the_reason_is_that_of_the_catalog() -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "x"))
    only(faults(wf), "Step 'a': no model is set; set LLMORCH_MODEL")
    assert check(wf.freeze(), shelf("a:m", default="a:m")).faults == ()


def test_a_model_is_looked_up_once_however_many_steps_use_it() -> None:
    wf = Workflow("w")
    nodes = [wf.add(ask(f"s-{index}")) for index in range(20)]
    wf.returns(nodes)
    catalog = shelf("a:m")
    check(wf.freeze(), catalog)
    assert catalog.asked == 1


def test_a_setting_the_model_does_not_take_is_a_fault_but_not_on_a_fallback() -> None:
    catalog = shelf("a:m", capabilities=Capabilities(unsupported=frozenset({"seed", "temperature"})))
    catalog.models["b:free"] = shelf("b:free").models["b:free"]
    wf = Workflow("w")
    wf.add(ask("one", temperature=0, top_p=0.5))
    only(check(wf.freeze(), catalog).faults, "Step 'one' sets temperature", "'a:m'")
    other = Workflow("w")
    other.add(ask("two", model="b:free", fallback=["a:m"], temperature=0))
    assert check(other.freeze(), catalog).faults == ()


def test_more_tokens_than_the_model_can_answer_is_a_warning() -> None:
    wf = Workflow("w")
    wf.add(ask("one", max_tokens=5000))
    checked = check(wf.freeze(), shelf("a:m", capabilities=Capabilities(max_output_tokens=4096)))
    assert checked.faults == ()
    only(checked.warnings, "5000", "4096")


def test_a_payload_without_any_text_is_a_fault() -> None:
    wf = Workflow("w")
    wf.add(Payload("empty", model="a:m"))
    wf.add(Payload("fine", model="a:m", history=[Message("user", "hello")]))
    wf.returns([Ref("empty"), Ref("fine")])
    only(faults(wf), "Step 'empty' has no text to send")


def test_faults_inside_nested_workflows_have_their_path() -> None:
    inner = Workflow.of(ask("bad", model="a:other"), name="inner")
    middle = Workflow("middle")
    middle.add(inner, name="deep")
    outer = Workflow("outer")
    outer.add(middle, name="mid")
    only(faults(outer), "Step 'mid/deep/bad': there is no model 'a:other'")


def test_nesting_has_a_bound() -> None:
    def nested(depth: int) -> Workflow[Any]:
        wf = Workflow.of(ask("leaf"), name="w0")
        for level in range(1, depth):
            outer = Workflow(f"w{level}")
            outer.add(wf, name="inner")
            wf = outer
        return wf

    assert faults(nested(MAX_DEPTH)) == ()
    only(faults(nested(MAX_DEPTH + 1)), "more than 16 deep")


def test_limits_that_leave_nothing_are_faults() -> None:
    step = DraftStep("a", PayloadAction(ask("a")), {}, timeout=0)
    definition, _ = wire(Draft("w", None, steps=[step]))
    only(check(definition, None).faults, "Step 'a' has timeout=0")


def test_limits_of_functions_without_types_are_checked_too() -> None:
    async def work():  # type: ignore[no-untyped-def]  # that is the point
        return 1

    step = DraftStep("a", function_action(work), {}, timeout=-1)
    definition, _ = wire(Draft("w", None, steps=[step]))
    only(check(definition, None).faults, "Step 'a' has timeout=-1")


def test_first_of_different_types_may_be_read_as_either() -> None:
    wf = Workflow("w", on_error="skip")
    one, two = wf.add(ask("one", output=Facts)), wf.add(ask("two", output=dict[str, str]))
    wf.add(ask("end", "{{ x.anything }}"), x=first_of(one, two))
    assert faults(wf) == ()


def test_everything_is_found_at_once() -> None:
    wf, facts = with_facts()
    wf.add(ask("one", "{{ x }} {{ facts.titel }}", model="a:other"), x=facts["nope"])
    wf.add(ask("loop", "{{ loop_two }}"))
    wf.add(ask("loop-two", "{{ loop }}"))
    wf.returns([Ref("one"), Ref("loop-two")])
    definition, wiring_faults = wf.draft()
    found = (*wiring_faults, *check(definition, CATALOG).faults)
    for word in ("'nope'", "'titel'", "'a:other'", "wait for each other"):
        assert any(word in fault for fault in found), (word, found)


def test_warnings_of_nested_workflows_are_told() -> None:
    inner = Workflow("inner")
    inner.input("unused", str, default="")
    inner.add(ask("a"))
    outer = Workflow("outer")
    outer.add(inner, name="sub")
    only(check(outer.freeze(), CATALOG).warnings, "'unused'", "'inner'")


def test_a_text_binding_of_a_file_is_checked_like_a_block() -> None:
    from llmorch.definition.node import Filled

    filled = Filled("{{ facts.titel }}", (("facts", Ref("facts")),))
    draft = Draft("w", None, steps=[
        DraftStep("facts", PayloadAction(ask("facts", output=Facts)), {}),
        DraftStep("post", PayloadAction(ask("post", "{{ x }}")), {"x": filled}),
    ])  # fmt: skip
    definition, wiring_faults = wire(draft)
    assert not wiring_faults
    only(check(definition, None).faults, "Step 'post': 'x'", "'titel'")


@pytest.mark.parametrize("default", [None, []])
def test_an_optional_reference_is_still_checked(default: object) -> None:
    wf, facts = with_facts()
    wf.add(ask("post", "{{ x }}"), x=optional(facts["clams"], default=default))
    only(faults(wf), "'clams'")


def test_a_literal_beside_references_does_not_hide_them() -> None:
    wf, facts = with_facts()
    wf.add(ask("post", "{{ x }}"), x=[1, facts["clams"], {"deep": facts["titel"]}])
    assert len(faults(wf)) == 2
