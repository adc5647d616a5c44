"""Tools: what a signature tells a model, what a model's text becomes, and what is refused with which words."""

from __future__ import annotations

import copy
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from llmorch import RunContext as FaceRunContext
from llmorch.definition.functions import RunContext as StepRunContext
from llmorch.errors import ValueRefused
from llmorch.models._tool_docs import argument_texts, first_paragraph
from llmorch.models.context import RunContext
from llmorch.models.tool import Tool, ToolMistake, as_tool, result_text, tool


class Filter(BaseModel):
    field: str
    inner: list[Filter] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    verbose: bool


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    day: date
    pair: tuple[int, int]


def even(number: int) -> int:
    if number % 2:
        raise ValueError("must be even")
    return number


@tool
def search(query: str, kind: Literal["web", "news"] = "web", limit: Annotated[int, Field(ge=1, le=50)] = 5) -> str:
    """Search the
    archive.

    More words that the model is not told.

    Args:
        query: What to look for,
            in plain words.
        kind (str, optional): Where.
    """
    return f"{query}/{kind}/{limit}"


@tool(name="weather-now", timeout=timedelta(seconds=90), version="2")
async def weather(city: str, context: RunContext) -> str:
    return f"{city} for {context.step}"


@tool
def everything(  # type: ignore[no-untyped-def]
    filter: Filter,
    point: Point,
    options: Options,
    day: date,
    either: int | str,
    numbers: list[Annotated[int, AfterValidator(even)]],
    strict: Strict | None = None,
    json: dict[str, float] | None = None,
    anything=None,
) -> None:
    """Take one of each."""


def plain(n: int) -> int:
    return 2 * n


def mistake(of: Tool[..., Any], text: str) -> str:
    with pytest.raises(ToolMistake) as caught:
        of.read(text)
    return str(caught.value)


def test_a_tool_is_still_the_function_it_was() -> None:
    assert search("tea", limit=2) == "tea/web/2"
    named = [getattr(search, name) for name in ("__name__", "__module__", "__wrapped__")]
    assert named == ["search", __name__, search.function]
    assert list(inspect.signature(search).parameters) == ["query", "kind", "limit"]


def test_the_model_is_told_what_signature_and_docstring_say() -> None:
    assert (search.name, search.description) == ("search", "Search the archive.")
    assert search.schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for, in plain words."},
            "kind": {"enum": ["web", "news"], "type": "string", "default": "web", "description": "Where."},
            "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 5},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_a_schema_that_is_changed_changes_no_tool() -> None:
    search.schema["properties"].clear()
    assert set(search.schema["properties"]) == {"query", "kind", "limit"}


def test_models_dataclasses_and_typed_dicts_are_described_and_read() -> None:
    Draft202012Validator.check_schema(everything.schema)
    assert everything.schema["required"] == ["filter", "point", "options", "day", "either", "numbers"]
    given = {
        "filter": {"field": "a", "inner": [{"field": "b"}]},
        "point": {"x": "3"},
        "options": {"verbose": True},
        "day": "2026-02-03",
        "either": "seven",
        "numbers": [2, 4],
        "strict": {"day": "2026-02-03", "pair": [1, 2]},
        "json": {"a": 1},
        "anything": [None],
    }
    Draft202012Validator(everything.schema).validate(given | {"point": {"x": 3}})
    assert everything.read(json.dumps(given)) == {
        "filter": Filter(field="a", inner=[Filter(field="b")]),
        "point": Point(3),
        "options": {"verbose": True},
        "day": date(2026, 2, 3),
        "either": "seven",
        "numbers": [2, 4],
        "strict": Strict(day=date(2026, 2, 3), pair=(1, 2)),
        "json": {"a": 1.0},
        "anything": [None],
    }


def test_what_the_model_leaves_out_is_the_functions_own_default() -> None:
    marker = object()

    def pick(item: str, otherwise: object = marker) -> object:
        return otherwise

    made = as_tool(pick)
    assert made.call(made.read('{"item": "a"}')) is marker
    assert "default" not in made.schema["properties"]["otherwise"]


