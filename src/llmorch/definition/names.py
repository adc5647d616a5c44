"""Which names steps and inputs may have, and which known name somebody probably meant."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable

__all__ = ["did_you_mean", "fault_of_name", "nearest"]

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_JINJA = {
    "and", "or", "not", "is", "in", "if", "else", "elif", "endif", "for", "endfor", "set", "endset", "filter",
    "endfilter", "block", "endblock", "macro", "endmacro", "call", "endcall", "import", "from", "include", "extends",
    "raw", "endraw", "with", "endwith", "loop",
}  # fmt: skip
_RESERVED = _JINJA | {"true", "false", "none", "self", "output", "inputs", "item", "iteration"}


def fault_of_name(name: str, *, what: str) -> str | None:
    """What is wrong with a name for a step or input, or None."""
    if name == "<lambda>":
        return f"{what} is a lambda, which has no name of its own; give it name=..."
    if not _NAME.fullmatch(name):
        suggestion = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_0123456789") or "step"
        return f"{what} {name!r} needs another name: lower-case letters, digits, _ and -, such as name={suggestion!r}"
    if name in _RESERVED or keyword.iskeyword(name):
        other = f"{name}-step"
        return f"{what} {name!r} has a name that templates or Python reserve; choose another, such as {other!r}"
    return None


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.8) -> str | None:
    """The known name closest to this one, when one is close (difflib ratio at least `cutoff`)."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the known names, or nothing; to be put at the end of a sentence."""
    names = list(known)
    near = nearest(name, names, cutoff=0.6)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; there are {', '.join(repr(known_name) for known_name in names[:8])}" if names else ""
