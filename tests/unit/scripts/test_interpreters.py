"""What runs a script: what is asked for, its extension, its first line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from llmorch.scripts.interpreters import NoInterpreter, command_for


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A folder with programs of these names."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "node", "ruby", "perl", "deno"):
        (folder / name).write_text("", encoding="utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "program"),
    [("a.sh", "bash"), ("a.bash", "bash"), ("a.js", "node"), ("a.mjs", "node"), ("a.CJS", "node"), ("a.rb", "ruby")],
)
def test_the_extension_says_what_runs_it(tmp_path: Path, programs: str, name: str, program: str) -> None:
    assert command_for(tmp_path / name, search=programs) == [f"{programs}/{program}", str(tmp_path / name)]


def test_python_is_the_one_that_runs_llmorch(tmp_path: Path) -> None:
    assert command_for(tmp_path / "a.py") == [sys.executable, str(tmp_path / "a.py")]


def test_what_is_asked_for_wins(tmp_path: Path, programs: str) -> None:
    file = tmp_path / "a.py"
    assert command_for(file, "perl", search=programs) == [f"{programs}/perl", str(file)]
    assert command_for(file, ("deno", "run"), search=programs) == [f"{programs}/deno", "run", str(file)]


def test_without_an_extension_the_first_line_says_it(tmp_path: Path) -> None:
    file = tmp_path / "tool"
    file.write_text("#! /usr/bin/env -S perl -w\nprint 1;\n", encoding="utf-8")
    env = shutil.which("/usr/bin/env")
    assert command_for(file) == [env, "-S perl -w", str(file)]


@pytest.mark.parametrize("content", [b"", b"print 1", b"#!", b"\xff\xfe\0"])
def test_one_that_says_nothing_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tool"
    file.write_bytes(content)
    with pytest.raises(NoInterpreter, match="say so with interpreter="):
        command_for(file)


def test_a_program_that_is_missing_is_named(tmp_path: Path, programs: str) -> None:
    with pytest.raises(NoInterpreter, match=r"'a\.py' needs 'lua', which is not installed where PATH says"):
        command_for(tmp_path / "a.py", "lua", search=programs)
    with pytest.raises(NoInterpreter, match=r"for arguments write \['deno', 'run'\]"):
        command_for(tmp_path / "a.py", "deno run", search=programs)
