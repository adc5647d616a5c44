"""A schema goes out in OpenAI's strict dialect where it can be said in it, and as it is where not."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from llmorch.providers._chat_schema import response_format, strict_parameters


class Part(BaseModel):
    text: str = Field(min_length=1, default="x")
    weight: float | None = None


class Whole(BaseModel):
    """A whole."""

    title: str
    parts: list[Part]
    kind: Literal["a", "b"] = "a"
    inner: Part


class Tree(BaseModel):
    name: str
    children: list[Tree]


def sent(schema: dict[str, Any]) -> tuple[dict[str, Any], bool, bool]:
    shape, wrapped = response_format(schema)
    return shape["json_schema"]["schema"], shape["json_schema"]["strict"], wrapped


def objects_in(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for item in schema for found in objects_in(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for item in schema.values() for found in objects_in(item)]


@pytest.mark.parametrize("model", [Whole, Tree])
def test_every_object_is_closed_and_wants_all_its_properties(model: type[BaseModel]) -> None:
    schema, strict, wrapped = sent(model.model_json_schema())
    assert strict
    assert not wrapped
    assert objects_in(schema)
    for found in objects_in(schema):
        assert found["additionalProperties"] is False
        assert found["required"] == list(found["properties"])


def test_keywords_the_dialect_does_not_know_are_left_out() -> None:
    schema, _, _ = sent(Whole.model_json_schema())
    text = schema["$defs"]["Part"]["properties"]["text"]
    assert text == {"type": "string", "title": "Text"}


def test_nothing_stands_beside_a_reference() -> None:
    schema, _, _ = sent(
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A", "description": "d"}},
            "$defs": {"A": {"type": "string"}},
        }
    )
    assert schema["properties"]["a"] == {"$ref": "#/$defs/A"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{"type": "string"}]}}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "patternProperties": {"a": {"type": "string"}}, "properties": {}},
    ],
)
def test_what_the_dialect_cannot_say_goes_as_it_is(schema: dict[str, Any]) -> None:
    made, strict, _ = sent(schema)
    assert not strict
    assert made == schema


@pytest.mark.parametrize("output", [list[str], Literal["a", "b"], int, list[Part], int | str])
def test_what_is_no_object_goes_inside_one(output: Any) -> None:
    schema, strict, wrapped = sent(TypeAdapter(output).json_schema())
    assert wrapped
    assert strict
    assert schema["type"] == "object"
    assert schema["required"] == ["value"]


def test_the_given_schema_is_not_changed() -> None:
    given = Whole.model_json_schema()
    response_format(given)
    assert given == Whole.model_json_schema()


def test_a_title_becomes_a_name_the_api_takes() -> None:
    shape, _ = response_format({"type": "object", "properties": {}, "title": "Facts[of a kind]"})
    assert shape["json_schema"]["name"] == "Facts_of_a_kind_"


def test_arguments_are_strict_only_where_nothing_may_be_left_out() -> None:
    whole: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}},
        "required": ["a"],
    }
    made = strict_parameters(whole)
    assert made is not None
    assert [found["additionalProperties"] for found in objects_in(made)] == [False, False]
    whole["properties"]["a"]["required"] = []
    assert strict_parameters(whole) is None


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"type": "object"},
        {"type": "object", "properties": None},
        {"type": "object", "properties": {"a": {"allOf": 3}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"anyOf": 3}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": 3},
        {"$ref": "#/$defs/x"},
    ],
)
def test_arguments_that_cannot_be_said_strictly_stay_as_they_are(schema: dict[str, Any]) -> None:
    assert strict_parameters(schema) is None
