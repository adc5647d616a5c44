"""User code that is right passes mypy and pyright in strict mode; each wrong line is reported by both."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest

from tests.typing.checkers import Complaint, mypy, pyright

CASES = Path(__file__).parent / "cases"
MARK = "# error"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None or importlib.util.find_spec("pyright") is None,
    reason="mypy and pyright come with the extra `types`",
)


@cache
def complaints(checker: str, folder: Path) -> tuple[Complaint, ...]:
    """One run of a checker serves every case of a folder."""
    return tuple(mypy(folder) if checker == "mypy" else pyright(folder))


def marked_lines(file: Path) -> set[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if MARK in line}


def names(folder: str) -> list[str]:
    return sorted(file.name for file in (CASES / folder).glob("*.py"))


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("name", names("accepted"))
def test_a_right_program_is_accepted(checker: str, name: str) -> None:
    assert not [found for found in complaints(checker, CASES / "accepted") if found.file == name]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("name", names("rejected"))
def test_each_wrong_line_is_reported_and_nothing_else(checker: str, name: str) -> None:
    wanted = marked_lines(CASES / "rejected" / name)
    found = [found for found in complaints(checker, CASES / "rejected") if found.file == name]
    unexpected = [complaint for complaint in found if complaint.line not in wanted]
    assert (sorted(wanted - {complaint.line for complaint in found}), unexpected) == ([], [])


def test_every_rejected_case_marks_a_line() -> None:
    assert all(marked_lines(CASES / "rejected" / name) for name in names("rejected"))


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_checkers_see_a_wrong_line(checker: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("x: int = 1\ny: str = x\n", encoding="utf-8")
    (found,) = complaints(checker, tmp_path)
    assert (found.file, found.line) == ("wrong.py", 2)
