"""The data rule: what may be recorded, and in which form."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import re
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from llmorch import ValueRefused
from llmorch.models.values import FrozenDict, copy_data, freeze, to_data


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Size(enum.IntEnum):
    BIG = 9


class Word(str, enum.Enum):  # noqa: UP042  # the older spelling, which dumps alike
    HI = "hi"


class Note(enum.StrEnum):
    YES = "yes"


class Model(BaseModel):
    when: dt.date
    tags: set[str] = set()
    price: decimal.Decimal | None = None
    inner: Model | None = None
    aliased: int = Field(default=1, alias="other")
    anything: Any = None


@dataclasses.dataclass
class Row:
    a: int
    b: Any = None


class Pair(NamedTuple):
    x: int
    y: int


Old = namedtuple("Old", "x")


def shown(value: object) -> str:
    """The same in every process: processes that share the tests out know them by it."""
    text = f"set of {sorted(value)}" if isinstance(value, set | frozenset) else repr(value)
    return re.sub(r" at 0x\w+", "", text)[:50].encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-0.0, -0.0),
        ("ä\u2028", "ä\u2028"),
        ("", ""),
        (10**100, 10**100),
        (2**63, 2**63),
        ([1, [2]], [1, [2]]),
        ((1, (2,)), [1, [2]]),
        ({}, {}),
        ({"a": {"b": []}}, {"a": {"b": []}}),
        ({2.5: "b", True: "c"}, {"2.5": "b", "true": "c"}),
        ({3: "a"}, {"3": "a"}),
        ({Colour.RED: 1}, {"red": 1}),
        ({Size.BIG: 1}, {"9": 1}),
        ({uuid.UUID(int=1): 1}, {str(uuid.UUID(int=1)): 1}),
        ({dt.date(2024, 1, 2): 1}, {"2024-01-02": 1}),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.datetime(2024, 1, 2, tzinfo=dt.UTC), "2024-01-02T00:00:00Z"),
        (dt.time(1, 2), "01:02:00"),
        (dt.timedelta(hours=1), "PT1H"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (decimal.Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        (Colour.BLUE, 2),
        (Size.BIG, 9),
        (Word.HI, "hi"),
        (Note.YES, "yes"),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({3, 1}), [1, 3]),
        (deque([1]), [1]),
        (Pair(1, 2), [1, 2]),
        (Old(1), [1]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (UserDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (FrozenDict(a=1), {"a": 1}),
        (Path("/a"), "/a"),
        (Row(1, Row(2)), {"a": 1, "b": {"a": 2, "b": None}}),
        (
            Model(when=dt.date(2024, 1, 2), other=5),
            {"when": "2024-01-02", "tags": [], "price": None, "inner": None, "aliased": 5, "anything": None},
        ),
        (
            [Model(when=dt.date(2024, 1, 2), price=decimal.Decimal("2"))],
            [{"when": "2024-01-02", "tags": [], "price": "2", "inner": None, "aliased": 1, "anything": None}],
        ),
    ],
    ids=shown,
)
def test_what_is_data_takes_pydantics_json_form(value: Any, data: Any) -> None:
    found = to_data(value)
    assert found == data
    assert type(found) is type(data)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        b"x",
        bytearray(b"x"),
        memoryview(b"x"),
        "\ud800",
        "a\udfffb",
        object(),
        object,
        len,
        lambda: 1,
        ValueError("x"),
        1j,
        Fraction,
        {"a": float("nan")},
        [b"x"],
        {"a": ["\ud800"]},
        {"\ud800": 1},
        {b"k": 1},
        {(1, 2): 1},
        {float("nan"): 1},
        {float("nan")},
        {b"x"},
        Row(1, b"x"),
        Row(1, float("nan")),
        Model(when=dt.date(2024, 1, 2), anything=float("nan")),
        Model(when=dt.date(2024, 1, 2), anything=[b"x"]),
        Model(when=dt.date(2024, 1, 2), anything={"a": Row(1, float("inf"))}),
        Model(when=dt.date(2024, 1, 2), anything="\ud800"),
        Model(when=dt.date(2024, 1, 2), inner=Model(when=dt.date(2024, 1, 2), anything=b"x")),
        (n for n in range(3)),
        decimal.Decimal("NaN"),
        decimal.Decimal("Infinity"),
        {1: "a", "1": "b"},
        {"red": 1, Colour.RED: 2},
    ],
    ids=shown,
)
def test_what_is_no_data_is_refused(value: Any) -> None:
    with pytest.raises(ValueRefused) as caught:
        to_data(value, where="step 'merge'")
    assert "step 'merge'" in str(caught.value)


def test_the_refusal_says_where_in_the_value() -> None:
    with pytest.raises(ValueRefused, match=r"a\.b\[1\]"):
        to_data({"a": {"b": [1, float("nan")]}})


def test_what_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["x"] = [loop]
    for value in (ring, loop):
        with pytest.raises(ValueRefused):
            to_data(value)


def test_depth_is_bounded() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    assert to_data(nested(90)) == nested(90)
    with pytest.raises(ValueRefused):
        to_data(nested(101))
    with pytest.raises(ValueRefused):
        to_data(nested(100_000))


def test_sets_have_one_order() -> None:
    assert to_data({"b", "a", "c"}) == to_data({"c", "b", "a"}) == ["a", "b", "c"]


def test_keys_keep_their_order() -> None:
    assert list(to_data({"b": 1, "a": 2})) == ["b", "a"]


def test_nothing_mutable_is_shared() -> None:
    given_value: dict[str, Any] = {"a": [1, {"b": 2}]}
    data = to_data(given_value)
    given_value["a"][1]["b"] = 3
    given_value["a"].append(4)
    assert data == {"a": [1, {"b": 2}]}
    other = copy_data(data)
    other["a"][1]["b"] = 9
    assert data == {"a": [1, {"b": 2}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_is_data_as_it_is_and_stays_so(value: Any) -> None:
    data = to_data(value)
    assert data == value
    assert to_data(data) == data
    assert json.loads(json.dumps(data)) == value
    assert copy_data(data) == data
    assert to_data(freeze(data)) == data
    assert hash(freeze(data)) == hash(freeze(to_data(value)))


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_thing_without_a_repr_is_refused_too() -> None:
    with pytest.raises(ValueRefused):
        to_data({"a": Rude()})
