"""`python -m llmorch scripts` as somebody types it, mistakes included."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from llmorch.__main__ import main
from tests.architecture.tree import ROOT

SHOUT = '"""Say it loud.\n\nParameters:\n    times (int): How often.\n\nReturns:\n    Text.\n"""\n'
BODY = """
import json, sys
told = json.load(sys.stdin)
print(str(told['input']).upper() * told['parameters'].get('times', 1))
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one script, and the working directory in it."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "shout_out.py").write_text(SHOUT + BODY, encoding="utf-8")
    (tmp_path / "scripts" / "fail.sh").write_text("echo why >&2; exit 3\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_shows_the_projects_scripts_and_those_of_llmorch(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scripts", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{project / 'scripts'}:"
    assert [line.split() for line in lines[1:3]] == [["fail.sh"], ["shout_out.py", "Say", "it", "loud."]]
    assert lines[3] == "llmorch:"
    assert any(line.split()[:2] == ["json_extract.py", "Take"] for line in lines)
    assert main(["scripts", "list", "--json", "--root", str(project / "scripts")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1] == {
        "name": "shout_out.py",
        "path": str(project / "scripts" / "shout_out.py"),
        "description": "Say it loud.",
        "parameters": [{"name": "times", "type": "int", "description": "How often."}],
        "returns": "Text.",
    }


def test_show_reads_the_header_and_runs_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "scripts" / "shout_out.py").write_text(SHOUT + "raise SystemExit('ran')\n", encoding="utf-8")
    assert main(["scripts", "show", "shout-out"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("shout-out\n  Say it loud.\n\nFile         ")
    assert f"Runs with    {sys.executable}\nParameters   times (int): How often.\nReturns      Text.\n" in printed
    assert main(["scripts", "show", "shout_out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["interpreter"] == [sys.executable]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["shout_out", "--input", "tea"], "TEA\n"),
        (["shout_out", "--input", "tea", "--parameters", '{"times": 2}', "--timeout", "30"], "TEATEA\n"),
        (["shout_out", "--input", "[1, true]"], "[1, TRUE]\n"),
        (["shout_out", "--input", "17"], "17\n"),
        (["shout_out", "--interpreter", sys.executable], "\n"),
    ],
)
def test_test_runs_it_and_prints_its_value(
    capsys: pytest.CaptureFixture[str], arguments: list[str], printed: str
) -> None:
    assert main(["scripts", "test", *arguments]) == 0
    assert capsys.readouterr() == (printed, "")


def test_an_object_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--parameters", '{"fields": ["a"]}', "--input", '{"a": "é"}']
    assert main(["scripts", "test", "json_extract", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["extracted"] == {"a": "é"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "shut_out"], 2, "no script 'shut_out' in .*; did you mean 'shout_out.py'"),
        (["test", "../x"], 2, "goes upwards"),
        (["test", "shout_out", "--parameters", "{"], 2, "--parameters takes a JSON object"),
        (["test", "shout_out", "--parameters", "[1]"], 2, "--parameters takes a JSON object"),
        (["test", "shout_out", "--timeout", "0"], 2, "timeout: .*more than 0 seconds"),
        (["test", "shout_out", "--interpreter", "no-such-program"], 2, "needs 'no-such-program'"),
        (["test", "shout_out", "--env", "A=1"], 2, "env: .*names of environment variables"),
        (["list", "--root", "nowhere"], 2, "'nowhere' is no folder"),
        (["test", "fail"], 1, "the script 'fail.sh' ended with exit code 3; .*standard error ends with: why"),
        (["test", "shout_out", "--timeout", "0.001"], 1, "took longer than its timeout"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert main(["scripts", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("llmorch scripts: ")
    assert re.search(said, printed.err)


def test_without_a_verb_it_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["scripts"])
    assert caught.value.code == 2
    assert "VERB" in capsys.readouterr().err


def test_the_scripts_of_the_examples_run_as_their_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(ROOT / "examples" / "scripts")]
    assert main(["scripts", "list", *root]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:4])
    assert listed == {
        "count_words.py": "Count the words of a text.",
        "keys.js": "Name the keys of everything a step depends on.",
        "shout.sh": "Say a text loudly.",
    }
    assert main(["scripts", "test", "count_words", *root, "--input", "to be or not"]) == 0
    assert json.loads(capsys.readouterr().out) == {"success": True, "words": 4, "longest": "not"}
    assert main(["scripts", "test", "shout", *root, "--input", "to be"]) == 0
    assert capsys.readouterr().out == "TO BE!\n"
    if shutil.which("node") is not None:
        assert main(["scripts", "test", "keys", *root]) == 0
        assert json.loads(capsys.readouterr().out) == {"success": True, "keys": {}}
    arguments = ["--input", "a", "--parameters", '{"least": 9}']
    assert main(["scripts", "test", "count_words", *root, *arguments]) == 1
    assert "says that it failed: no word has 9 letters or more" in capsys.readouterr().err
