"""Checks of a workflow: what they name must be there, and documents and stored definitions keep them."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import Block, Payload, Workflow, WorkflowInvalid
from llmorch.checks import Assertion, Judged, RequiredFields, RequiredSteps, TimeBound
from llmorch.definition.actions import WorkflowAction
from llmorch.definition.checks import CHECKS, judging
from llmorch.definition.names import fault_of_name
from llmorch.definition.stored import rebuilt, stored
from llmorch.models.check import AnyCheck

KINDS = "required_steps, time_bound, required_fields, assertion, judged"
ALL: tuple[AnyCheck, ...] = (
    RequiredSteps("facts", "the-post"),
    TimeBound(60),
    TimeBound(2.5, "facts", name="quick"),
    RequiredFields("title", step="facts"),
    Assertion("results['the-post'] != '' and execution_order | first == 'facts' and duration < 9 and status != ''"),
    Judged("It is about {{ inputs.topic }}, as {{ results.facts }} say.", model="a:m"),
    Judged("It is polite.", name="polite"),
)


def talk(*checks: AnyCheck, name: str = "talk") -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow(name, checks=checks)
    workflow.add(Payload("facts", Block("facts", "Facts about {{ topic }}.")))
    return workflow.returns(workflow.add(Payload("the-post", "A post of {{ facts }}.")))


def faults(*checks: AnyCheck) -> list[str]:
    with pytest.raises(WorkflowInvalid) as caught:
        talk(*checks).freeze()
    return list(caught.value.faults)


def test_checks_that_name_what_is_there_have_no_fault() -> None:
    assert talk(*ALL).freeze().checks == ALL


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (
            RequiredSteps("fact", name="c"),
            "names step 'fact', but there is no step of that name; did you mean 'facts'?",
        ),
        (
            TimeBound(1, "the-psot", name="c"),
            "names step 'the-psot', but there is no step of that name; did you mean 'the-post'?",
        ),
        (
            RequiredFields("a", step="facts2", name="c"),
            "names step 'facts2', but there is no step of that name; did you mean 'facts'?",
        ),
        (Assertion("otput != ''", name="c"), "reads 'otput', which checks do not know; did you mean 'output'?"),
        (
            Assertion("facts != ''", name="c"),
            "reads 'facts', which checks do not know; the value of that step is results.facts",
        ),
        (
            Assertion("topic != ''", name="c"),
            "reads 'topic', which checks do not know; the value of that input is inputs.topic",
        ),
        (
            Assertion("results.fact != ''", name="c"),
            "reads results['fact'], but there is no step of that name; did you mean 'facts'?",
        ),
        (
            Judged("About {{ inputs.topics }}?", name="c"),
            "reads inputs['topics'], but there is no input of that name; did you mean 'topic'?",
        ),
        (
            Judged("In {{ duration }} s?", name="c"),
            "reads 'duration', which checks do not know; there are 'output', 'inputs', 'results'",
        ),
    ],
    ids=lambda given: type(given).__name__ if not isinstance(given, str) else "",
)
def test_a_name_that_is_not_there_is_a_fault(check: AnyCheck, fault: str) -> None:
    assert faults(check) == [f"Check 'c' {fault}"]


def test_a_text_that_does_not_parse_is_a_fault() -> None:
    (first, second) = faults(Assertion("output ==", name="a"), Judged("Is {{ output }", name="b"))
    assert first.startswith("Check 'a': 'output ==': ")
    assert second.startswith("Check 'b': 'Is {{ output }': ")


def test_an_expression_can_reach_no_code() -> None:
    assert any("call" in fault for fault in faults(Assertion("output.__class__() != ''")))


def test_two_checks_of_one_name_are_a_fault() -> None:
    assert faults(TimeBound(60), TimeBound(60)) == [
        "Workflow 'talk' has 2 checks named 'at most 60 s'; name them apart with name="
    ]


def test_all_faults_come_together_with_those_of_steps() -> None:
    workflow: Workflow[Any] = Workflow("talk", checks=[RequiredSteps("nonesuch")])
    workflow.add(Payload("facts", "Facts."), when="nobody == 1")
    with pytest.raises(WorkflowInvalid) as caught:
        workflow.freeze()
    assert len(caught.value.faults) == 2


def test_a_document_says_checks_shortly_and_gives_them_back() -> None:
    document = talk(*ALL).to_dict()
    assert document["checks"][:4] == [
        {"required_steps": ["facts", "the-post"]},
        {"time_bound": 60.0},
        {"time_bound": 2.5, "step": "facts", "name": "quick"},
        {"required_fields": ["title"], "step": "facts"},
    ]
    assert document["checks"][6] == {"judged": "It is polite.", "name": "polite"}
    again = Workflow.from_dict(document)
    assert again.freeze().checks == ALL
    assert again.to_dict() == document
    assert Workflow.from_yaml(talk(*ALL).to_yaml()).to_dict() == document
    assert "checks" not in talk().to_dict()


def test_a_name_that_is_none_of_its_own_is_written() -> None:
    assert talk(TimeBound(60, name="60 s")).to_dict()["checks"] == [{"time_bound": 60.0, "name": "60 s"}]


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("quick", "checks[0]: 'quick' stands where a mapping belongs"),
        ({"name": "x"}, f"checks[0]: a check has exactly one of {KINDS}; this has none"),
        (
            {"judged": "a", "assertion": "b"},
            f"checks[0]: a check has exactly one of {KINDS}; this has assertion and judged",
        ),
        ({"time_bound": 1, "steps": "facts"}, "checks[0]: unknown key 'steps'; did you mean 'step'?"),
        ({"time_bound": -1}, "checks[0]: time_bound: Input should be greater than 0"),
        ({"judged": "It is polite.", "model": 3}, "checks[0]: model: Input should be a valid string"),
        (
            {"required_steps": ["fact"], "name": "c"},
            "Check 'c' names step 'fact', but there is no step of that name; did you mean 'facts'?",
        ),
    ],
)
def test_a_fault_in_a_document_is_told_with_its_place(check: object, fault: str) -> None:
    document = {**talk().to_dict(), "checks": [check]}
    with pytest.raises(WorkflowInvalid) as caught:
        Workflow.from_dict(document)
    assert list(caught.value.faults) == [fault]


def test_a_list_of_checks_is_a_list() -> None:
    with pytest.raises(WorkflowInvalid, match="stands where a list belongs"):
        Workflow.from_dict({**talk().to_dict(), "checks": "none"})


def test_a_stored_definition_keeps_its_checks_and_changes_its_sha() -> None:
    definition = talk(*ALL).freeze()
    sha, body = stored(definition)
    assert rebuilt(body, [], sha=sha).checks == ALL
    assert sha != stored(talk().freeze())[0]
    assert "checks" not in stored(talk().freeze())[1]["workflow"]


def test_a_changed_copy_keeps_its_checks() -> None:
    workflow = talk(*ALL)
    assert workflow.replace("facts", Payload("other", "Other facts about {{ topic }}.")).freeze().checks == ALL
    outer: Workflow[Any] = Workflow("outer")
    outer.add(workflow, name="inner")
    (step,) = outer.with_block(Block("facts", "Other facts about {{ topic }}.")).freeze().steps
    assert isinstance(step.action, WorkflowAction)
    assert step.action.definition.checks == ALL


def test_each_judged_check_is_one_payload_that_reads_only_what_it_names() -> None:
    hidden = judging(talk(*ALL).freeze())
    assert hidden is not None
    assert [(step.name, sorted(step.bindings)) for step in hidden.steps] == [
        (ALL[5].name, ["inputs", "output", "results"]),
        ("polite", ["output"]),
    ]
    assert judging(talk(TimeBound(1)).freeze()) is None


def test_no_step_of_a_workflow_can_have_the_path_of_a_check() -> None:
    assert fault_of_name(CHECKS, what="Step") is not None
    assert fault_of_name(CHECKS.rstrip("/"), what="Step") is not None
