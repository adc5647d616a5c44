"""`typing.TypedDict` before Python 3.12, which pydantic does not take: the same as typing_extensions makes it."""

from __future__ import annotations

import sys
import types
import typing
from functools import lru_cache
from typing import Any

__all__ = ["modern"]


def modern(tp: Any) -> Any:  # Any: a type form
    """The type with every TypedDict of the standard library, at any depth of generics, as pydantic takes it."""
    if sys.version_info >= (3, 12):
        return tp
    if typing.is_typeddict(tp):
        return _remade(tp) if type(tp).__module__ == "typing" else tp
    origin, args = typing.get_origin(tp), typing.get_args(tp)
    if not args or origin is typing.Literal:
        return tp
    made = tuple(modern(arg) for arg in args)
    if all(new is old for new, old in zip(made, args, strict=True)):
        return tp
    if origin is types.UnionType or origin is typing.Union:
        return typing.Union[made]  # noqa: UP007  # of types that are only known here
    if origin is typing.Annotated:
        return typing.Annotated[(made[0], *tp.__metadata__)]
    return tp.copy_with(made) if hasattr(tp, "copy_with") else origin[made]


@lru_cache(maxsize=512)
def _remade(tp: Any) -> Any:  # Any: a TypedDict class
    import typing_extensions

    hints = typing.get_type_hints(tp, include_extras=True)
    fields = {
        name: modern(_bare(hint))
        if _is_required(tp, name, hint)
        else typing_extensions.NotRequired[modern(_bare(hint))]
        for name, hint in hints.items()
    }
    made: Any = typing_extensions.TypedDict(tp.__name__, fields)  # type: ignore[misc]  # a class made from another
    made.__module__, made.__qualname__, made.__doc__ = tp.__module__, tp.__qualname__, tp.__doc__
    return made


def _is_required(tp: Any, name: str, hint: Any) -> bool:  # Any: type forms
    """What the hint says, before what the class says: the class does not read hints that are text."""
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    required: frozenset[str] = tp.__required_keys__
    return name in required


def _bare(hint: Any) -> Any:  # Any: a type form
    """The hint without `Required` and `NotRequired`, which the keys tell."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (typing.Required, typing.NotRequired) else hint