def test_a_default_written_with_field_is_filled_in() -> None:
    def count(
        start: int = Field(default=3, description="From."), step: Annotated[int, Field(default=2)] = 0
    ) -> None: ...

    made = as_tool(count)
    assert made.schema["properties"]["start"] == {"type": "integer", "default": 3, "description": "From."}
    assert made.read("{}")["start"] == 3

    def needed(start: int = Field(description="From.")) -> None: ...

    assert as_tool(needed).schema["required"] == ["start"]


def test_field_and_a_note_in_annotated_describe_an_argument() -> None:
    def move(x: Annotated[int, "How far."], y: Annotated[int, Field(description="Mine.")]) -> None:
        """Move.

        Args:
            y: The docstring's.
        """

    properties = as_tool(move).schema["properties"]
    assert (properties["x"]["description"], properties["y"]["description"]) == ("How far.", "Mine.")


def test_an_alias_is_the_name_the_model_uses() -> None:
    def ask(class_: Annotated[str, Field(alias="class")]) -> str:
        return class_

    made = as_tool(ask)
    assert list(made.schema["properties"]) == ["class"]
    assert made.call(made.read('{"class": "A"}')) == "A"


def test_the_model_neither_sees_nor_gives_the_context() -> None:
    assert weather.context == "context"
    assert list(weather.schema["properties"]) == ["city"]
    assert "context: there is no such argument" in mistake(weather, '{"city": "Rome", "context": {"deps": 1}}')

    def maybe(city: str, given: Annotated[RunContext | None, "hidden"] = None) -> object:
        return given

    made = as_tool(maybe)
    context = RunContext("r", "s")
    assert (made.context, list(made.schema["properties"])) == ("given", ["city"])
    assert made.call(made.read('{"city": "Rome"}')) is None
    assert made.call(made.read('{"city": "Rome"}'), context) is context


def test_the_run_context_is_one_class_wherever_it_is_imported_from() -> None:
    assert RunContext is StepRunContext is FaceRunContext


@pytest.mark.anyio
async def test_an_async_tool_gives_its_coroutine() -> None:
    assert (weather.is_async, search.is_async) == (True, False)
    context = RunContext("r", "plan")
    assert await weather.call(weather.read('{"city": "Rome"}'), context) == "Rome for plan"
    assert await weather("Oslo", context) == "Oslo for plan"


def test_callable_objects_and_partials_are_tools() -> None:
    class Doubler:
        """Doubles."""

        async def __call__(self, n: int) -> int:
            await anyio.lowlevel.checkpoint()
            return 2 * n

    doubler = tool(name="double")(Doubler())
    assert (doubler.description, doubler.is_async, doubler.schema["required"]) == ("Doubles.", True, ["n"])

    def fetch(url: str, token: str) -> str:
        """Fetch a page."""
        return url + token

    bound = tool(name="fetch")(functools.partial(fetch, token="s3cret"))
    assert bound.description == "Fetch a page."
    assert "s3cret" not in json.dumps(bound.schema)
    assert "token: there is no such argument" in mistake(bound, '{"url": "u", "token": "mine"}')
    assert bound.call(bound.read('{"url": "u/"}')) == "u/s3cret"


def test_a_bound_method_is_a_tool_without_self() -> None:
    class Shop:
        def price(self, item: str) -> int:
            return len(item)

    made = tool(Shop().price)
    assert list(made.schema["properties"]) == ["item"]
    assert made.call({"item": "tea"}) == 3
    assert not made.is_portable


def test_options_are_kept() -> None:
    assert (weather.name, weather.timeout_s, weather.version) == ("weather-now", 90.0, "2")
    assert (search.timeout_s, search.version) == (None, None)
    assert tool(description="Mine.")(plain).description == "Mine."
    assert as_tool(plain).description == ""


def test_equal_tools_wrap_the_same_function_with_the_same_options() -> None:
    assert as_tool(plain) == tool(plain)
    assert hash(as_tool(plain)) == hash(tool(plain))
    assert as_tool(plain) != tool(timeout=1)(plain)
    assert as_tool(plain) != as_tool(even)
    assert as_tool(plain) != plain
    assert as_tool(search) is search
    assert copy.deepcopy([search])[0] is search


