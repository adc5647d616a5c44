"""The plan counts the calls of judged checks, shows every check, and finds what types make impossible."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llmorch import Payload, Price, Workflow
from llmorch.checks import Assertion, Judged, RequiredFields, RequiredSteps, TimeBound
from llmorch.models.check import AnyCheck
from llmorch.planner.checks import check, unpriced
from llmorch.planner.plan import make_plan
from llmorch.planner.ranges import Range
from tests.unit.planner.make import Facts, ask, shelf

PRICED = shelf("a:m", "a:judge", price=Price(1, 10), default="a:m")


def reading(*checks: AnyCheck) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("read", checks=checks)
    workflow.input("article", str)
    workflow.add(ask("facts", "Facts of {{ article }}", output=Facts))
    return workflow.returns(workflow.add(ask("post", "A post of {{ facts.title }}")))


def test_a_judged_check_is_one_call_more_in_the_sums_and_a_row_of_its_own() -> None:
    plain = make_plan(reading().freeze(), PRICED)
    judged = make_plan(reading(Judged("It is short.", model="a:judge", name="short"), TimeBound(60)).freeze(), PRICED)
    (row, other) = judged.checks
    assert (row.path, row.kind, row.model, row.calls.likely) == ("~check/short", "judged", "a:judge", 1)
    assert (other.kind, other.calls.high) == ("time bound", 0)
    assert judged.calls.low == plain.calls.low + 1
    assert judged.tokens == plain.tokens + row.tokens
    assert judged.cost is not None
    assert plain.cost is not None
    assert row.cost is not None
    assert judged.cost == plain.cost + row.cost
    assert row.cost.likely > Decimal(0)
    assert judged.steps == plain.steps
    assert plain.checks == ()


def test_a_judge_whose_price_is_unknown_makes_the_sum_unknown() -> None:
    catalog = shelf("a:m", price=Price(1, 10))
    catalog.models["b:m"] = shelf("b:m").models["b:m"]
    definition = reading(Judged("It is short.", model="b:m", name="short")).freeze()
    assert make_plan(definition, catalog).cost is None
    (fault,) = unpriced(definition, catalog)
    assert fault.startswith("Step '~check/short': the price of 'b:m' is unknown")
    assert unpriced(reading(TimeBound(60)).freeze(), catalog) == ()


def test_a_longer_output_makes_a_dearer_judgement() -> None:
    def tokens(most: int) -> Range[int]:
        workflow: Workflow[Any] = Workflow("w", checks=[Judged("It is short.")])
        workflow.add(ask("post", max_tokens=most))
        return make_plan(workflow.freeze(), PRICED).checks[0].tokens

    assert tokens(1000).high > tokens(10).high


def test_the_printed_plan_lists_every_check() -> None:
    checks = (RequiredSteps("facts"), RequiredFields("title", step="facts"), Assertion("output != ''"), TimeBound(9))
    shown = str(make_plan(reading(*checks, Judged("It is short.")).freeze(), PRICED))
    rows = shown[shown.index("\nChecks\n") :].splitlines()[2:8]
    assert [row.split("  ")[1].strip() for row in rows] == [
        "check",
        "required steps: facts",
        "required fields of facts: title",
        "output != ''",
        "at most 9 s",
        "It is short.",
    ]
    assert "judged" in rows[5]
    assert "a:m" in rows[5]
    assert "\nChecks\n" not in str(make_plan(reading().freeze(), PRICED))


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (Assertion("results.facts.ttle != ''", name="c"), "'results.facts' has no field 'ttle'"),
        (Assertion("output.title != ''", name="c"), "'output' is text and has no field 'title'"),
        (
            RequiredFields("title", "claim", step="facts", name="c"),
            "wants 'claim' of 'facts', but the value has no field 'claim'",
        ),
        (
            RequiredFields("title", name="c"),
            "wants 'title' of the output, but the value is text and has no field 'title'",
        ),
        (Judged("As {{ results.facts.ttle }} says?", name="c"), "'results.facts' has no field 'ttle'"),
        (Judged("Good?", model="x:none", name="c"), "there is no model 'x:none'"),
    ],
    ids=["expression", "output", "fields of a step", "fields of the output", "criterion", "model"],
)
def test_what_cannot_be_is_a_fault_of_the_plan(found: AnyCheck, fault: str) -> None:
    (told,) = check(reading(found).freeze(), PRICED).faults
    assert told.startswith("Check 'c'")
    assert fault in told


def test_fields_that_a_type_has_and_items_of_lists_are_no_fault() -> None:
    checks = (RequiredFields("title", "claims.0", step="facts"), Assertion("results.facts.claims[0] != ''"))
    assert check(reading(*checks).freeze(), PRICED).faults == ()


def test_a_judge_without_a_model_is_a_fault_and_with_a_default_none() -> None:
    definition = reading(Judged("It is short.", name="short")).freeze()
    assert check(definition, shelf("a:m")).faults == (
        "Check 'short': no model is set; set LLMORCH_MODEL, or use offline",
    )
    assert check(definition, PRICED).faults == ()


def test_the_checks_of_a_workflow_that_is_a_step_are_said_not_to_be_asked() -> None:
    outer: Workflow[Any] = Workflow("outer")
    outer.add(reading(TimeBound(60)), name="inner")
    told = "the checks of 'read' are not asked where it is a step; give them to the outer workflow"
    assert make_plan(outer.freeze(), PRICED).warnings == (told,)
    assert make_plan(reading(TimeBound(60)).freeze(), PRICED).warnings == ()


def test_a_plan_of_unwired_checks_does_not_fail() -> None:
    workflow: Workflow[Any] = Workflow("w", checks=[Judged("Is {{ output"), Assertion("output ==")])
    workflow.add(Payload("post", "Post.", model="a:m"))
    definition, faults = workflow.draft()
    assert len(faults) == 2
    assert check(definition, PRICED).faults == ()
    assert len(make_plan(definition, PRICED).checks) == 2
