"""Schemas arrive at Ollama in the form it reads."""

from __future__ import annotations

from typing import Any

from llmorch.providers._ollama_schema import answer_schema, tool_schema

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def test_what_a_reference_names_stands_in_its_place() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "where": {"$ref": "#/$defs/Place", "description": "Of the concert."},
            "also": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            "or": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        },
        "$defs": {"Place": PLACE},
    }
    assert tool_schema(schema) == {
        "type": "object",
        "properties": {
            "where": {**PLACE, "description": "Of the concert."},
            "also": {"type": "array", "items": PLACE},
            "or": {"anyOf": [PLACE, {"type": "null"}]},
        },
    }


def test_a_schema_that_holds_itself_keeps_the_reference_and_its_definition() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    made = tool_schema({"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}})
    assert made["properties"]["first"] == node
    assert made["$defs"]["Node"]["properties"]["next"] == {"$ref": "#/$defs/Node"}


def test_references_that_would_grow_without_bound_stay_as_they_are() -> None:
    definitions: dict[str, Any] = {
        f"L{level}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/L{level + 1}"} for side in "ab"}}
        for level in range(30)
    }
    definitions["L30"] = {"type": "string"}
    schema = {"type": "object", "properties": {"top": {"$ref": "#/$defs/L0"}}, "$defs": definitions}
    assert tool_schema(schema) == schema


def test_a_tool_without_arguments_has_the_schema_of_none() -> None:
    assert tool_schema({}) == {"type": "object", "properties": {}}


def test_a_reference_to_nothing_is_left_alone() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Nothing"}, "b": {"$ref": "other.json"}}}
    assert tool_schema(schema) == schema


def test_patterns_are_left_out_of_an_answer_but_not_what_is_named_like_them() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "pattern": {"type": "string", "pattern": r"^\d+$"},
            "list": {"type": "array", "items": {"type": "string", "pattern": "x"}},
            "kind": {"const": {"pattern": "kept"}},
        },
        "$defs": {"A": {"anyOf": [{"type": "string", "pattern": "y", "minLength": 1}]}},
        "required": ["pattern"],
    }
    assert answer_schema(schema) == {
        "type": "object",
        "properties": {
            "pattern": {"type": "string"},
            "list": {"type": "array", "items": {"type": "string"}},
            "kind": {"const": {"pattern": "kept"}},
        },
        "$defs": {"A": {"anyOf": [{"type": "string", "minLength": 1}]}},
        "required": ["pattern"],
    }
    assert schema["properties"]["pattern"]["pattern"] == r"^\d+$", "the caller's schema was changed"
