"""The table of mutants fits the source and the tests, and the runner tells a caught mutant from any other."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT
from tests.durability.report import page
from tests.durability.results import environment
from tests.mutants.in_control import IN_CONTROL
from tests.mutants.in_engine import IN_ENGINE
from tests.mutants.in_stores import IN_STORES
from tests.mutants.mutant import PACKAGE, Mutant
from tests.mutants.mutants import MUTANTS
from tests.mutants.run import Copy, tried
from tests.mutants.witness import base_of

ALWAYS = {
    "unawaited-start", "two-transactions", "commit-in-finally", "epoch-unchecked", "claims-living",
    "attempts-in-memory", "in-completion-order", "truncated-accepted", "definition-reread", "start-after-sending",
    "later-unit-first",
}  # fmt: skip
"""Bugs that have been met elsewhere, and must never go unnoticed here."""


def test_every_name_is_there_once() -> None:
    assert len(MUTANTS) == len(IN_ENGINE) + len(IN_CONTROL) + len(IN_STORES)
    assert set(MUTANTS) >= ALWAYS


@pytest.mark.parametrize("name", MUTANTS)
def test_every_text_stands_once_in_its_file(name: str) -> None:
    mutant = MUTANTS[name]
    changed = ast.unparse(ast.parse(mutant.applied()))
    assert changed != ast.unparse(ast.parse((PACKAGE / mutant.file).read_text(encoding="utf-8")))


@cache
def functions_in(path: str) -> set[str]:
    """Names of the tests of a file, those in a class with its name before them."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        inside = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        found |= {inside + one.name for one in functions if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


@pytest.mark.parametrize("name", MUTANTS)
def test_every_test_that_is_named_exists(name: str) -> None:
    assert MUTANTS[name].caught_by
    for test in MUTANTS[name].caught_by:
        path, _, function = base_of(test).partition("::")
        assert function.rpartition("::")[2].startswith("test_")
        assert function in functions_in(path), f"{path} has no {function}"


# The runner

PLACES = "tests/unit/engine/test_places.py::test_those_who_wait_get_a_place_in_their_order"
FIRST = "engine/places.py"


def judged(tmp_path: Path, *edits: tuple[str, str], file: str = FIRST, tests: tuple[str, ...] = (PLACES,)) -> str:
    (verdict,) = tried([Mutant("sample", "Something.", file, edits, tests)], Copy(tmp_path), skipped={})
    return f"{verdict.outcome}: {verdict.told}"


def test_a_mutant_that_a_test_notices_is_caught(tmp_path: Path) -> None:
    assert judged(tmp_path, ("popleft()", "pop()")).startswith("caught: AssertionError")
    copied = (tmp_path / "src" / "llmorch" / FIRST).read_text(encoding="utf-8")
    assert copied == (PACKAGE / FIRST).read_text(encoding="utf-8"), "the copy is sound again"


def test_a_mutant_that_one_of_its_tests_does_not_notice_survives(tmp_path: Path) -> None:
    other = PLACES.replace("those_who_wait_get_a_place_in_their_order", "a_free_place_is_taken_at_once")
    assert judged(tmp_path, ("popleft()", "pop()"), tests=(PLACES, other)) == f"survived: {other} does not notice it"


def test_a_package_that_cannot_be_imported_is_not_caught(tmp_path: Path) -> None:
    edit = ("from collections import deque", "from collections import deque, no_such_name")
    assert "no_such_name" in (told := judged(tmp_path, edit))
    assert told.startswith("survived: ")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (("no such text", ""), "has 0 times, not once: 'no such text'"),
        (("self.", ""), "times, not once: 'self.'"),
        (("from collections import deque", "from"), "would be no Python"),
    ],
)
def test_a_text_that_does_not_fit_is_told(tmp_path: Path, edit: tuple[str, str], told: str) -> None:
    verdict = judged(tmp_path, edit)
    assert verdict.startswith("unfit: sample: engine/places.py ")
    assert told in verdict


def test_a_test_that_cannot_run_here_makes_no_verdict(tmp_path: Path) -> None:
    mutant = Mutant("sample", "Something.", FIRST, (("popleft()", "pop()"),), (PLACES,))
    (verdict,) = tried([mutant], Copy(tmp_path), skipped={PLACES: "there is no server"})
    assert (verdict.outcome, verdict.told) == ("not tried", "there is no server")


# The report


def test_the_report_has_a_row_for_each_mutant() -> None:
    kept = {"proof": "mutants", "file": "x.py", "seconds": 1.5, **environment()}
    shown = page(
        [
            {**kept, "fixture": "one", "breaks": "It breaks.", "outcome": "caught", "told": "a test | notices it"},
            {**kept, "fixture": "two", "breaks": "It too.", "outcome": "survived", "told": "nobody does"},
        ]
    )
    assert "1 of 2 were noticed" in shown
    assert "| one | x.py | It breaks. | a test \\| notices it | 1.5 |" in shown
    assert "| two | x.py | It too. | **survived**: nobody does | 1.5 |" in shown
    assert "| mutants |" not in shown, "they are no kills and have no totals"
