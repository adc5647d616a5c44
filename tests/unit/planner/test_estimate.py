"""Calls, tokens and dollars before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llmorch.definition.node import Ref, each, first_of, optional
from llmorch.models.block import Block
from llmorch.models.policy import Retry
from llmorch.planner.estimate import Forecast, forecast
from llmorch.planner.ranges import Range
from llmorch.pricing import Price
from llmorch.requests import Capabilities
from llmorch.workflow import Workflow
from tests.unit.planner.make import Facts, Shelf, ask, shelf

PRICED = shelf("a:m", price=Price(1, 10))


def estimated(workflow: Workflow[Any], known: dict[str, Any] | None = None, *, catalog: Shelf = PRICED) -> Forecast:
    return forecast(workflow.freeze(), catalog, known or {})


def calls(workflow: Workflow[Any], known: dict[str, Any] | None = None) -> dict[str, Range[int]]:
    taken = estimated(workflow, known)
    return {step.name: taken.steps[index].calls for index, step in enumerate(workflow.freeze().steps)}


def test_a_range_adds_and_prints() -> None:
    assert str(Range(1, 1, 1) + Range(1, 2, 4)) == "2-5 (likely 3)"
    assert str(Range(3, 3, 3)) == "3"
    assert str(Range(Decimal("0.00001"), Decimal("0.5"), Decimal(1234))) == "<0.0001-1,234.00 (likely 0.5000)"


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, 4),
        ({"retry": Retry(attempts=1)}, 1),
        ({"retry": Retry(attempts=2), "fallback": ["a:m", "a:m"]}, 6),
        ({"retry": Retry(attempts=1), "output": Facts, "output_retries": 2}, 3),
        ({"retry": Retry(attempts=3), "output": Facts, "output_retries": 1, "fallback": ["a:m"]}, 12),
        ({"retry": Retry(attempts=1), "output_retries": 5}, 1),
    ],
)
def test_most_calls_are_attempts_times_repairs_times_models(fields: dict[str, Any], most: int) -> None:
    assert calls(Workflow.of(ask("a", **fields), name="w")) == {"a": Range(1, 1, most)}


def test_functions_take_no_calls_and_no_money() -> None:
    def count() -> int:
        return 1

    wf = Workflow("w")
    wf.add(count)
    taken = estimated(wf)
    assert (taken.calls, taken.tokens, taken.cost) == (
        Range(0, 0, 0),
        Range(0, 0, 0),
        Range(Decimal(0), Decimal(0), Decimal(0)),
    )


def test_a_step_with_a_condition_may_take_nothing_and_so_may_those_that_read_it() -> None:
    wf = Workflow("w")
    wf.add(ask("a", retry=Retry(attempts=1)))
    wf.add(ask("b", retry=Retry(attempts=1)), when="a == 'yes'")
    wf.add(ask("c", "{{ b }}", retry=Retry(attempts=1)))
    wf.add(ask("d", "{{ x }}", retry=Retry(attempts=1)), x=optional(Ref("b")))
    wf.add(ask("e", "{{ x }}", retry=Retry(attempts=1)), x=first_of(Ref("b"), Ref("a")))
    wf.returns([Ref("c"), Ref("d"), Ref("e")])
    once, maybe = Range(1, 1, 1), Range(0, 1, 1)
    assert calls(wf) == {"a": once, "b": maybe, "c": maybe, "d": once, "e": once}


def test_a_map_over_a_given_list_is_as_wide_as_the_list() -> None:
    wf = Workflow("w")
    rows = wf.input("rows", list[str])
    first = wf.map(ask("first", "{{ row }}", retry=Retry(attempts=1)), row=each(rows))
    wf.map(ask("second", "{{ it }}", retry=Retry(attempts=2)), it=each(first))
    assert calls(wf, {"rows": ["a", "b", "c"]}) == {"first": Range(3, 3, 3), "second": Range(3, 3, 6)}
    assert estimated(wf, {"rows": []}).cost == Range(Decimal(0), Decimal(0), Decimal(0))


def test_a_map_over_a_literal_list_is_as_wide_as_the_list() -> None:
    wf = Workflow("w")
    wf.map(ask("a", "{{ x }}", retry=Retry(attempts=1)), x=each(["p", "q"]))
    assert calls(wf) == {"a": Range(2, 2, 2)}


def test_a_map_over_an_unknown_list_has_the_assumed_width() -> None:
    wf = Workflow("w")
    wf.map(ask("a", "{{ x }}", retry=Retry(attempts=1)), x=each(wf.input("rows", list[str])))
    assert calls(wf) == {"a": Range(0, 5, 50)}


def test_a_nested_workflow_takes_what_its_steps_take_once_for_each_item() -> None:
    inner = Workflow.of(
        ask("p", "{{ row }}", retry=Retry(attempts=2)), ask("q", "{{ p }}", retry=Retry(attempts=1)), name="in"
    )
    wf = Workflow("w")
    wf.map(inner, name="each-row", row=each(["a", "b", "c"]))
    assert calls(wf) == {"each-row": Range(6, 6, 9)}


def test_a_nested_workflow_that_may_give_nothing_may_skip_its_readers() -> None:
    inner = Workflow("in")
    inner.input("go", bool, default=True)
    inner.add(ask("maybe", retry=Retry(attempts=1)), when="go")
    wf = Workflow("w")
    wf.add(inner, name="sub")
    wf.add(ask("after", "{{ sub }}", retry=Retry(attempts=1)))
    assert calls(wf)["after"] == Range(0, 1, 1)


def test_a_prompt_that_is_wholly_known_is_measured_as_it_would_be_sent() -> None:
    short = Workflow.of(ask("a", "{{ text }}", max_tokens=10), name="w")
    low, high = estimated(short, {"text": "x" * 1000}), estimated(short, {"text": "x" * 2000})
    assert high.tokens.low - low.tokens.low == 200  # 1 000 characters at 5 each
    assert high.tokens.likely - low.tokens.likely == 250
    assert high.tokens.high - low.tokens.high == pytest.approx(333, abs=1)


def test_filters_count_when_a_prompt_is_known() -> None:
    wf = Workflow.of(ask("a", "{{ text | truncate_tokens(1) }}", max_tokens=10), name="w")
    assert estimated(wf, {"text": "x" * 10_000}).tokens.high < 50


def test_defaults_of_blocks_and_history_are_part_of_the_prompt() -> None:
    plain = Workflow.of(ask("a", "hello {{ who }}", max_tokens=10), name="w")
    block = Block("b", "hello {{ who }}", defaults={"who": "y" * 500})
    wf = Workflow("w")
    wf.add(ask("a", "x", max_tokens=10).using(blocks=[block]))
    assert estimated(wf).tokens.low - estimated(plain, {"who": ""}).tokens.low == 100


def test_max_tokens_bounds_the_answer() -> None:
    small = estimated(Workflow.of(ask("a", "x", max_tokens=20), name="w")).tokens
    large = estimated(Workflow.of(ask("a", "x", max_tokens=9000), name="w")).tokens
    assert large.high - small.high == 8980
    assert small.likely < large.likely


def test_the_models_own_bound_counts_where_none_is_set() -> None:
    bounded = shelf("a:m", price=Price(1, 1), capabilities=Capabilities(max_output_tokens=100))
    wf = Workflow.of(ask("a", "x"), name="w")
    assert estimated(wf, catalog=bounded).tokens.high < 150


def test_a_long_answer_makes_the_prompt_that_reads_it_long() -> None:
    def two(most: int) -> Forecast:
        wf = Workflow.of(ask("a", "x", max_tokens=most), ask("b", "{{ a }}", max_tokens=10), name="w")
        return estimated(wf)

    assert two(5000).steps[1].tokens.high - two(100).steps[1].tokens.high == 4900


def test_costs_are_input_and_output_at_their_prices() -> None:
    wf = Workflow.of(ask("a", "{{ text }}", max_tokens=1, retry=Retry(attempts=1)), name="w")
    taken = estimated(wf, {"text": "x" * 4_000_000})
    assert taken.cost is not None
    assert taken.cost.likely == pytest.approx(Decimal("1.000014"), abs=Decimal("0.00001"))
    assert taken.cost.low < taken.cost.likely < taken.cost.high


def test_an_unknown_price_anywhere_makes_the_whole_unknown() -> None:
    catalog = shelf("a:m", price=Price(1, 1))
    catalog.models["b:x"] = shelf("b:x").models["b:x"]
    assert estimated(Workflow.of(ask("a"), name="w"), catalog=catalog).cost is not None
    assert estimated(Workflow.of(ask("a", fallback=["b:x"]), name="w"), catalog=catalog).cost is None
    both = Workflow.of(ask("a"), ask("b", "{{ a }}", model="b:x"), name="w")
    taken = estimated(both, catalog=catalog)
    assert taken.cost is None
    assert taken.steps[0].cost is not None


def test_a_dearer_fallback_raises_only_the_highest_cost() -> None:
    catalog = shelf("a:m", price=Price(1, 1))
    catalog.models["b:x"] = shelf("b:x", price=Price(100, 100)).models["b:x"]
    plain, dear = (
        estimated(Workflow.of(ask("a", "x", fallback=hops), name="w"), catalog=catalog) for hops in ([], ["b:x"])
    )
    assert plain.cost is not None
    assert dear.cost is not None
    assert (plain.cost.low, plain.cost.likely) == (dear.cost.low, dear.cost.likely)
    assert dear.cost.high == plain.cost.high * 100


def test_repairs_of_structured_answers_are_billed_in_the_highest_figure_only() -> None:
    none, two = (estimated(Workflow.of(ask("a", "x", output=Facts, output_retries=n), name="w")) for n in (0, 2))
    assert none.tokens.likely == two.tokens.likely
    assert two.tokens.high > 3 * none.tokens.high  # three answers, and the later prompts hold the earlier ones


def test_only_one_answer_in_text_is_billed_however_many_fallbacks_there_are() -> None:
    one, many = (estimated(Workflow.of(ask("a", "x", fallback=["a:m"] * n), name="w")).tokens for n in (0, 3))
    assert one == many


def test_a_map_over_an_empty_list_costs_nothing_even_without_a_price() -> None:
    wf = Workflow("w")
    wf.map(ask("a", "{{ x }}"), x=each(wf.input("rows", list[str])))
    assert estimated(wf, {"rows": []}, catalog=shelf("a:m")).cost == Range(Decimal(0), Decimal(0), Decimal(0))
    assert estimated(wf, {"rows": ["x"]}, catalog=shelf("a:m")).cost is None


def test_a_workflow_with_a_cycle_still_has_an_estimate() -> None:
    wf = Workflow("w").returns(Ref("a"))
    wf.add(ask("a", "{{ b }}"))
    wf.add(ask("b", "{{ a }}"))
    assert estimated(wf).calls.likely == 2


def test_a_template_that_fails_on_the_given_values_still_has_an_estimate() -> None:
    wf = Workflow.of(ask("a", "{{ facts.title }}"), name="w")
    assert estimated(wf, {"facts": {"other": 1}}).calls == Range(1, 1, 4)
