"""Types as JSON schemas, data as values of types, and walking schemas by path."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from llmorch import schema
from llmorch.models.values import freeze


class Claim(BaseModel):
    text: str
    score: float | None = None


class Facts(BaseModel):
    title: str
    claims: list[Claim]
    when: date | None = None


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Aliased(BaseModel):
    some_name: int = Field(alias="someName")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    pair: tuple[int, int]


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int


class Row(TypedDict):
    a: int


CLAIM = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "tp",
    [
        str,
        int,
        Facts,
        list[str],
        Literal["a"],
        int | None,
        Point,
        Row,
        Color,
        dict[str, Any],
        None,
        Any,
        {"type": "string"},
    ],
)
def test_a_type_of_data_is_given_back(tp: Any) -> None:
    assert schema.check_type(tp) is tp


@pytest.mark.parametrize("tp", [object(), "NoSuchType", lambda: 1, threading.Lock])
def test_what_is_no_type_of_data_is_refused_with_a_remedy(tp: Any) -> None:
    with pytest.raises(TypeError, match="use a pydantic model, a dataclass"):
        schema.check_type(tp)


def test_a_type_without_a_json_schema_says_so() -> None:
    with pytest.raises(TypeError, match="has no JSON schema"):
        schema.json_schema(Callable[[], int])


@pytest.mark.parametrize(
    ("tp", "name"),
    [
        (str, "str"),
        (Facts, "Facts"),
        (list[str], "list[str]"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        (int | None, "int | None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, Field(gt=0)], "int"),
        (None, "None"),
        (Any, "Any"),
        (tuple[int, ...], "tuple[int, ...]"),
        ({"type": "object", "title": "Post"}, "Post"),
        ({"type": "array"}, "a JSON schema of type array"),
        (Callable[[int], str], "Callable[[...], str]"),
    ],
)
def test_a_type_has_a_short_name(tp: Any, name: str) -> None:
    assert schema.describe(tp) == name


def test_a_schema_is_given_back_as_plain_data() -> None:
    frozen = freeze(CLAIM)
    given = schema.json_schema(frozen)
    assert given == CLAIM
    assert type(given) is dict
    assert type(given["required"]) is list


def test_nobody_can_change_the_cached_schema() -> None:
    schema.json_schema(Facts)["properties"].clear()
    assert set(schema.json_schema(Facts)["properties"]) == {"title", "claims", "when"}


def test_unions_that_differ_in_order_only_keep_their_own_schema() -> None:
    """`int | str == str | int`, so a cache by type alone would make a fingerprint depend on what was asked first."""
    for tp, order in ((int | str, ["integer", "string"]), (str | int, ["string", "integer"])):
        assert [part["type"] for part in schema.json_schema(tp)["anyOf"]] == order
        assert [part["type"] for part in schema.json_schema(list[tp])["items"]["anyOf"]] == order  # type: ignore[valid-type]


def test_a_type_that_cannot_be_hashed_works() -> None:
    tp = Annotated[int, ["a list"]]
    assert schema.json_schema(tp) == {"type": "integer"}
    assert schema.validate(tp, 1) == 1


def test_recorded_data_has_field_names_and_answers_have_aliases() -> None:
    assert set(schema.json_schema(Aliased)["properties"]) == {"someName"}
    assert set(schema.data_schema(Aliased)["properties"]) == {"some_name"}
    assert schema.validate(Aliased, {"someName": 1}) == schema.validate(Aliased, {"some_name": 1})


@pytest.mark.parametrize(
    ("tp", "data", "value"),
    [
        (str, "a", "a"),
        (int, "3", 3),
        (float, 3, 3.0),
        (date, "2024-05-01", date(2024, 5, 1)),
        (Decimal, "1.5", Decimal("1.5")),
        (Color, "red", Color.RED),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 2], {1, 2}),
        (Point, {"x": 1, "y": 2}, Point(1, 2)),
        (Any, [1], [1]),
        (None, None, None),
        (Row, {"a": 1}, {"a": 1}),
        (list[Claim], [{"text": "t"}], [Claim(text="t")]),
        (Strict, {"day": "2024-05-01", "pair": [1, 2]}, Strict(day=date(2024, 5, 1), pair=(1, 2))),
        (CLAIM, {"text": "t"}, {"text": "t"}),
        ({"type": ["string", "null"]}, None, None),
        (freeze({"enum": ["a", "b"]}), "b", "b"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, 3, 3),
    ],
)
def test_json_data_becomes_a_value_of_the_type(tp: Any, data: Any, value: Any) -> None:
    made = schema.validate(tp, data)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("tp", "data", "text"),
    [
        (Facts, {"title": 1}, "title: Input should be a valid string; claims: Field required"),
        (Facts, {"title": "t", "claims": [{"text": "a"}, {}]}, "claims[1].text: Field required"),
        (int, "x", "Input should be a valid integer, unable to parse string as an integer"),
        (str, 1, "Input should be a valid string"),
        (Strict, {"day": "nope", "pair": [1]}, "day: "),
        (CLAIM, {}, "'text' is a required property"),
        (CLAIM, {"text": 1}, "text: 1 is not of type 'string'"),
        ({"type": "array", "items": CLAIM}, [{"text": "a"}, {"text": None}], "[1].text: None is not of type 'string'"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tp: Any, data: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        schema.validate(tp, data)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(text)
    assert "pydantic.dev" not in str(caught.value)


def test_many_mistakes_are_told_in_part() -> None:
    with pytest.raises(ValueError, match=r"; and 5 more$"):
        schema.validate(list[int], ["x"] * 15)


def test_a_schema_that_is_none_is_the_authors_mistake() -> None:
    with pytest.raises(TypeError, match="no valid JSON schema: type: 'strnig' is not valid"):
        schema.validate({"type": "strnig"}, "a")


def test_a_reference_to_the_network_is_refused_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(address: object, *_: object, **__: object) -> None:
        asked.append(address)
        raise OSError("refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(TypeError, match=r"refers to 'http://127\.0\.0\.1:9/a\.json' and does not hold it"):
        schema.validate({"$ref": "http://127.0.0.1:9/a.json"}, 1)
    assert not asked


def test_an_object_is_sent_as_it_is() -> None:
    for tp in (Facts, dict[str, int], Point, CLAIM):
        made, is_wrapped = schema.wrapped(tp)
        assert not is_wrapped
        assert made == schema.json_schema(tp)


def test_a_recursive_model_has_its_object_at_the_top() -> None:
    made, is_wrapped = schema.wrapped(Node)
    assert not is_wrapped
    assert made["type"] == "object"
    assert made["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert made["$defs"]["Node"]["type"] == "object"


def test_what_is_no_object_is_wrapped_with_its_definitions_at_the_top() -> None:
    made, is_wrapped = schema.wrapped(list[Claim])
    assert is_wrapped
    assert made["type"] == "object"
    assert made["required"] == ["value"]
    assert made["additionalProperties"] is False
    assert made["properties"]["value"] == {"type": "array", "items": {"$ref": "#/$defs/Claim"}}
    assert set(made["$defs"]) == {"Claim"}
    assert schema.validate(made, {"value": [{"text": "a"}]}) == {"value": [{"text": "a"}]}
    assert schema.wrapped(Claim | Node)[1]
    assert schema.wrapped(str) == (
        {
            "type": "object",
            "properties": {"value": {"type": "string"}},
            "required": ["value"],
            "additionalProperties": False,
        },
        True,
    )


def test_a_wrapped_schema_that_refers_to_its_root_still_does() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    made, is_wrapped = schema.wrapped(tree)
    assert is_wrapped
    assert schema.validate(made, {"value": [[], [[]]]})
    with pytest.raises(ValueError, match="is not of type 'array'"):
        schema.validate(made, {"value": [[1]]})


FACTS = schema.json_schema(Facts)


@pytest.mark.parametrize(
    ("tp", "path", "kind"),
    [
        (Facts, (), "object"),
        (Facts, ("title",), "string"),
        (Facts, ("claims",), "array"),
        (Facts, ("claims", 0, "text"), "string"),
        (Facts, ("claims", "*", "text"), "string"),
        (Facts, ("claims", -1, "text"), "string"),
        (Node, ("children", 0, "children", 1, "name"), "string"),
        (Node | None, ("name",), "string"),
        (dict[str, Claim], ("any", "text"), "string"),
        (tuple[int, str], (1,), "string"),
        (list[int], ("*",), "integer"),
        ({"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {}}}]}, ("a",), "string"),
    ],
)
def test_the_schema_at_a_path_is_found(tp: Any, path: tuple[str | int, ...], kind: str) -> None:
    found = schema.schema_at(schema.json_schema(tp), path)
    assert found is not None
    resolved = found.get("$ref", "")
    target = found["$defs"][resolved.rpartition("/")[2]] if resolved else found
    assert target["type"] == kind


@pytest.mark.parametrize(
    ("tp", "path"),
    [
        (Facts, ("nope",)),
        (str, ("a",)),
        (Any, ("a", "b")),
        (dict[str, Any], ("a", "b")),
        (Facts, ("*",)),
        (tuple[int, str], ("*",)),
    ],
)
def test_where_a_schema_does_not_say_there_is_none(tp: Any, path: tuple[str | int, ...]) -> None:
    found = schema.schema_at(schema.json_schema(tp), path)
    assert not found or not set(found) - {"$defs"}


@pytest.mark.parametrize(
    ("tp", "path", "text"),
    [
        (Facts, ("titel",), "'facts' has no field 'titel'; it has 'claims', 'title', 'when'; did you mean 'title'?"),
        (
            Facts,
            ("claims", 3, "txt"),
            "'facts.claims[3]' has no field 'txt'; it has 'score', 'text'; did you mean 'text'?",
        ),
        (Facts, ("title", "x"), "'facts.title' is text and has no field 'x'"),
        (Claim | Node, ("nope",), "'facts' has no field 'nope'; it has 'children', 'name', 'score', 'text'"),
        (int | float, ("x",), "'facts' is a number and has no field 'x'"),
        (Claim | None, ("txt",), "'facts' has no field 'txt'; it has 'score', 'text'; did you mean 'text'?"),
        (CLAIM, ("txt",), "'facts' has no field 'txt'; it has 'text'; did you mean 'text'?"),
    ],
)
def test_a_field_that_is_not_there_is_named_with_the_nearest(tp: Any, path: tuple[str | int, ...], text: str) -> None:
    assert schema.missing_field(schema.json_schema(tp), path, root="facts") == text


def test_without_a_root_name_the_sentence_begins_with_the_value() -> None:
    assert str(schema.missing_field(FACTS, ("titel",))).startswith("the value has no field 'titel'")
    assert str(schema.missing_field(FACTS, ("claims", 0, "txt"))).startswith("'claims[0]' has no field 'txt'")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


@pytest.mark.parametrize(
    ("tp", "path"),
    [
        (Facts, ()),
        (Facts, ("title",)),
        (Facts, ("claims", 0)),
        (Facts, ("title", 0)),
        (Any, ("x", "y")),
        (dict[str, Any], ("x", "y")),
        (Open, ("b",)),
        (Claim | Node, ("text",)),
        (Claim | dict[str, int], ("x",)),
        (Claim | Any, ("x",)),
        ({}, ("x",)),
        ({"$ref": "#/nowhere"}, ("x",)),
        ({"$ref": "#"}, ("x",)),
        ({"type": "object"}, ("x",)),
        ({"properties": {"a": True}}, ("a", "b")),
        (list[Any], (0, "x")),
    ],
)
def test_a_field_that_is_there_or_unknown_is_no_fault(tp: Any, path: tuple[str | int, ...]) -> None:
    assert schema.missing_field(schema.json_schema(tp), path, root="facts") is None


def test_threads_share_one_adapter() -> None:
    class Fresh(BaseModel):
        a: int

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(schema.validate(Fresh, {"a": "1"}).a)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [1] * 8
    assert schema.adapter(Fresh) is schema.adapter(Fresh)


def test_pydantic_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys, llmorch.schema as s; s.check_type(str); s.describe(list[str]); s.json_schema({'type': 'string'}); "
        "assert 'pydantic' not in sys.modules; s.adapter(int); assert 'jsonschema' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Place(typing.TypedDict):
    name: str
    near: typing.NotRequired[list[str]]


class Trip(typing.TypedDict, total=False):
    stops: typing.Required[list[Place]]
    note: Annotated[str, "free"]


@pytest.mark.parametrize("form", [Trip, list[Trip], dict[str, Trip], Trip | None, list[Trip | int], Annotated[Trip, 1]])
def test_a_typed_dict_of_the_standard_library_is_a_type_of_data(form: Any) -> None:
    trip = {"stops": [{"name": "Bern"}]}
    value = {list[Trip]: [trip], dict[str, Trip]: {"a": trip}, list[Trip | int]: [trip, 3]}.get(form, trip)
    assert schema.validate(form, value) == value
    with pytest.raises(ValueError, match="name"):
        schema.validate(Trip, {"stops": [{"near": []}]})
    assert "stops" in str(schema.json_schema(form))


def test_the_keys_of_a_typed_dict_keep_what_they_must_hold() -> None:
    made = schema.json_schema(Trip)
    assert made["required"] == ["stops"]
    assert made["$defs"]["Place"]["required"] == ["name"]


@pytest.mark.parametrize("data", [object(), threading.Lock(), lambda: 1])
def test_what_is_no_data_at_all_is_told_like_any_value_that_does_not_fit(data: Any) -> None:
    with pytest.raises(ValueError, match=r"Input should be a valid string"):
        schema.validate(str, data)
    with pytest.raises(ValueError, match=r"\[0\]: Input should be a valid integer"):
        schema.validate(list[int], [data])
