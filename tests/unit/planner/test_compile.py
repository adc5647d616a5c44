"""Counters, slots, selections and resolvers: a definition as the executor wants it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.definition.functions import function_action
from llmorch.definition.node import (
    DictOf,
    Each,
    Filled,
    FirstN,
    FirstOf,
    ListOf,
    Literal,
    Optional,
    Ref,
    each,
    first_n,
    first_of,
)
from llmorch.definition.wiring import Draft, DraftStep, wire
from llmorch.errors import StepError, TemplateError
from llmorch.planner.compile import Compiled, compiled
from llmorch.planner.resolve import LOST, SKIPPED, Broken, lenient, resolver
from llmorch.workflow import Workflow
from tests.unit.planner.make import ask


async def _nothing() -> int:
    return 0


def order(made: Compiled) -> list[str]:
    return [made.steps[index].name for index in made.order]


def test_a_definition_is_compiled_once() -> None:
    definition = Workflow.of(ask("a"), name="w").freeze()
    assert compiled(definition) is compiled(definition)


def test_in_degrees_count_steps_once_however_often_they_are_read() -> None:
    wf = Workflow("w")
    wf.input("x", str)
    wf.add(ask("a", "{{ x }}"))
    wf.add(ask("b", "{{ a }} {{ again }} {{ x }}"), again=Ref("a"), when="a != ''", after=["a"])
    made = compiled(wf.freeze())
    assert made.in_degree == [0, 1]
    assert made.steps[0].dependents == [1]


def test_inputs_come_before_steps_among_the_slots() -> None:
    wf = Workflow("w")
    wf.add(ask("a", "{{ x }}"))
    assert compiled(wf.freeze()).slots == {"x": 0, "a": 1}


def test_a_whole_slot_needs_no_resolver_and_a_part_has_one() -> None:
    wf = Workflow("w")
    a = wf.add(ask("a"))
    wf.add(ask("b", "{{ whole }} {{ part }} {{ fixed }}"), whole=a, part=a["x"], fixed=3)
    (fixed, part, whole) = compiled(wf.freeze()).steps[1].args
    assert (whole[0], whole[1], whole[2]) == ("whole", 0, None)
    assert part[2] is not None
    assert part[2]([{"x": 5}]) == 5
    assert fixed[2] is not None
    assert fixed[2]([]) == 3


def test_a_selection_is_one_node_for_all_who_share_it() -> None:
    wf = Workflow("w", on_error="skip")
    a, b = wf.add(ask("a")), wf.add(ask("b"))
    either = first_of(a, b)
    wf.add(ask("c", "{{ x }}"), x=either)
    wf.add(ask("d", "{{ x }}"), x=first_of(a, b))
    wf.returns([Ref("c"), Ref("d")])
    made = compiled(wf.freeze())
    assert len(made.selections) == 1
    assert made.selections[0].dependents == [2, 3]
    assert made.selections[0].n is None
    assert made.steps[0].selections == made.steps[1].selections == (0,)
    assert made.in_degree == [0, 0, 1, 1]
    assert order(made) == ["a", "b", "c", "d"]


def test_only_steps_that_nothing_else_needs_are_expendable() -> None:
    wf = Workflow("w", on_error="skip")
    nodes = [wf.add(ask(name)) for name in ("a", "b", "c", "d")]
    wf.add(ask("reader", "{{ c }}"))
    wf.add(ask("end", "{{ x }}"), x=first_n(nodes, 2, cancel_rest=True))
    wf.returns({"end": Ref("end"), "d": Ref("d"), "r": Ref("reader")})
    made = compiled(wf.freeze())
    assert [made.steps[index].name for index in made.selections[0].expendable] == ["a", "b"]
    assert [step.name for step in made.steps if step.cancellable] == ["a", "b"]


def test_a_step_that_two_selections_may_take_is_not_expendable() -> None:
    wf = Workflow("w", on_error="skip")
    a, b = wf.add(ask("a")), wf.add(ask("b"))
    wf.add(ask("one", "{{ x }}"), x=first_n([a, b], 1, cancel_rest=True))
    wf.add(ask("two", "{{ x }}"), x=first_of(b, a))
    wf.returns([Ref("one"), Ref("two")])
    assert compiled(wf.freeze()).selections[0].expendable == []


def test_without_cancel_rest_nothing_is_expendable() -> None:
    wf = Workflow("w", on_error="skip")
    nodes = [wf.add(ask(name)) for name in ("a", "b")]
    wf.add(ask("end", "{{ x }}"), x=first_n(nodes, 1))
    made = compiled(wf.freeze())
    assert made.selections[0].expendable == []


def test_a_cycle_makes_the_order_shorter_than_the_steps() -> None:
    wf = Workflow("w").returns(Ref("c"))
    wf.add(ask("a", "{{ b }}"))
    wf.add(ask("b", "{{ a }}"))
    wf.add(ask("c"))
    assert order(compiled(wf.freeze())) == ["c"]


def test_a_cycle_through_a_selection_is_seen() -> None:
    wf = Workflow("w", on_error="skip").returns(Ref("a"))
    wf.add(ask("a", "{{ x }}"), x=first_of(Ref("b"), Ref("c")))
    wf.add(ask("b", "{{ a }}"))
    wf.add(ask("c"))
    assert order(compiled(wf.freeze())) == ["c"]


def test_names_that_nothing_has_do_not_stop_compiling() -> None:
    wf = Workflow("w")
    wf.add(ask("a", "{{ x }} {{ y }}"), x=Ref("gone"), y=first_of(Ref("gone")))
    definition, faults = wf.draft()
    assert len(faults) == 2
    assert order(compiled(definition)) == ["a"]


def test_the_names_of_a_map_that_take_items_are_known() -> None:
    wf = Workflow("w")
    wf.map(ask("a", "{{ x }} {{ y }} {{ z }}"), x=each([1]), y=each([2]), z=3)
    assert set(compiled(wf.freeze()).steps[0].each) == {"x", "y"}


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), min_size=1, max_size=25))
def test_the_order_puts_each_step_after_all_it_waits_for(waits: list[set[int]]) -> None:
    action = function_action(_nothing)
    steps = [
        DraftStep(
            f"s{at}", action, {}, after=tuple(Ref[Any](f"s{other % at}") for other in sorted(before)) if at else ()
        )
        for at, before in enumerate(waits)
    ]
    definition, faults = wire(Draft("w", None, steps=steps[::-1], output=Ref("s0")))
    assert not faults
    made = compiled(definition)
    place = {name: at for at, name in enumerate(order(made))}
    assert len(place) == len(steps)
    for step in steps:
        for before in step.after:
            assert place[before.source] < place[step.name]


# Resolvers ---------------------------------------------------------------------------------------------------------

SLOTS: dict[object, int] = {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("binding", "values", "expected"),
    [
        (Literal([1]), [], [1]),
        (Ref("a"), [7], 7),
        (Ref("a", ("x", 0)), [{"x": ["deep"]}], "deep"),
        (Ref("a", (-1,)), [[1, 2]], 2),
        (Ref("a"), [SKIPPED], SKIPPED),
        (Ref("a", ("x",)), [LOST], LOST),
        (Optional(Ref("a"), "d"), [SKIPPED], "d"),
        (Optional(Ref("a"), "d"), [LOST], "d"),
        (Optional(Ref("a"), "d"), [None], None),
        (Each(Ref("a")), [[1, 2]], [1, 2]),
        (ListOf((Ref("a"), Literal(2))), [1], [1, 2]),
        (ListOf((Ref("a"), Ref("b"))), [1, SKIPPED], SKIPPED),
        (ListOf((Ref("a"), Ref("b"))), [SKIPPED, LOST], LOST),
        (ListOf((Ref("a"), Optional(Ref("b")))), [1, SKIPPED], [1, None]),
        (DictOf((("x", Ref("a")), ("y", Literal(0)))), [1], {"x": 1, "y": 0}),
        (DictOf((("x", Ref("a")),)), [LOST], LOST),
        (Filled("<{{ a }}>", (("a", Ref("a")),)), ["hi"], "<hi>"),
        (Filled("<{{ a.x }}>", (("a", Ref("a")),)), [{"x": [1]}], "<[1]>"),
        (Filled("<{{ a }}>", (("a", Ref("a")),)), [SKIPPED], SKIPPED),
    ],
)
def test_a_binding_gives_its_value_or_how_it_was_skipped(binding: Any, values: list[Any], expected: object) -> None:
    assert resolver(binding, SLOTS)(values) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"title": 1}, "a has no 'titel'; did you mean 'title'?"),
        ([1, 2], "a is a list of 2; it has no 'titel'"),
        (3, "a is int, not an object or list"),
    ],
)
def test_a_missing_part_says_what_there_is(value: object, words: str) -> None:
    with pytest.raises(StepError) as caught:
        resolver(Ref("a", ("titel",)), SLOTS)([value])
    assert words in str(caught.value)


def test_a_selection_that_chose_a_value_without_the_part_raises_its_error() -> None:
    slots: dict[object, int] = {**SLOTS, FirstOf((Ref("a"),)): 2, FirstN((Ref("a"),), 1): 3}
    with pytest.raises(StepError, match="no such part"):
        resolver(FirstOf((Ref("a"),)), slots)([0, 0, Broken(StepError("no such part")), 0])
    assert resolver(FirstN((Ref("a"),), 1), slots)([0, 0, 0, [5]]) == [5]


def test_a_text_binding_that_cannot_be_filled_is_a_template_error() -> None:
    with pytest.raises(TemplateError):
        resolver(Filled("{{ a.x }}", (("a", Ref("a")),)), SLOTS)([{}])


def test_an_output_leaves_skipped_parts_out_of_lists_and_makes_them_none_in_dicts() -> None:
    binding = DictOf((("x", Ref("a")), ("list", ListOf((Ref("a"), Ref("b"))))))
    assert lenient(binding, SLOTS)([SKIPPED, 1]) == {"x": None, "list": [1]}


def test_an_output_is_a_copy() -> None:
    inner = [1]
    given_out = lenient(Ref("a"), SLOTS)([inner])
    given_out.append(2)
    assert inner == [1]
