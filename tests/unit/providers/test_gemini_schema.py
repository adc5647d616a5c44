"""JSON schemas in the dialect of Gemini."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
import pytest

from llmorch.providers._gemini_schema import answer_schema, tool_parameters


def prop(schema: Any, definitions: Any = None) -> Any:
    """What becomes of the schema of one property."""
    whole = {"type": "object", "properties": {"x": schema}, **({"$defs": definitions} if definitions else {})}
    return answer_schema(whole)["properties"]["x"]


UNIT = {"enum": ["c", "f"], "type": "string", "description": "a unit"}


def test_a_reference_alone_stays_and_one_with_company_is_copied_in() -> None:
    assert prop({"$ref": "#/$defs/U"}, {"U": UNIT}) == {"$ref": "#/$defs/U"}
    assert prop({"$ref": "#/$defs/U", "description": "mine"}, {"U": UNIT}) == {**UNIT, "description": "mine"}


def test_old_definitions_are_found_under_their_new_name() -> None:
    old = {"type": "object", "properties": {"x": {"$ref": "#/definitions/U"}}, "definitions": {"U": UNIT}}
    assert answer_schema(old) == {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/U"}},
        "$defs": {"U": UNIT},
    }


def test_a_reference_to_another_place_is_copied_in() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}}
    assert answer_schema(schema)["properties"]["b"] == {"type": "string"}


def test_a_root_that_is_a_reference_becomes_what_it_refers_to() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    made = answer_schema({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert made == {**node, "$defs": {"Node": node}}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"const": "a"}, {"enum": ["a"]}),
        ({"const": 5, "type": "integer"}, {"type": "integer", "enum": [5]}),
        ({"const": True}, {"type": "boolean"}),
        ({"const": None}, {"type": "null"}),
        ({"enum": ["a", None], "type": ["string", "null"]}, {"anyOf": [{"enum": ["a"]}, {"type": "null"}]}),
        ({"type": "string", "minLength": 1, "pattern": "^a", "default": "a"}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "email"}, {"type": "string"}),
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 9}, {"type": "integer", "minimum": 1}),
        (
            {"type": "object", "additionalProperties": {"const": 1}},
            {"type": "object", "additionalProperties": {"enum": [1]}},
        ),
        (
            {"type": "array", "items": {"type": "string", "pattern": "a"}},
            {"type": "array", "items": {"type": "string"}},
        ),
        (
            {"oneOf": [{"const": "a"}, {"type": "null"}], "discriminator": {}},
            {"oneOf": [{"enum": ["a"]}, {"type": "null"}]},
        ),
        (True, True),
    ],
)
def test_an_answers_schema_keeps_what_gemini_knows(given: Any, made: Any) -> None:
    assert prop(given) == made


def test_all_of_becomes_one_schema() -> None:
    both = {
        "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}],
        "title": "T",
    }
    a = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert prop(both, {"A": a}) == {
        "title": "T",
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }


def test_a_schema_that_says_nothing_is_left_out() -> None:
    assert answer_schema({}) == {}
    assert answer_schema({"$defs": {"A": {"type": "string"}}, "not": {}}) == {}


def test_what_pydantic_writes_can_be_said() -> None:
    class Item(pydantic.BaseModel):
        kind: Literal["a", "b"] = pydantic.Field(description="its kind")
        size: int | None = pydantic.Field(default=None, ge=0)

    class Answer(pydantic.BaseModel):
        items: list[Item]
        main: Item = pydantic.Field(description="the main one")
        by_name: dict[str, Item] = {}

    made = answer_schema(Answer.model_json_schema())
    assert made["properties"]["items"] == {"type": "array", "title": "Items", "items": {"$ref": "#/$defs/Item"}}
    assert made["properties"]["main"]["description"] == "the main one"
    assert made["properties"]["main"]["properties"]["kind"]["enum"] == ["a", "b"]
    assert made["required"] == ["items", "main"]
    assert "default" not in str(made)


def test_parameters_of_a_tool_are_sent_whole() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "a": {"type": "string", "minLength": 1, "default": "x"},
            "u": {"$ref": "#/$defs/U", "default": "c"},
        },
        "additionalProperties": False,
        "$defs": {"U": UNIT},
    }
    assert tool_parameters(schema) == {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": 1, "default": "x"}, "u": {**UNIT, "default": "c"}},
        "additionalProperties": False,
        "$defs": {"U": UNIT},
    }


def test_a_tool_without_parameters_has_none() -> None:
    assert tool_parameters({"type": "object", "properties": {}, "additionalProperties": False}) is None
    assert tool_parameters({}) is None
