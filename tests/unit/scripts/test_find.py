"""Scripts are found by name or path, and never outside their folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmorch.models.script import Script
from llmorch.scripts import (
    ScriptNotFound,
    all_scripts,
    default_roots,
    find_script,
    script_fingerprint_parts,
)
from llmorch.scripts.find import SHIPPED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of scripts beside a file that is none of them."""
    for name in (
        "count_words.py", "text/clean-up.sh", "text/deep/count_words.py", "tool", "notes.md", "twin.py", "twin.sh",
        "json_extract.py", ".hidden/secret.py", "__pycache__/old.py", "text/_shared.py",
    ):  # fmt: skip
        path = tmp_path / "scripts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n", encoding="utf-8")
    (tmp_path / "scripts" / "tool").chmod(0o755)
    (tmp_path / "outside.py").write_text("", encoding="utf-8")
    return tmp_path / "scripts"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("count_words", "count_words.py"),
        ("count-words", "count_words.py"),
        ("count-words.py", "count_words.py"),
        ("clean_up", "text/clean-up.sh"),
        ("text/clean_up", "text/clean-up.sh"),
        ("text/clean-up.sh", "text/clean-up.sh"),
        ("text/deep/count_words", "text/deep/count_words.py"),
        ("tool", "tool"),
        ("notes.md", "notes.md"),
        ("twin.sh", "twin.sh"),
        ("json_extract", "json_extract.py"),
    ],
)
def test_a_name_or_path_finds_its_file(root: Path, asked: str, found: str) -> None:
    assert find_script(asked, [root]) == (root / found).resolve()


def test_an_earlier_folder_wins_and_what_ships_comes_last(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "count_words.sh").touch()
    assert find_script("count_words", [other, root]).parent == other.resolve()
    assert find_script("json_extract", [other]) == SHIPPED / "json_extract.py"
    assert find_script("primitives/data-transform/json_extract.py", [other]) == SHIPPED / "json_extract.py"


def test_an_absolute_path_and_one_from_the_working_directory_must_be_inside(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    file = (root / "count_words.py").resolve()
    assert find_script(str(root / "count_words.py"), [root]) == file
    assert find_script("scripts/count_words.py", [root]) == file
    assert find_script("./scripts/count_words.py", [Path("scripts")]) == file
    (root.parent / "beside").mkdir()
    (root.parent / "beside" / "x.py").touch()
    for outside in (str(root.parent / "outside.py"), "beside/x.py"):
        with pytest.raises(ScriptNotFound, match="outside the script folders"):
            find_script(outside, [root])


@pytest.mark.parametrize("asked", ["../outside.py", "text/../../outside.py", "text/../count_words.py"])
def test_no_path_goes_upwards(root: Path, asked: str) -> None:
    with pytest.raises(ScriptNotFound, match=r"goes upwards with '\.\.'"):
        find_script(asked, [root])


def test_a_link_may_not_lead_out(root: Path) -> None:
    (root / "link.py").symlink_to(root.parent / "outside.py")
    (root / "folder").symlink_to(root.parent, target_is_directory=True)
    (root / "inside.py").symlink_to(root / "text" / "clean-up.sh")
    (root / "circle.py").symlink_to(root / "circle.py")
    assert find_script("inside", [root]) == (root / "text" / "clean-up.sh").resolve()
    for asked in ("link", "link.py", "folder/outside.py"):
        with pytest.raises(ScriptNotFound, match="outside the script folders"):
            find_script(asked, [root])
    with pytest.raises(ScriptNotFound, match="cannot be read"):
        find_script("circle.py", [root])


def test_only_a_regular_file_is_a_script(root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    (root / "null.py").symlink_to("/dev/null")
    with pytest.raises(ScriptNotFound, match="no regular file"):
        find_script("pipe", [root])
    with pytest.raises(ScriptNotFound, match="outside the script folders"):
        find_script("null", [root])
    with pytest.raises(ScriptNotFound, match="no regular file"):
        find_script("/dev/null", [Path("/dev")])


def test_a_name_that_two_files_answer_to_is_refused(root: Path) -> None:
    with pytest.raises(
        ScriptNotFound, match=r"'twin' may be 'twin\.py' and 'twin\.sh' in .*; name one of them in full"
    ):
        find_script("twin", [root])


@pytest.mark.parametrize("asked", ["secret", "old", "", ".", "text"])
def test_what_is_hidden_or_no_file_is_not_found(root: Path, asked: str) -> None:
    with pytest.raises(ScriptNotFound, match="no script"):
        find_script(asked, [root])


def test_the_error_says_what_was_looked_for_where_and_what_is_near(root: Path) -> None:
    with pytest.raises(ScriptNotFound) as caught:
        find_script("count-word", [root])
    text = str(caught.value)
    assert f"no script 'count-word' in {root}, nor among those that come with llmorch; did you mean" in text
    assert "'count_words.py'" in text
    with pytest.raises(ScriptNotFound, match=r"neither \./scripts nor \.llmorch/scripts\).*; there are anova\.py"):
        find_script("zzz", [])


def test_every_script_is_listed_once(root: Path) -> None:
    names = [name for name, path in all_scripts([root]) if not path.is_relative_to(SHIPPED)]
    assert names == [
        "count_words.py", "json_extract.py", "tool", "twin.py", "twin.sh", "text/clean-up.sh",
        "text/deep/count_words.py",
    ]  # fmt: skip
    assert [name for name, _ in all_scripts([root])].count("json_extract.py") == 1


def test_the_folders_are_those_of_the_project_and_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    below = tmp_path / "src" / "scripts"
    below.mkdir(parents=True)
    (tmp_path / ".llmorch" / "scripts").mkdir(parents=True)
    assert default_roots(tmp_path / "src") == (below, tmp_path / ".llmorch" / "scripts")
    (tmp_path / "scripts").mkdir()
    assert default_roots(tmp_path) == (tmp_path / "scripts", tmp_path / ".llmorch" / "scripts")


def test_the_bytes_the_parameters_and_the_interpreter_make_the_fingerprint(root: Path) -> None:
    def parts(script: Script) -> dict[str, object]:
        return script_fingerprint_parts(script, [root])

    plain = parts(Script("count_words"))
    assert plain.keys() == {"bytes"}
    assert parts(Script("count-words.py", timeout=1, env=["A"])) == plain
    assert parts(Script("count_words", parameters={"a": [1]})) == {**plain, "parameters": {"a": [1]}}
    assert parts(Script("count_words", interpreter=["node", "-x"])) == {**plain, "interpreter": ["node", "-x"]}
    (root / "count_words.py").write_text("# changed\n", encoding="utf-8")
    assert parts(Script("count_words")) != plain
