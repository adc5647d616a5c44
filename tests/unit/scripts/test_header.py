"""A header is read, and nothing of the script is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.scripts import ScriptHeader, ScriptParameter, read_header
from llmorch.scripts.find import SHIPPED
from llmorch.scripts.header import parse_header

GOOGLE = '''\
#!/usr/bin/env python3
"""Count the words of a text,
also of long ones.

More about it.

Args:
    text (str): The text,
        which may be long.
    returns (list of (str), optional): An odd name.
    n - how many

Returns:
    An object with `words`.

Not part of it.
"""
raise SystemExit("this ran")
'''
ORC = '''\
"""
json_extract.py - Extract specific fields from JSON data

Usage:
  As script agent in ensemble:
    script: primitives/data-transform/json_extract.py
    parameters:
      json_data: '{"name": "Alice"}'
      fields: ["name"]

  From command line:
    echo '{}' | python json_extract.py
"""
'''
ORC_KEYS = '"""\nPrimitive: Merge JSON\nInput: JSON data to merge\nOutput: Merged JSON\nDepends: json, os\n"""\n'
BASH = """\
#!/bin/bash

# Make it loud.
#
# Parameters:
#   text: What to say
# Returns:
#   The same, loud
set -e
# not this: x
"""
NODE = """\
/**
 * Make a thing.
 * @param {string} name - its name
 * @param {number} [count=3] how many
 * @returns {object} it
 */
throw new Error("this ran")
"""
RUBY = "#!/usr/bin/env ruby\n=begin\nDescription: Tidy up\nParameters:\n  all (bool): everything\n=end\nexit 1\n"
SLASHES = "// Count.\n// Returns: a number\nconst x = 1\n"


@pytest.mark.parametrize(
    ("name", "text", "header"),
    [
        (
            "a.py",
            GOOGLE,
            ScriptHeader(
                "Count the words of a text, also of long ones.",
                (
                    ScriptParameter("text", "The text, which may be long.", "str"),
                    ScriptParameter("returns", "An odd name.", "list of (str), optional"),
                    ScriptParameter("n", "how many"),
                ),
                "An object with `words`.",
            ),
        ),
        (
            "a.py",
            ORC,
            ScriptHeader(
                "Extract specific fields from JSON data",
                (ScriptParameter("json_data", '\'{"name": "Alice"}\''), ScriptParameter("fields", '["name"]')),
            ),
        ),
        ("a.py", ORC_KEYS, ScriptHeader("Merge JSON", (), "Merged JSON")),
        ("a.sh", BASH, ScriptHeader("Make it loud.", (ScriptParameter("text", "What to say"),), "The same, loud")),
        (
            "a.js",
            NODE,
            ScriptHeader(
                "Make a thing.",
                (ScriptParameter("name", "its name", "string"), ScriptParameter("count", "how many", "number")),
                "it",
            ),
        ),
        ("a.rb", RUBY, ScriptHeader("Tidy up", (ScriptParameter("all", "everything", "bool"),))),
        ("a.js", SLASHES, ScriptHeader("Count.", (), "a number")),
        ("a.py", "# A comment only.\nx = 1\n", ScriptHeader("A comment only.")),
        ("a.py", "# Broken but readable.\ndef (\n", ScriptHeader("Broken but readable.")),
        ("tool", GOOGLE.replace("Args", "Parameters"), None),
        ("a.sh", "echo hello\n", ScriptHeader()),
        ("a.py", "", ScriptHeader()),
    ],
)
def test_the_header_of_each_language(tmp_path: Path, name: str, text: str, header: ScriptHeader | None) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    found = read_header(file)
    assert found == header if header is not None else found.parameters[0].name == "text"


def test_a_python_file_in_its_own_encoding_and_a_binary_one(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes('# coding: latin-1\n"""Zählt."""\n'.encode("latin-1"))
    assert read_header(file).description == "Zählt."
    file.write_bytes(b"\x7fELF\0\xff\xfe")
    assert read_header(file) == ScriptHeader()


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_the_scripts_that_come_with_llmorch_say_what_they_do(path: Path) -> None:
    header = read_header(path)
    assert header.description.endswith(".")
    assert header.returns
    assert all(parameter.type and parameter.description for parameter in header.parameters)
    assert header.parameters


@given(st.text())
def test_any_text_has_a_header(text: str) -> None:
    assert isinstance(parse_header(text), ScriptHeader)
