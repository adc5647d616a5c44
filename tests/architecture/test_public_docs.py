"""Public means documented: every class, function and method of the face says what the caller gets."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import llmorch


def undocumented(name: str, thing: Any) -> Iterator[str]:
    """Members defined by llmorch that a caller may name and that say nothing."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return
    if not (thing.__doc__ or "").strip():
        yield name
    if not inspect.isclass(thing):
        return
    for owner in thing.__mro__:
        if owner.__module__.partition(".")[0] != "llmorch":
            continue
        for member, value in vars(owner).items():
            plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            is_verb = inspect.isfunction(plain) or isinstance(plain, property | cached_property)
            if is_verb and not member.startswith("_") and not (plain.__doc__ or "").strip():
                yield f"{name}.{member}"


def test_everything_in_the_face_is_documented() -> None:
    missing = [found for name in llmorch.__all__ for found in undocumented(name, getattr(llmorch, name))]
    assert not missing


def test_a_member_without_a_docstring_is_found() -> None:
    class Silent:
        """Says something."""

        def speak(self) -> None:
            pass

        @property
        def volume(self) -> int:
            return 11

        def _whisper(self) -> None:
            pass

    Silent.__module__ = "llmorch.silent"
    assert list(undocumented("Silent", Silent)) == ["Silent.speak", "Silent.volume"]
