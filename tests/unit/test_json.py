"""Values as compact JSON."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import _json


def test_a_value_is_written_compact_and_in_ascii() -> None:
    assert _json.dumps({"b": [1, None, "ü"], "a": {}}) == '{"b":[1,null,"\\u00fc"],"a":{}}'
    assert _json.dumps("text") == '"text"'


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), ({"a": object()}, TypeError)])
def test_what_is_no_json_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        _json.dumps(value)


def test_a_list_that_holds_itself_is_a_value_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        _json.dumps(circle)


@pytest.mark.parametrize("characters", [0x7F, 0x80, 0x12C])  # ASCII without DEL, with it, and more
@pytest.mark.parametrize("length", [0, 1, 256, 257, 5_000, 1 << 16, (1 << 16) + 1])
def test_a_text_of_any_length_is_written_like_any_value_however_often(length: int, characters: int) -> None:
    one, other = ("".join(chr((first + at) % characters) for at in range(length)) for first in (0, 40))
    for text in (one, other, other, one, one + "x"):
        assert _json.quoted(text) == _json.dumps(text)


def test_the_members_of_an_object_are_written_like_the_object() -> None:
    long = "é\"'\n" * 200
    members = {"b": long, "a": {"y": [1.5, None], "x": long}, "ü\n": long[:-1], "": True, "n": 1 << 70}
    for _ in range(2):
        assert _json.canonical_members(members).encode("ascii") == _json.canonical(members)
    with pytest.raises(ValueError, match="Out of range"):
        _json.canonical_members({"a": float("nan")})
