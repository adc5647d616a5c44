"""A new kind of action is a new case in each of the places listed here, and nowhere can it be forgotten."""

from __future__ import annotations

import ast
from typing import get_args

from llmorch.definition.actions import ActionDef
from tests.architecture.tree import SOURCE

PACKAGE = SOURCE / "llmorch"

KINDS = {kind.__name__ for kind in get_args(ActionDef)}

# What a kind of action is (its names, its document), what the planner makes of it, and what running it does.
PLACES = {
    "definition/document.py",
    "definition/document_action.py",
    "definition/fingerprint.py",
    "definition/needs.py",
    "definition/value_types.py",
    "diff.py",
    "engine/fingerprints.py",
    "engine/stepper.py",
    "planner/checks.py",
    "planner/draw.py",
    "planner/estimate.py",
    "planner/plan.py",
    "planner/types.py",
    "report_view.py",
}


def matches_on_actions(source: str) -> list[set[str]]:
    """For each `match` over actions: the kinds it has a case for."""
    found: list[set[str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Match):
            cases = {
                pattern.cls.id
                for case in node.cases
                for pattern in ast.walk(case.pattern)
                if isinstance(pattern, ast.MatchClass) and isinstance(pattern.cls, ast.Name)
            }
            if cases & KINDS:
                found.append(cases & KINDS)
    return found


def test_actions_are_told_apart_in_the_listed_places_only() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if matches_on_actions(path.read_text(encoding="utf-8"))
    }
    assert found == PLACES


def test_every_place_has_a_case_for_every_kind() -> None:
    lacking = {
        place: sorted(KINDS - cases)
        for place in sorted(PLACES)
        for cases in matches_on_actions((PACKAGE / place).read_text(encoding="utf-8"))
        if cases != KINDS
    }
    assert not lacking, f"add a case for {lacking}"


def test_a_match_that_forgets_a_kind_is_found() -> None:
    source = "match action:\n    case PayloadAction():\n        pass\n    case _:\n        pass\n"
    assert matches_on_actions(source) == [{"PayloadAction"}]
