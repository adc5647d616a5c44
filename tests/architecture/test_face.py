"""The public face is frozen: a name comes or goes only together with its line in `face.txt`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import GenericAlias, UnionType

import pytest

import llmorch
from llmorch.errors import LLMOrchError
from llmorch.events import Event
from tests.architecture.tree import SOURCE

FROZEN = (Path(__file__).parent / "face.txt").read_text(encoding="utf-8").split()


def test_the_face_is_the_frozen_one() -> None:
    now = set(llmorch.__all__)
    gone, new = sorted(set(FROZEN) - now), sorted(now - set(FROZEN))
    assert (gone, new) == ([], []), "a change of the face also changes face.txt and CHANGELOG.md"


def test_the_frozen_list_is_sorted_and_names_nothing_twice() -> None:
    assert sorted(set(FROZEN)) == FROZEN


def test_every_public_name_is_something_documented() -> None:
    assert not [fault for name in FROZEN if (fault := undocumented(name, getattr(llmorch, name, None)))]


def test_every_public_class_shows_an_example() -> None:
    assert not [name for name in FROZEN if lacks_example(getattr(llmorch, name, None))]


def undocumented(name: str, thing: object) -> str | None:
    """What is wrong with a public name; None when nothing is. Unions and Literals have no docstring to write."""
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return None if (thing.__doc__ or "").strip() else f"{name} has no docstring"
    is_type = isinstance(thing, GenericAlias | UnionType) or hasattr(thing, "__origin__")
    return None if is_type else f"{name} is no class, function or type but {thing!r}"


def lacks_example(thing: object) -> bool:
    """Whether it is a class that must show how it is used: events and errors are read, not made."""
    return (
        inspect.isclass(thing) and not issubclass(thing, LLMOrchError | Event) and ">>> " not in (thing.__doc__ or "")
    )


def test_a_class_without_an_example_is_found() -> None:
    class Bare:
        """Says nothing more."""

    class Shown:
        """Says it.

        Example:
            >>> Shown()
        """

    assert (lacks_example(Bare), lacks_example(Shown), lacks_example(LLMOrchError)) == (True, False, False)


def test_dir_shows_the_face_before_anything_is_loaded() -> None:
    assert set(FROZEN) <= set(dir(llmorch))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = llmorch.no_such_name


def test_type_checkers_see_the_names_that_are_there_at_runtime() -> None:
    tree = ast.parse((SOURCE / "llmorch" / "__init__.py").read_text(encoding="utf-8"))
    guards = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    seen = {
        alias.asname or alias.name
        for guard in guards
        for node in ast.walk(guard)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(set(FROZEN) - seen) == []
