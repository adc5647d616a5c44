"""A Script is a frozen value that opens and starts nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath
from typing import Any

import pytest
from pydantic import ValidationError

from llmorch.errors import ValueRefused
from llmorch.models.action import Action
from llmorch.models.script import Script

FULL = Script(
    "text/Count-Words.py",
    parameters={"fields": ["a"], "deep": {"b": [1, None]}},
    interpreter=["deno", "run"],
    timeout=timedelta(seconds=3),
    pure=True,
    env=["GITHUB_TOKEN"],
)


@pytest.mark.parametrize("script", [Script("count"), FULL, FULL.using(interpreter="node")])
def test_a_script_survives_a_round_trip(script: Script) -> None:
    assert Script.model_validate(script.model_dump()) == script
    assert Script.model_validate_json(script.model_dump_json()) == script
    assert hash(Script.model_validate(script.model_dump())) == hash(script)


def test_a_script_is_an_action_and_frozen_to_its_depth() -> None:
    assert isinstance(FULL, Action)
    with pytest.raises(ValidationError):
        FULL.pure = False  # type: ignore[misc]
    with pytest.raises(TypeError, match="frozen"):
        FULL.parameters["deep"]["b"] = 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("count_words", "count_words"),
        ("text/Count-Words.py", "count-words"),
        ("/srv/scripts/01 clean up.sh", "clean-up"),
        ("42.py", "script"),
        (PurePath("tools") / "x.rb", "x"),
    ],
)
def test_its_name_is_the_files_as_a_step_may_be_called(path: Any, name: str) -> None:
    assert Script(path).name == name


def test_the_timeout_is_seconds_or_a_timedelta() -> None:
    assert [Script("x").timeout_s, Script("x", timeout=5).timeout_s, FULL.timeout_s] == [60.0, 5.0, 3.0]


def test_using_changes_what_is_given_and_unsets_with_none() -> None:
    changed = FULL.using(path_or_name="other", interpreter=None, timeout=None)
    assert (changed.path_or_name, changed.interpreter, changed.timeout_s) == ("other", None, 60.0)
    assert (changed.parameters, changed.env) == (FULL.parameters, FULL.env)
    with pytest.raises(TypeError, match="Script has no field 'model'; it has path_or_name, parameters"):
        FULL.using(model="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timeout": 0}, "more than 0 seconds"),
        ({"env": "TOKEN"}, r"takes several: write \['TOKEN'\]"),
        ({"env": ["A=b"]}, "names of environment variables"),
        ({"interpreter": ""}, "names no program"),
        ({"interpreter": []}, "names no program"),
        ({"parameters": [1]}, "parameters"),
        ({"path_or_name": ""}, "at least 1 character"),
        ({"path_or_name": "a\0b"}, "NUL"),
        ({"extra": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Script.model_validate({"path_or_name": "x", **fields})


def test_parameters_are_data() -> None:
    with pytest.raises(ValueRefused, match="nan"):
        Script("x", parameters={"a": float("nan")})
