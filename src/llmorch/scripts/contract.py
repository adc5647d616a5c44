"""The script side of the contract, for scripts written in Python: parameters in, one JSON object out."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from .._json import dumps, loads
from ..errors import LLMOrchError

__all__ = ["serve"]

_MISTAKE = 1


def serve(function: Callable[..., Mapping[str, Any]], *, input_as: str | None = None) -> int:  # Any: JSON data
    """Call a function with the parameters on standard input, and print what it returns with `"success": true`.

    What it raises is printed as `{"success": false, "error": ...}`. A JSON object that has no `parameters` is taken for
    the parameters themselves, so that a script can be tried from a shell.

    Args:
        function: Takes the parameters by name.
        input_as: The parameter that the step's input stands for when the parameters leave it out.

    Returns:
        The exit code: 0, or 1 when it raised.
    """
    try:
        parameters = _parameters(input_as)
        _check(function, parameters)
        print(dumps({"success": True, **function(**parameters)}))
    except (LLMOrchError, OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        print(dumps({"success": False, "error": _words(error)}))
        return _MISTAKE
    return 0


def _parameters(input_as: str | None) -> dict[str, Any]:
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    told: Any = loads(text) if text.strip() else {}
    if not isinstance(told, dict):
        raise ValueError(f"standard input must hold a JSON object, and not {text.strip()!r:.60}")
    document = cast("dict[str, Any]", told)
    parameters: Any = document.get("parameters", document)
    if not isinstance(parameters, dict):
        raise ValueError("parameters must be a JSON object")
    given = dict(cast("dict[str, Any]", parameters))
    if input_as is not None and "parameters" in document and document.get("input") not in (None, ""):
        given.setdefault(input_as, document["input"])
    return given


def _check(function: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
    """Say which parameters there are, instead of how Python calls functions."""
    known = inspect.signature(function).parameters
    names = ", ".join(known)
    for name in parameters:
        if name not in known:
            raise ValueError(f"there is no parameter {name!r}; there are {names}")
    for name, known_one in known.items():
        if known_one.default is inspect.Parameter.empty and name not in parameters:
            raise ValueError(f"the parameter {name!r} is missing; there are {names}")


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {os.fspath(error.filename)!r}" if error.filename else error.strerror
    return str(error) or type(error).__name__