def test_a_tool_refuses_to_be_changed() -> None:
    with pytest.raises(AttributeError, match="tool 'search' is frozen"):
        search.name = "other"
    with pytest.raises(AttributeError, match="frozen"):
        del search.name
    assert search.name == "search"


def test_attributes_of_the_function_hide_none_of_the_tool() -> None:
    def f(n: int) -> int:
        return n

    f.read = f.name = "mine"  # type: ignore[attr-defined]
    assert as_tool(f).read('{"n": 1}') == {"n": 1}
    assert as_tool(f).name == "f"


def test_a_tool_is_portable_when_its_address_leads_to_it() -> None:
    def local() -> None: ...

    assert search.address == f"{__name__}:search"
    assert search.is_portable
    assert weather.is_portable
    assert as_tool(plain).is_portable
    assert not tool(timeout=3)(plain).is_portable  # the address would give it without the timeout
    assert not as_tool(local).is_portable
    assert not Tool.from_schema("p", plain, schema={"type": "object"}).is_portable


# What a model writes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"limit": 3}', "query: this argument is required"),
        ("", "query: this argument is required"),
        ('{"query": 5}', "query: Input should be a valid string"),
        ('{"query": "a", "limit": 0}', "limit: Input should be greater than or equal to 1"),
        ('{"query": "a", "kind": "tv"}', "kind: Input should be 'web' or 'news'"),
        ('{"query": "a", "q": 1}', "q: there is no such argument; the arguments are query, kind, limit"),
        ('{"query": "a", "query": "b"}', "query: given twice; give it once"),
        ('["a"]', "must be one JSON object, not a list"),
        ('"a"', "must be one JSON object, not a text"),
        ("7", "must be one JSON object, not 7"),
        ('{"query": "a"', "the arguments are not JSON (Expecting ',' delimiter at character 14)"),
        ('{"query": NaN}', "the arguments hold NaN"),
        ('{"query": -Infinity}', "the arguments hold -Infinity"),
        ('{"query": 1e999}', "holds inf at 'query'"),
        ('{"query": "\\ud800"}', "a lone surrogate at 'query'"),
        ('{"query": "\ud800"}', "a lone surrogate at 'query'"),
        ('{"\\ud800": 1, "\\ud800": 2}', "?: given twice"),
        ("[" * 200_000, "nested more than 100 levels"),
        ('{"query":' * 120 + "1" + "}" * 120, "nesting over 100 levels"),
        ('{"query": ' + "9" * 5000 + "}", "too many digits"),
        ('{"query": "' + "a" * 1_000_000 + '"}', "longer than 1,000,000 characters"),
        ("\ufeff{}", "not JSON"),
    ],
    ids=lambda given: ascii(given[:40]),
)
def test_a_mistake_tells_the_model_what_to_correct(text: str, words: str) -> None:
    said = mistake(search, text)
    assert said.startswith("search was not called: ")
    assert words in said
    assert len(said) < 1000
    said.encode()


def test_several_mistakes_are_told_at_once_but_not_without_end() -> None:
    assert mistake(search, '{"limit": 0, "x": 1}').count(";") == 3
    many = mistake(search, json.dumps({f"k{n}": n for n in range(10_000)}))
    assert many.endswith("; and 9991 more")
    assert len(many) < 2000
    assert len(mistake(search, json.dumps({"k" * 100_000: 1}))) < 1000


def test_a_validators_words_reach_the_model() -> None:
    def halve(n: Annotated[int, AfterValidator(even)]) -> int:
        return n // 2

    assert "n: Value error, must be even" in mistake(as_tool(halve), '{"n": 3}')


@pytest.mark.parametrize("text", ["", "  \n", "null", "{}"])
def test_nothing_is_no_arguments(text: str) -> None:
    assert as_tool(lambda_free).read(text) == {}


def lambda_free() -> str:
    return "done"


def test_sloppy_but_clear_arguments_are_taken() -> None:
    assert search.read('{"query": "two\nlines", "limit": "7"}') == {"query": "two\nlines", "limit": 7}
    assert search.read('{"query": "\\ud83d\\ude00"}') == {"query": "\U0001f600"}


