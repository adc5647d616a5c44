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
