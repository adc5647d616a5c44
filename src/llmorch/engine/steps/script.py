"""A step that runs a script: JSON on its standard input, a value from its standard output."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..._json import dumps, loads
from ..._redact import redact
from ...credentials.inherited import inherited
from ...errors import StepError, TimedOut
from ...models.script import Script
from ...models.values import Data, to_data
from ...scripts.find import find_script
from ...scripts.interpreters import command_for
from .script_process import MAX_BYTES, Outcome, carry_out

__all__ = ["LONGEST_VARIABLE", "run_script"]

LONGEST_VARIABLE = 128 * 1024
"""Bytes that Linux takes of one environment variable, its name and the end mark included."""

_INPUT = "input"
_SUCCESS = "success"
_SHOWN = 2000  # characters of standard error in a message


async def run_script(
    script: Script,
    bound: Mapping[str, Data],
    *,
    path: str,
    roots: Sequence[Path],
    statuses: Mapping[str, str] | None = None,
) -> Data:
    """Run a script and give its value: the JSON object it prints, else its text without the line ends after it.

    The script reads `{"input": ..., "parameters": {...}, "context": {}, "dependencies": {name: {"response": ...,
    "status": ...}}}` from standard input, and finds the same in `INPUT_DATA`, `INPUT_TEXT` and `AGENT_PARAMETERS`.
    A variable over `LONGEST_VARIABLE` is left out, since no process could be started with it.

    Args:
        bound: What the step's bindings came to. `input` is the script's input, every other one a dependency.
        path: The step's path.
        roots: The folders scripts may come from.
        statuses: Status of a dependency, by its name; `success` unless given.

    Raises:
        StepError: The script is not there, cannot be started, fails, or prints what is no data.
        TimedOut: It took longer than its timeout; it was ended.
    """
    if os.name != "posix":
        raise StepError(f"Step {path!r} cannot run its script: scripts need Linux or macOS", step=path)
    try:
        file = find_script(script.path_or_name, roots)
        env = inherited(script.env)
        command = command_for(file, script.interpreter, search=env.get("PATH"))
    except (LookupError, OSError) as error:
        raise StepError(f"Step {path!r} cannot run its script: {error}", step=path) from error
    document = _document(script, bound, statuses or {})
    told = _variables(document, path)
    fitting = {name: text for name, text in told.items() if _fits(name, text)}
    try:
        outcome = await carry_out(
            command, given=dumps(document).encode("ascii"), env={**env, **fitting}, timeout_s=script.timeout_s
        )
    except OSError as error:
        raise StepError(f"Step {path!r} cannot start {file.name!r}: {error}", step=path) from error
    return _Reading(script, file, path, outcome, missing=tuple(told.keys() - fitting.keys())).value()


def _document(script: Script, bound: Mapping[str, Data], statuses: Mapping[str, str]) -> dict[str, Data]:
    """What the script reads from its standard input."""
    dependencies = {
        name: {"response": value, "status": statuses.get(name, "success")}
        for name, value in bound.items()
        if name != _INPUT
    }
    parameters = to_data(script.parameters, where="parameters")
    return {"input": bound.get(_INPUT, ""), "parameters": parameters, "context": {}, "dependencies": dependencies}


def _variables(document: Mapping[str, Data], path: str) -> dict[str, str]:
    """The same for scripts that read the environment.

    Source: LLM Orchestra, docs/script-agent-architecture.md (2025-09): without dependencies `INPUT_DATA` is the text of
    the input; with some it is a JSON object of `agent_name`, `input_data`, `context` and `dependencies`, whose
    responses are text. `INPUT_TEXT` is always the text.
    """
    text = _text(document["input"])
    data = text
    if document["dependencies"]:
        dependencies = {
            name: {**found, "response": _text(found["response"])} for name, found in document["dependencies"].items()
        }
        data = dumps({"agent_name": path, "input_data": text, "context": {}, "dependencies": dependencies})
    return {"INPUT_DATA": data, "INPUT_TEXT": text, "AGENT_PARAMETERS": dumps(document["parameters"])}


def _text(value: Data) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value)


def _fits(name: str, text: str) -> bool:
    return "\0" not in text and len(os.fsencode(f"{name}={text}")) < LONGEST_VARIABLE


class _Reading:
    """What a script that has ended comes to."""

    def __init__(self, script: Script, file: Path, path: str, outcome: Outcome, *, missing: Sequence[str]) -> None:
        self._script, self._file, self._path = script, file, path
        self._outcome, self._missing = outcome, sorted(missing)

    def value(self) -> Data:
        """The value.

        Raises:
            StepError: The script failed, or its output is none.
            TimedOut: It was ended because its time was over.
        """
        outcome = self._outcome
        if outcome.timed_out:
            text = f"took longer than its timeout of {self._script.timeout_s:g} s and was ended"
            raise TimedOut(self._message(text, "give it more with timeout=, or see what it waits for"), step=self._path)
        self._check_end()
        try:
            text = outcome.stdout.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what = f"printed something that is not UTF-8 (byte {error.start})"
            raise self._error(what, "print text or JSON; base64 what is binary") from None
        found = self._object(text)
        if outcome.code != 0:
            raise self._error(f"ended with {_ending(outcome.code)}{_reason(found)}", "mend it, or its input")
        if found is not None and found.get(_SUCCESS) is False:
            raise self._error(f"says that it failed{_reason(found)}", "mend it, or its input")
        return text.rstrip("\r\n") if found is None else to_data(found, where=f"the output of step {self._path!r}")

    def _check_end(self) -> None:
        outcome = self._outcome
        if outcome.errno is not None:
            raise self._error(f"could not be started: {os.strerror(outcome.errno)}", "see interpreter=")
        if outcome.flooded:
            what = f"printed more than {MAX_BYTES // 2**20} MiB and was ended"
            raise self._error(what, "write to a file and print its path")
        if outcome.left:
            raise self._error(f"left {outcome.left} processes that cannot be ended", "end them by hand")

    def _object(self, text: str) -> dict[str, Data] | None:
        """The JSON object that the text is; None for any other text."""
        if not text.lstrip().startswith("{"):
            return None
        try:
            found: dict[str, Data] = loads(text)
        except ValueError:
            return None
        except RecursionError:
            raise self._error("printed JSON that is nested too deeply", "print something flatter") from None
        return found

    def _error(self, what: str, hint: str) -> StepError:
        return StepError(self._message(what, hint), step=self._path)

    def _message(self, what: str, hint: str) -> str:
        parts = [f"Step {self._path!r}: the script {self._file.name!r} {what}; {hint}"]
        if self._missing:
            parts.append(
                f"{' and '.join(self._missing)} were not set: over {LONGEST_VARIABLE // 1024} KiB, or with a NUL, they "
                "fit into no environment; standard input has it all"
            )
        shown = redact(self._outcome.stderr.decode("utf-8", "replace").strip())
        if shown:
            cut = "..." if len(shown) > _SHOWN else ""
            parts.append(f"standard error ends with: {cut}{shown[-_SHOWN:]}")
        return ". ".join(parts)


def _ending(code: int | None) -> str:
    if code is None:
        return "an unknown exit code"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _reason(found: Mapping[str, Data] | None) -> str:
    """What an object says went wrong, to be put after a verb."""
    error = None if found is None else found.get("error")
    return "" if error in (None, "") else f": {redact(_text(error))[:_SHOWN]}"