# Leaves that find the edges of JSON, not only of the types.
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.just(10**400)
NAMES = st.sampled_from(["filter", "point", "day", "either", "numbers", "strict", "json", "query", "limit"]) | st.text()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=12)
SCHEMA_TOOL = Tool.from_schema(
    "by_schema",
    lambda given: given,
    schema={
        "type": "object",
        "properties": {"filter": {"$ref": "#"}, "limit": {"multipleOf": 0.1}, "query": {"pattern": "^a+$"}},
        "required": ["query"],
    },
)


@given(st.text(st.characters(codec=None)) | st.dictionaries(NAMES, TREES).map(json.dumps) | TREES.map(json.dumps))
@example('{"filter":' * 99 + "{}" + "}" * 99)
@example(json.dumps({"query": "a", "limit": 10**400}))
@example(json.dumps({"day": 10**400, "either": 10**30, "numbers": [10**400]}))
def test_whatever_a_model_writes_is_read_or_a_mistake(text: str) -> None:
    for made in (search, everything, weather, SCHEMA_TOOL):
        try:
            read = made.read(text)
        except ToolMistake as error:
            said = str(error).encode()  # no surrogate gets back
        else:
            assert set(read) <= set(made.schema["properties"])
            continue
        assert len(said) < 10_000


# Functions no model can call


def var_args(*items: str) -> None: ...


def var_keywords(**items: str) -> None: ...


def by_position(a: int, /) -> None: ...


def unusable(when: Callable[[], int]) -> None: ...


def opaque(a: int, thing: Opaque) -> None: ...


def unknown(thing: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def twice(a: RunContext, b: RunContext) -> None: ...


def method(self, n: int) -> None: ...  # type: ignore[no-untyped-def]


def numbers() -> Iterator[int]:
    yield 1


async def events() -> AsyncIterator[int]:
    yield 1


class Opaque:
    pass


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (var_args, r"takes \*items, .* write items: list\[...\] instead"),
        (var_keywords, r"takes \*\*items, .* items: dict\[str, ...\] instead"),
        (by_position, "takes 'a' by position only; .* remove the '/'"),
        (unusable, "tool 'unusable' .*no JSON schema"),
        (opaque, "argument 'thing' of tool 'opaque': Opaque cannot be used .* use a pydantic model"),
        (unknown, "annotation of tool 'unknown' cannot be read .*'Nowhere'.* define or import"),
        (twice, "takes a RunContext twice, as 'a' and 'b'"),
        (method, "method without its object"),
        (numbers, "yields, .* return a list"),
        (events, "yields, .* return a list"),
        (lambda n: n, "'<lambda>' cannot be a tool's name; .*name='...'"),
        (functools.partial(plain, n=1), "cannot be a tool's name"),
        (Opaque, "made of a function"),
        ("search", "made of a function, not of 'search'"),
    ],
)
def test_a_function_no_model_can_call_is_refused_with_the_remedy(function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        as_tool(function)


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "name\n", "größe", "a.b"])
def test_a_name_vendors_refuse_is_refused_here(name: str) -> None:
    with pytest.raises(TypeError, match="cannot be a tool's name"):
        tool(name=name)(plain)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), timedelta(0)])
def test_a_timeout_is_more_than_nothing(timeout: float | timedelta) -> None:
    with pytest.raises(ValueError, match="timeout of tool 'plain' must be more than 0"):
        tool(timeout=timeout)(plain)


def test_a_tool_of_a_tool_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'search' is a tool already; .*search\.function"):
        tool(name="again")(search)
    assert tool(name="again")(search.function).schema == search.schema


# Tools from JSON schemas

USER: dict[str, Any] = {"type": "object", "properties": {"user-id": {"type": "integer"}}, "required": ["user-id"]}


def test_a_tool_from_a_schema_gets_one_dict() -> None:
    made = Tool.from_schema("user", lambda given: given, schema=USER, description="One user.", timeout=3)
    assert (made.name, made.description, made.timeout_s) == ("user", "One user.", 3.0)
    assert made.schema == USER | {"additionalProperties": False}
    assert made.call(made.read('{"user-id": 7}')) == {"user-id": 7}
    assert mistake(made, '{"user-id": "7"}') == "user was not called: user-id: '7' is not of type 'integer'"
    assert "'user-id' is a required property" in mistake(made, "")
    assert "'x' was unexpected" in mistake(made, '{"user-id": 7, "x": 1}')


