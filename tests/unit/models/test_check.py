"""Checks are values: what they say is refused at once when it cannot be, and is the same after a round trip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

import llmorch.checks
from llmorch import Workflow
from llmorch.checks import Assertion, Check, Judged, RequiredFields, RequiredSteps, TimeBound
from llmorch.models.check import AnyCheck, own_name_of

ALL: list[AnyCheck] = [
    RequiredSteps("facts", "post"),
    TimeBound(timedelta(minutes=1)),
    TimeBound(2.5, "post", name="quick"),
    RequiredFields("title", "author.name", step="post"),
    Assertion("results.post != ''"),
    Judged("It is polite.", model="a:m", name="polite"),
]


@pytest.mark.parametrize("check", ALL, ids=lambda check: type(check).__name__)
def test_a_check_is_the_same_after_a_round_trip(check: AnyCheck) -> None:
    again = type(check).model_validate(check.model_dump())
    assert again == check
    assert hash(again) == hash(check)
    assert isinstance(check, Check)


def test_a_check_is_named_after_what_it_says() -> None:
    assert [check.name for check in ALL] == [
        "required steps: facts, post",
        "at most 60 s",
        "quick",
        "required fields of post: title, author.name",
        "results.post != ''",
        "polite",
    ]
    assert own_name_of(TimeBound(2.5, "post", name="quick")) == "post: at most 2.5 s"


def test_a_name_made_of_a_long_text_is_one_short_line() -> None:
    name = Judged("It is\npolite " + "and kind " * 30).name
    assert name.startswith("It is polite and kind")
    assert len(name) == 100
    assert name.endswith("...")


@pytest.mark.parametrize(
    "make",
    [
        lambda: RequiredSteps(),
        lambda: RequiredSteps(3),  # type: ignore[arg-type]  # refused at run time, too
        lambda: RequiredSteps(""),
        lambda: TimeBound(0),
        lambda: TimeBound(float("nan")),
        lambda: TimeBound("soon"),  # type: ignore[arg-type]  # as above
        lambda: RequiredFields(),
        lambda: RequiredFields("author..name"),
        lambda: Assertion("  "),
        lambda: Judged(""),
        lambda: Judged("It is polite.", model=""),
        lambda: Judged("It is polite.", name="two\nlines"),
        lambda: Judged("It is polite.", name="x" * 201),
    ],
)
def test_a_wrong_check_is_refused_when_it_is_made(make: Callable[[], AnyCheck]) -> None:
    with pytest.raises(ValidationError):
        make()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["output != ''"], r"checks= takes RequiredSteps, .* of llmorch\.checks, not str"),
        ([Assertion], r"checks= takes RequiredSteps, .* of llmorch\.checks, not ModelMetaclass"),
        (Assertion("true"), r"checks= takes several: write \[Assertion\("),
        (None, "checks= takes several"),
    ],
)
def test_what_is_no_check_is_refused(given: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        Workflow("w", checks=given)


def test_the_public_module_has_what_it_names() -> None:
    assert {getattr(llmorch.checks, name).__name__ for name in llmorch.checks.__all__} == set(llmorch.checks.__all__)
    assert dir(llmorch.checks) == sorted(llmorch.checks.__all__)
