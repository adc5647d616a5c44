"""YAML in and out: 1.2 core scalars, plain data, faults with their place."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmorch import _yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00Z"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("<<", "<<"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("# only a comment", None),
        ("12", 12),
        ("-3", -3),
        ("+4", 4),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.", -1.0),
        ("'12'", "12"),
        ('"null"', "null"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("|\n a\n b\n", "a\nb\n"),
        (">-\n a\n b\n", "a b"),
        ("a: 1\nb: [x, {c: no}]", {"a": 1, "b": ["x", {"c": "no"}]}),
        ("- 1\n-\n- a", [1, None, "a"]),
        ("1: a\nno: b\nnull: c", {"1": "a", "no": "b", "null": "c"}),
        ("--- \na: 1\n...\n", {"a": 1}),
        ("%YAML 1.1\n---\na: yes", {"a": "yes"}),
        ("{}", {}),
        ("[]", []),
        ("a:", {"a": None}),
        ("\ufeffa: 1", {"a": 1}),
        ("!!map {a: !!seq [1]}", {"a": [1]}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("9" * 400, int("9" * 400)),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = _yaml.loads(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1", "the key 'a' is there twice"),
        ("a:\n  b: {c: 1, 'c': 2}", "line 2, column 13", "the key 'c' is there twice"),
        ("1: a\n'1': b", "line 2, column 1", "the key '1' is there twice"),
        ("a: &x 1", "line 1, column 4", "anchors and aliases"),
        ("a: &x [1]\nb: *x", "line 1, column 4", "anchors and aliases"),
        ("- *x", "line 1, column 3", "anchors and aliases"),
        ("&k a: 1", "line 1, column 1", "a key must be plain text"),
        ("? [a]\n: 1", "line 1, column 3", "a key must be plain text"),
        ("a: !!python/object:os.system x", "line 1, column 4", "the tag"),
        ("!mine {a: 1}", "line 1, column 1", "the tag '!mine' is not read"),
        ("a: !!int x", "line 1, column 4", "the tag"),
        ("!!set {a}", "line 1, column 1", "the tag"),
        ("a: .inf", "line 1, column 4", ".inf is no finite number"),
        ("a: 1e999", "line 1, column 4", "1e999 is no finite number"),
        ("- .NaN", "line 1, column 3", ".NaN is no finite number"),
        ("a: 1\n---\nb: 2", "line 2, column 1", "a second document"),
        ("a: b: c", "line 1, column 5", "mapping values are not allowed"),
        ("a: [1, 2", "line 1", ""),
        ("a: 'open", "line 1", ""),
        ("a:\n\t- b", "line 2, column 1", "indent with spaces"),
        ("a: \x07", "line 1, column 4", "a character YAML does not allow"),
        ("x: " + "[" * 100 + "]" * 100, "line 1, column", "nested more than 64 levels"),
        ("9" * 5000, "line 1, column 1", "a number of too many digits"),
    ],
)
def test_a_fault_names_source_line_column_and_remedy(text: str, place: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^flow\.yaml, line") as caught:
        _yaml.loads(text, source="flow.yaml")
    assert f"flow.yaml, {place}" in str(caught.value)
    assert problem in str(caught.value)
    assert "; " in str(caught.value)


def test_long_text_is_refused_before_it_is_parsed() -> None:
    for text in ("a" * 101, "é" * 51):
        with pytest.raises(ValueError, match=r"^big\.yaml: more than 100 bytes of YAML"):
            _yaml.loads(text, source="big.yaml", max_bytes=100)
    assert _yaml.loads("é" * 50, max_bytes=100) == "é" * 50


def test_depth_of_64_is_read_and_65_is_not() -> None:
    deep = "[" * 64 + "]" * 64
    value = _yaml.loads(deep)
    assert _yaml.loads(_yaml.dumps(value)) == value
    with pytest.raises(ValueError, match="nested more than 64 levels"):
        _yaml.loads(f"[{deep}]")
    deeper = [value, 1]
    for _ in range(2):
        deeper = [deeper, 1]
    with pytest.raises(ValueError, match="nested more than 64 levels"):
        _yaml.dumps(deeper)


def test_what_is_written_is_block_style_in_the_order_given() -> None:
    value = {
        "name": "a-b",
        "text": "first: line\n  second\n",
        "tags": ["x", "no", "1", ""],
        "steps": [{"id": 1, "on": [True, None, 1.5]}, {}],
        "e": [],
    }
    assert _yaml.dumps(value) == (
        "name: a-b\n"
        "text: |\n"
        "  first: line\n"
        "    second\n"
        "tags:\n"
        "  - x\n"
        '  - "no"\n'
        '  - "1"\n'
        '  - ""\n'
        "steps:\n"
        "  - id: 1\n"
        '    "on":\n'
        "      - true\n"
        "      - null\n"
        "      - 1.5\n"
        "  - {}\n"
        "e: []\n"
    )


def test_texts_of_several_lines_stay_readable() -> None:
    for text in ("a\nb", "a\nb\n", "a\nb\n\n\n", "a\n\n  b\n", "a: b\n- c\n# d\n", "tab\there\nx"):
        written = _yaml.dumps({"k": [text, {"j": text}]})
        assert "\\n" not in written
        assert _yaml.loads(written) == {"k": [text, {"j": text}]}


def test_what_cannot_be_read_back_is_not_written() -> None:
    for value in (math.inf, [math.nan], {"k" * 2000: 1}):
        with pytest.raises(ValueError, match="cannot be written as YAML"):
            _yaml.dumps(value)
    for value in (object(), [b"x"], {1: 2}, {None: 1}):
        with pytest.raises(TypeError):
            _yaml.dumps(value)


_TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    [
        "no",
        "null",
        "~",
        "1e3",
        "0x1f",
        "a: b",
        "a #b",
        "- a",
        "a\nb",
        " a",
        "a ",
        "a\n b\n",
        "\n",
        "x\n\n",
        "%a",
        "@a",
        "---",
        "--- a",
        "...",
        "a:",
        "!x",
        "&x",
        "*x",
        "'",
        '"',
        "\t",
        "a\tb\nc",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ufeffa\nb",
        "a\r\nb",
        "é\nü\n",
        "true",
        "2024-01-01",
        "key",
        "?",
        "-",
        "[",
        "=",
        "<<",
        ".",
    ]
)
_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    return repr(left) == repr(right)  # tells 1 from 1.0 and from True


@given(_DATA)
@example([[["a\nb\n\n"]], {"k": {"": ["x\n"]}}])
@example({"a\nb": "c\nd"})
@example("\x7f\x80\ud7ff")
def test_data_survives_the_round_trip(value: Any) -> None:
    written = _yaml.dumps(value)
    assert same(_yaml.loads(written), value)
    assert _yaml.dumps(_yaml.loads(written)) == written


@given(st.text(st.sampled_from(list("ab1:-?[]{},&*!|>'\"%@`#= \n\t~.0x\x00\u2028é")), max_size=40))
def test_any_text_is_data_or_a_value_error(text: str) -> None:
    try:
        value = _yaml.loads(text, source="f")
    except ValueError as error:
        assert str(error).startswith("f")  # noqa: PT017  # both outcomes are right
        return
    assert same(_yaml.loads(_yaml.dumps(value)), value)


def test_ruamel_is_loaded_by_the_first_text_only() -> None:
    code = (
        "import sys, llmorch._yaml as y; y.dumps({'a': 1}); assert 'ruamel' not in sys.modules; "
        "y.loads('a: 1'); assert 'ruamel.yaml' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