def test_a_tool_from_a_schema_may_take_the_context() -> None:
    def look_up(given: dict[str, Any], run: RunContext) -> str:
        return f"{given['user-id']} {run.deps}"

    made = Tool.from_schema("user", look_up, schema=USER)
    assert made.call(made.read('{"user-id": 7}'), RunContext("r", "s", deps="db")) == "7 db"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]},
    ],
)
def test_a_schema_that_leaves_room_keeps_it(schema: dict[str, Any]) -> None:
    made = Tool.from_schema("open", lambda given: given, schema=schema)
    assert made.schema == schema
    assert made.read('{"b": 1}') == {"b": 1}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "must describe an object"),
        ({}, "must describe an object"),
        ({"type": "object", "properties": 3}, "cannot be used"),
        ({"type": "object", "$ref": "#"}, "cannot be used"),
        ({"type": "object", "$ref": "https://example.com/a.json"}, "cannot be used: the JSON schema refers to"),
    ],
)
def test_a_schema_that_is_none_of_an_object_is_refused(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Tool.from_schema("user", lambda given: given, schema=schema)


# Results


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it\n is", "as it\n is"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        ({"ä": [1, 2.5]}, '{"ä": [1, 2.5]}'),
        (Filter(field="x"), '{"field": "x", "inner": []}'),
        (Point(1), '{"x": 1, "y": 0}'),
        (date(2026, 2, 3), "2026-02-03"),
        ([date(2026, 2, 3)], '["2026-02-03"]'),
    ],
)
def test_a_result_is_text_or_its_data_as_json(value: object, text: str) -> None:
    assert result_text(value) == text


@pytest.mark.parametrize("value", [float("nan"), b"x", object(), "\ud800", [iter(())], 10**5000], ids=type)
def test_a_result_that_is_no_data_is_refused(value: object) -> None:
    with pytest.raises(ValueRefused, match="the result of tool 'f'"):
        result_text(value, where="the result of tool 'f'")


# Docstrings

GOOGLE = """Do it.

Note: this is no argument.

Args:
    a: First: with a colon.
    b (dict[str, tuple(int, int)], optional): Second
        goes on

        after a gap.
    **c: Third.

Returns:
    a: not this one.
"""
NUMPY = """Do it.

Parameters
----------
a : int, optional
    First: with a colon.
b
    Second
    goes on after a gap.
c, d : str
    Third.

Returns
-------
e : int
    Not this one.
"""
REST = """Do it.
:param a: First: with a colon.
:param dict[str, int] b: Second
    goes on after a gap.
:keyword c: Third.
:type a: int
:returns: e
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_a_docstring_in_any_style_describes_the_arguments(text: str) -> None:
    assert first_paragraph(text) == "Do it."
    assert argument_texts(text, ["a", "b", "c", "e"]) == {
        "a": "First: with a colon.",
        "b": "Second goes on after a gap.",
        "c": "Third.",
    }


def test_a_line_that_goes_on_is_no_argument_of_its_own() -> None:
    text = "Do it.\n\nArgs:\n    a: First,\n        b: not this one.\n    b: Second."
    assert argument_texts(text, ["a", "b"]) == {"a": "First, b: not this one.", "b": "Second."}


def test_names_given_together_are_described_together() -> None:
    assert argument_texts(NUMPY, ["d"]) == {"d": "Third."}


@pytest.mark.parametrize(
    "text", ["", "Args:\n    a: First.", ":param a: First.", "Parameters\n----------\na\n    First."]
)
def test_a_docstring_without_words_of_its_own_describes_nothing(text: str) -> None:
    assert first_paragraph(text) == ""


PIECES = ["Args:", "a", ":", " ", "\n", "\n    ", "---", "Parameters", ":param a:", "(", ")", "x"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_no_docstring_is_too_odd_to_be_read(text: str) -> None:
    assert set(argument_texts(text, ["a"])) <= {"a"}
    assert "\n" not in first_paragraph(text)
