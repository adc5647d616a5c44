"""`python -m llmorch scripts`: list scripts, show what they say of themselves, try one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
from pydantic import ValidationError

from .engine.steps.script import run_script
from .errors import LLMOrchError
from .models.script import Script
from .scripts.find import SHIPPED, ScriptNotFound, all_scripts, default_roots, find_script
from .scripts.header import ScriptHeader, read_header
from .scripts.interpreters import NoInterpreter, command_for

__all__ = ["run_command"]

_FAILED, _MISTAKE, _STOPPED = 1, 2, 130
_SHIPPED_NAME = "llmorch"


class _Mistake(Exception):
    """Something the user can put right; its text says how."""


def run_command(options: argparse.Namespace) -> int:
    """Carry out `list`, `show` or `test`; the exit code is 0, 1 when the script failed, 2 for a mistake of the user."""
    try:
        roots = _roots(options.roots)
        if options.verb == "list":
            return _list(roots, as_json=options.json)
        if options.verb == "show":
            return _show(options.name, roots, as_json=options.json)
        return _test(options, roots)
    except (_Mistake, ScriptNotFound, NoInterpreter) as error:
        return _complain(error, _MISTAKE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains while it exits
        return _FAILED
    except (LLMOrchError, OSError) as error:
        return _complain(error, _FAILED)
    except KeyboardInterrupt:
        return _complain("stopped", _STOPPED)


def _complain(error: object, code: int) -> int:
    print(f"llmorch scripts: {error}", file=sys.stderr)
    return code


def _roots(given: Sequence[Path] | None) -> tuple[Path, ...]:
    for root in given or ():
        if not root.is_dir():
            raise _Mistake(f"{str(root)!r} is no folder; name one with --root")
    return tuple(given) if given else default_roots()


def _list(roots: Sequence[Path], *, as_json: bool) -> int:
    found = [(name, path, _header(path)) for name, path in all_scripts(roots)]
    if as_json:
        rows = [{"name": name, "path": str(path), **_as_data(header)} for name, path, header in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    width = max((len(name) for name, _, _ in found), default=0)
    for root in (*roots, SHIPPED):
        lines = [(name, header) for name, path, header in found if path.is_relative_to(root)]
        if lines:
            print(f"{_SHIPPED_NAME if root == SHIPPED else root}:")
        for name, header in lines:
            print(f"  {name:<{width}}  {header.description}".rstrip())
    return 0


def _show(name: str, roots: Sequence[Path], *, as_json: bool) -> int:
    path = find_script(name, roots)
    header = read_header(path)
    try:
        command = command_for(path)[:-1]
    except NoInterpreter:
        command = []
    if as_json:
        shown = {"name": Script(name).name, "path": str(path), "interpreter": command, **_as_data(header)}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return 0
    print(f"{Script(name).name}\n  {header.description or '(says nothing of itself)'}\n")
    print(f"File         {path}")
    print(f"Runs with    {' '.join(command) or '(unknown: say so with interpreter=)'}")
    for position, parameter in enumerate(header.parameters):
        kind = f" ({parameter.type})" if parameter.type else ""
        line = f"{parameter.name}{kind}: {parameter.description}".removesuffix(": ")
        print(f"{'' if position else 'Parameters':<12} {line}")
    if header.returns:
        print(f"Returns      {header.returns}")
    return 0


def _test(options: argparse.Namespace, roots: Sequence[Path]) -> int:
    parameters = _parsed(options.parameters)
    if not isinstance(parameters, dict):
        raise _Mistake(f'--parameters takes a JSON object, such as \'{{"path": "a.txt"}}\', not {options.parameters!r}')
    try:
        script = Script(
            options.name,
            parameters=cast("dict[str, Any]", parameters),
            interpreter=options.interpreter,
            timeout=options.timeout,
            env=options.env,
        )
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise _Mistake(faults) from error
    command_for(find_script(script.path_or_name, roots), script.interpreter)
    bound = {} if options.input is None else {"input": _input(options.input)}
    value = anyio.run(partial(run_script, script, bound, path=script.name, roots=roots))
    print(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
    return 0


def _input(text: str) -> Any:  # Any: JSON data
    found = _parsed(text)
    return cast("Any", found) if isinstance(found, dict | list) else text


def _parsed(text: str) -> object:
    """What the JSON text holds; None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _header(path: Path) -> ScriptHeader:
    try:
        return read_header(path)
    except OSError:
        return ScriptHeader("(cannot be read)")


def _as_data(header: ScriptHeader) -> dict[str, Any]:
    parameters = [
        {"name": found.name, "type": found.type, "description": found.description} for found in header.parameters
    ]
    return {"description": header.description, "parameters": parameters, "returns": header.returns}
