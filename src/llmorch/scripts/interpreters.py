"""Which program runs a script."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["NoInterpreter", "command_for"]

_PYTHON = (".py", ".python")
_BY_EXTENSION = {
    ".sh": "bash",
    ".bash": "bash",
    ".js": "node",
    ".mjs": "node",
    ".cjs": "node",
    ".rb": "ruby",
}
_FIRST_LINE = 1024


class NoInterpreter(LookupError):
    """Nothing is known, or installed, that runs the script; the text says what to do."""


def command_for(file: Path, interpreter: str | Sequence[str] | None = None, *, search: str | None = None) -> list[str]:
    """The command that runs a script: program, its arguments, the file.

    `interpreter` decides when it is given; else the extension: Python is the one that runs llmorch, `.sh` and `.bash`
    are bash, `.js`, `.mjs` and `.cjs` node, `.rb` ruby; else the file's first line, when that is `#!`. The file need
    not be executable.

    Args:
        search: The folders to look for the program in, as `PATH` writes them; those of this process unless given.

    Raises:
        NoInterpreter: None of these, or the program is not installed.
    """
    wanted = _wanted(file, interpreter)
    program = shutil.which(wanted[0], path=search)
    if program is None:
        hint = f"; for arguments write {wanted[0].split()!r}" if " " in wanted[0] else ""
        raise NoInterpreter(
            f"{file.name!r} needs {wanted[0]!r}, which is not installed where PATH says; install it, or name another "
            f"program with interpreter={hint}"
        )
    return [program, *wanted[1:], str(file)]


def _wanted(file: Path, interpreter: str | Sequence[str] | None) -> list[str]:
    if interpreter is not None:
        return [interpreter] if isinstance(interpreter, str) else list(interpreter)
    extension = file.suffix.lower()
    if extension in _PYTHON:
        return [sys.executable or "python3"]
    if extension in _BY_EXTENSION:
        return [_BY_EXTENSION[extension]]
    with file.open("rb") as opened:
        first = opened.readline(_FIRST_LINE).decode("utf-8", "replace")
    if first.startswith("#!") and first[2:].strip():
        return first[2:].strip().split(maxsplit=1)
    raise NoInterpreter(
        f"{file.name!r} says neither by its extension nor by a first line '#!...' what runs it; "
        "say so with interpreter="
    )
