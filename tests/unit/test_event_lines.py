"""Every event survives being written as a line of JSON, and a line that is no event says why."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, cast, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmorch import events
from llmorch.event_lines import from_line, own_fields, to_line
from llmorch.events import (
    Answer,
    CallFinished,
    Event,
    RunCancelRequested,
    RunFinished,
    RunStarted,
    RunWaiting,
    StepDelta,
    StepFailed,
    StepStarted,
    StepSucceeded,
)
from llmorch.models.failure import Failure, failure_of
from llmorch.models.message import ToolCall
from llmorch.models.usage import Usage
from llmorch.models.values import FrozenDict

KINDS = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 10**30)
floats = st.floats(allow_nan=False, allow_infinity=False)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
scalars = st.none() | st.booleans() | st.integers() | floats | text
usages = st.builds(Usage, *[numbers] * 6)
failures = st.recursive(
    st.none(),
    lambda cause: st.builds(
        Failure,
        type=text,
        text=text,
        step=st.none() | text,
        details=st.dictionaries(text, scalars, max_size=3),
        cause=cause,
        exception=st.none() | st.just(ValueError("live")),
    ),
    max_leaves=3,
).filter(lambda made: made is not None)
answers = st.builds(
    Answer,
    text=st.none() | text,
    tool_calls=st.lists(st.builds(ToolCall, text, text, text), max_size=2).map(tuple),
    vendor=st.dictionaries(text, data, max_size=2),
)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: text,
    int: numbers,
    bool: st.booleans(),
    float: floats,
    Any: data,
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Usage: usages,
    Failure: failures,
    Answer: answers,
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type; a type that is new in the events must be added here."""
    if hint in BY_TYPE:
        return BY_TYPE[hint]
    inner = get_args(hint)
    if get_origin(hint) is typing.Literal:
        return st.sampled_from(inner)
    if get_origin(hint) is tuple:
        return st.lists(values_of(inner[0]), max_size=3).map(tuple)
    if get_origin(hint) in (dict, Mapping):
        return st.dictionaries(text, values_of(inner[1]), max_size=3)
    return st.one_of([st.none() if kind is type(None) else values_of(kind) for kind in inner])


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind)
    made = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(kind)}
    made["at_us"] = st.integers(0, 250_000_000_000_000_000)
    return st.builds(kind, **made)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(drawn=st.data())
def test_every_event_comes_back_equal_from_its_line(kind: type[Event], drawn: st.DataObject) -> None:
    event = drawn.draw(events_of(kind))
    line = to_line(event)
    assert "\n" not in line
    assert from_line(line) == event
    assert type(from_line(line)) is kind


def plain(value: Any) -> Any:
    """What stands in a line, as data that the standard library's encoder takes."""
    if isinstance(value, Decimal):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name != "exception"
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def plainly_written(event: Event) -> tuple[str, str]:
    """The line and the own fields of an event, in the slow and obvious way: lines of older logs were made like this."""
    own = {name: value for name, value in plain(event).items() if name not in ("run_id", "seq", "at_us")}
    at = event.at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {"event": type(event).__name__, "run_id": event.run_id, "seq": event.seq, "at": at, **own}
    encoded = (json.dumps(made, ensure_ascii=True, allow_nan=False, separators=(",", ":")) for made in (line, own))
    return next(encoded), next(encoded)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=50)
@given(drawn=st.data())
def test_a_line_holds_byte_for_byte_what_a_plain_encoder_writes(kind: type[Event], drawn: st.DataObject) -> None:
    event = drawn.draw(events_of(kind))
    assert (to_line(event), own_fields(event)) == plainly_written(event)


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Pair(typing.NamedTuple):
    left: Decimal
    right: Any


ODD: list[Event] = [
    RunCancelRequested(run_id='r"1', seq=1),
    RunWaiting(("a", "b\u2028")),
    RunWaiting(()),
    RunWaiting(cast("Any", ["a", Colour.RED])),
    RunStarted("w", inputs=FrozenDict({"a": FrozenDict({"b": (1, 2.5)})}), tags=("x", "\ud800")),
    RunStarted("w", inputs=MappingProxyType({"a": MappingProxyType({"b": [1]})}), timeout=2),
    RunStarted("w", inputs=cast("Any", {1: None, None: True, 2.5: "x", False: 0})),
    StepSucceeded("s", {"price": Decimal("0.10"), "pairs": [Pair(Decimal("1E-7"), {"x": Decimal(3)})]}),
    StepSucceeded("s", [Usage(1), Answer("t", (ToolCall("i", "n", "{}"),)), Failure("E", "t", exception=ValueError())]),
    StepSucceeded("s", Size.SMALL),
    StepSucceeded(Colour.RED, 1 << 70),
    StepSucceeded("s", 1e300),
    StepFailed("s", Failure("E", "%s %d %", details={"%(a)s": "%"})),
]


@pytest.mark.parametrize("event", ODD, ids=range(len(ODD)))
def test_what_is_rare_in_an_event_is_written_like_the_rest(event: Event) -> None:
    assert (to_line(event), own_fields(event)) == plainly_written(event)


