"""Questions and approvals are values: refused at once when they cannot be, and the same after a round trip."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError

from llmorch import Approval, Question, TemplateError
from llmorch.models.question import APPROVAL_SCHEMA, is_granted
from llmorch.schema import validate


class Card(BaseModel):
    title: str


ALL: list[Question[Any]] = [
    Question("Who?"),
    Question("Publish {{ title }}?", answer=bool, name="publish"),
    Question("Which?", answer=Literal["a", "b"]),
    Question("What?", answer=Card),
    Question("What?", answer=list[int] | None),
    Question("What?", answer={"type": "object", "properties": {"n": {"type": "integer"}}}),
]


@pytest.mark.parametrize("question", ALL, ids=lambda question: repr(question.answer))
def test_a_question_is_the_same_after_a_round_trip(question: Question[Any]) -> None:
    again = Question.model_validate(question.model_dump())
    assert again == question
    assert hash(again) == hash(question)


@pytest.mark.parametrize("question", ALL, ids=lambda question: repr(question.answer))
def test_in_json_a_question_keeps_what_an_answer_must_be(question: Question[Any]) -> None:
    again: Question[Any] = Question.model_validate_json(question.model_dump_json())
    assert again.schema_data == question.schema_data
    assert (again.text, again.name) == (question.text, question.name)


def test_a_question_renders_its_text_and_names_what_it_reads() -> None:
    question = Question("Keep {{ item }} of {{ all.count }}?", answer=bool)
    assert question.variables == {"item", "all"}
    assert question.render(item="{{ x }}", all={"count": 3}) == "Keep {{ x }} of 3?"
    with pytest.raises(TemplateError, match="needs 'all', 'item'; pass what it reads by name"):
        question.render()


@pytest.mark.parametrize("text", ["", "{{ open", "{% endif %}"])
def test_a_text_that_is_no_template_is_refused(text: str) -> None:
    with pytest.raises((TemplateError, ValidationError)):
        Question(text)


@pytest.mark.parametrize("answer", [object(), 3, lambda: 1])
def test_what_no_answer_can_be_is_refused(answer: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Question("What?", answer=answer)


def test_a_question_is_frozen_and_takes_nothing_else() -> None:
    question = Question("Who?")
    with pytest.raises(ValidationError):
        question.text = "What?"
    with pytest.raises(ValidationError):
        Question.model_validate({"text": "Who?", "more": 1})


def test_an_approval_is_a_value() -> None:
    assert Approval(approved=True) == Approval(approved=True, note="")
    assert hash(Approval(approved=True)) == hash(Approval.model_validate({"approved": True}))
    assert Approval.model_validate(Approval(approved=False, note="n").model_dump()) == Approval(
        approved=False, note="n"
    )
    with pytest.raises(ValidationError):
        Approval.model_validate({"note": "no word on it"})
    with pytest.raises(ValidationError):
        Approval.model_validate({"approved": True, "by": "me"})


@pytest.mark.parametrize(
    ("said", "granted"),
    [
        (True, (True, "")),
        (False, (False, "")),
        ({"approved": True}, (True, "")),
        ({"approved": True, "note": "fine"}, (True, "fine")),
        ({"approved": False, "note": "too dear"}, (False, "too dear")),
        (None, (False, "")),
        ("true", (False, "")),
        (1, (False, "")),
        ({}, (False, "")),
        ({"approved": 1}, (False, "")),
    ],
)
def test_only_a_plain_yes_allows_a_tool(said: Any, granted: tuple[bool, str]) -> None:
    assert is_granted(said) == granted


def test_the_schema_of_a_grant_takes_what_is_granted_or_not_and_nothing_else() -> None:
    for said in (True, False, {"approved": True}, {"approved": False, "note": "no"}):
        assert validate(APPROVAL_SCHEMA, said) == said
    for said in ("yes", 1, None, {}, {"approved": "yes"}, {"approved": True, "by": "me"}):
        with pytest.raises(ValueError):
            validate(APPROVAL_SCHEMA, said)
