"""JSON schemas in the dialect of Claude's structured outputs."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from llmorch.providers._anthropic_schema import closed


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str = Field(max_length=5, description="What it is called.")


class Dog(BaseModel):
    kind: Literal["dog"]
    born: date


class House(BaseModel):
    pets: list[Cat | Dog] = Field(min_length=1)
    rooms: list[int] = Field(min_length=3)
    colour: Colour = Colour.RED
    owner: Optional[str] = None  # noqa: UP045  # as users write it


def test_every_object_is_closed_and_what_cannot_be_said_stands_in_the_description() -> None:
    made = closed(House.model_json_schema())
    assert made is not None
    assert (made.optional, made.unions) == (2, 2)
    assert made.schema["$defs"]["Cat"] == {
        "type": "object",
        "title": "Cat",
        "properties": {
            "kind": {"const": "cat", "title": "Kind"},
            "name": {"type": "string", "title": "Name", "description": 'What it is called.\n\n{"maxLength":5}'},
        },
        "required": ["kind", "name"],
        "additionalProperties": False,
    }
    assert made.schema["$defs"]["Dog"]["properties"]["born"] == {"type": "string", "format": "date", "title": "Born"}
    assert made.schema["$defs"]["Colour"] == {"enum": ["red", "blue"], "title": "Colour"}
    properties = made.schema["properties"]
    assert properties["pets"]["minItems"] == 1
    assert properties["rooms"] == {
        "type": "array",
        "items": {"type": "integer"},
        "title": "Rooms",
        "description": '{"minItems":3}',
    }
    assert properties["owner"] == {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "Owner"}
    assert made.schema["required"] == ["pets", "rooms"]


def test_a_reference_at_the_root_is_put_in_its_place() -> None:
    made = closed({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}}}})
    assert made is not None
    assert made.schema["type"] == "object"


def test_several_types_become_a_union() -> None:
    made = closed({"type": ["string", "null"], "maxLength": 3, "description": "A word."})
    assert made is not None
    assert made.schema == {
        "anyOf": [{"type": "string", "description": '{"maxLength":3}'}, {"type": "null"}],
        "description": "A word.",
    }


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True},
        {"type": "object", "properties": []},
        {"type": "array"},
        {"type": "array", "items": {"type": "string"}, "prefixItems": [{"type": "string"}]},
        {"type": "string", "not": {"const": "x"}},
        {"enum": [[1]]},
        {"enum": []},
        {"anyOf": []},
        {"anyOf": 3},
        {"allOf": [{"type": "string"}, {"minLength": 3}]},
        {"type": "unheard-of"},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/$defs/Gone", "$defs": {}},
        {
            "$defs": {"Tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}}},
            "$ref": "#/$defs/Tree",
        },
    ],
)
def test_what_the_dialect_cannot_say_is_not_said(schema: dict[str, Any]) -> None:
    assert closed(schema) is None