def test_a_line_begins_with_what_happened_to_which_run_and_when() -> None:
    event = StepDelta("draft", 1, 0, "Hé", run_id="r1", at_us=1_500_000)
    assert json.loads(to_line(event)) == {
        "event": "StepDelta", "run_id": "r1", "seq": None, "at": "1970-01-01T00:00:01.500000Z",
        "step": "draft", "call": 1, "offset": 0, "text": "Hé",
    }  # fmt: skip
    assert list(json.loads(to_line(event)))[:4] == ["event", "run_id", "seq", "at"]


def test_money_keeps_every_digit_and_an_error_its_cause() -> None:
    try:
        raise KeyError("x") from ValueError("y")
    except KeyError as error:
        failure = failure_of(error, step="s")
    finished = CallFinished("s", 1, error=failure, cost=Decimal("0.00000010"), run_id="r", seq=3)
    line = json.loads(to_line(finished))
    assert line["cost"] == "1.0E-7"
    assert line["error"]["cause"]["cause"]["text"] == "y"
    assert "exception" not in line["error"]
    assert from_line(to_line(finished)) == finished


def test_nested_lists_in_inputs_stay_lists() -> None:
    event = RunStarted("w", inputs={"rows": [[1, 2.0, None], {"a": True}]}, timeout=60, run_id="r", seq=1)
    again = from_line(to_line(event))
    assert isinstance(again, RunStarted)
    assert again.inputs == {"rows": [[1, 2.0, None], {"a": True}]}
    assert type(again.inputs["rows"][0][0]) is int


def test_what_is_no_json_is_refused_when_written() -> None:
    with pytest.raises(ValueError, match="StepStarted cannot be written as JSON"):
        to_line(StepStarted("s", fingerprint=object()))  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["field", "inside"])
def test_a_number_that_json_does_not_have_is_refused_when_written(where: str, number: float) -> None:
    event = RunStarted("w", timeout=number) if where == "field" else StepSucceeded("s", {"a": [number]})
    for write in (to_line, own_fields):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(event)


GOOD: dict[str, Any] = json.loads(to_line(RunFinished("failed", Failure("E", "t"), run_id="r", at_us=0, seq=9)))
FAILED: dict[str, Any] = json.loads(to_line(StepFailed("s", Failure("E", "t"), run_id="r", seq=1)))
ERROR = FAILED["error"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "the line is no JSON: "),
        ("", "the line is no JSON: "),
        ("[1]", "the line is a JSON array; an event is an object"),
        ("null", "the line is a JSON null"),
        ("[" * 200_000, "nested too deeply"),
        ("{}", "there is no event None; known are CallFinished"),
        ('{"event": "StepDone"}', "there is no event 'StepDone'"),
        ('{"event": ["StepStarted"]}', r"there is no event \['StepStarted'\]"),
        ({**GOOD, "status": "done"}, "RunFinished.status must be 'running' or .* not 'done'"),
        ({**GOOD, "at": "yesterday"}, "RunFinished.at must be a moment in ISO 8601"),
        ({**GOOD, "at": "2026-01-01T00:00:00"}, "RunFinished.at must be a moment in ISO 8601 with its offset"),
        ({**GOOD, "at": None}, "RunFinished.at must be a moment"),
        ({**GOOD, "seq": 1.5}, "RunFinished.seq must be a whole number, not 1.5"),
        ({**GOOD, "seq": True}, "RunFinished.seq must be a whole number, not True"),
        ({**GOOD, "cost": 0.5}, "RunFinished.cost must be an amount as text"),
        ({**GOOD, "cost": "NaN"}, "RunFinished.cost must be an amount as text"),
        ({**GOOD, "cost": "much"}, "RunFinished.cost must be an amount as text"),
        ({**GOOD, "usage": {"input_tokens": "1"}}, "RunFinished.usage.input_tokens must be a whole number, not '1'"),
        ({**GOOD, "usage": 3}, "RunFinished.usage must be an object, not 3"),
        ({**GOOD, "colour": "red"}, "RunFinished has an unknown field 'colour'; it has run_id"),
        ({key: value for key, value in GOOD.items() if key != "at"}, "RunFinished has no field 'at'"),
        ({key: value for key, value in GOOD.items() if key != "status"}, "RunFinished has no field 'status'"),
        ({key: value for key, value in GOOD.items() if key != "seq"}, "RunFinished has no field 'seq'"),
        ({**FAILED, "error": {"type": "E"}}, "StepFailed.error has no field 'text'"),
        ({**FAILED, "error": None}, "StepFailed.error must be an object, not None"),
        ({**FAILED, "error": {**ERROR, "exception": "x"}}, "StepFailed.error has an unknown field 'exception'"),
        ({**FAILED, "error": {**ERROR, "details": {"a": []}}}, r"StepFailed.error.details.a must be str or .*\[\]"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_refused_with_what_is_wrong(line: str | dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_line(line if isinstance(line, str) else json.dumps(line))


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        from_line(json.dumps({**FAILED, "error": {**FAILED["error"], "details": {"a": float("nan")}}}))
