"""Fingerprints: a hash of everything that determines a step's result, the same in every process and on every machine.

A fingerprint is the sha256 of canonical JSON (keys sorted, no spaces, ASCII), in hex. What is unset is left out, so a
field added later changes no fingerprint of a step that does not use it.

- A payload: rendered messages, model id as written, settings, extra fields, output schema, tools.
- A function: module, qualified name, source (or `version=`) with what it closes over, and the arguments.
- A workflow, loop or dispatch: its document, the code it names, and its inputs.
- A script: its bytes and what it is given. A question: its text and the schema of its answer.
"""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import Any, cast
from weakref import WeakKeyDictionary

from .._json import canonical, canonical_members, sha256
from ..errors import ValueRefused
from ..models.message import Message
from ..models.settings import Settings
from ..models.values import Data, to_data
from ..requests import ToolSpec
from .actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from .workflow import WorkflowDef

__all__ = [
    "action_codes",
    "action_fingerprint",
    "code_of",
    "function_fingerprint",
    "payload_fingerprint",
    "question_fingerprint",
    "script_fingerprint",
    "workflow_fingerprint",
]

_PLAIN: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()  # canonical JSON of its code, by function
_SOURCES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def payload_fingerprint(
    messages: Iterable[Message],
    model: str,
    *,
    settings: Settings,
    extra: Mapping[str, Data] | None = None,
    output_schema: Mapping[str, Data] | None = None,
    tools: Sequence[ToolSpec] = (),
) -> str:
    """Fingerprint of one call.

    Args:
        messages: The prompt as it would be sent.
        model: The id as written, such as `openai:gpt-5-mini`; a server's address does not count.
        output_schema: JSON schema of the answer; None for text.
    """
    body: dict[str, Data] = {"kind": "payload", "messages": [_message(message) for message in messages], "model": model}
    given = settings.given()
    if given:
        body["settings"] = given
    if extra:
        body["extra"] = to_data(extra, where="extra")
    if output_schema is not None:
        body["output"] = to_data(output_schema, where="output schema")
    if tools:
        body["tools"] = [[tool.name, tool.description, to_data(tool.schema, where="tool schema")] for tool in tools]
    return sha256(body)


def _message(message: Message) -> Data:
    if isinstance(message.content, str) and not message.tool_calls and message.tool_call_id is None:
        return [message.role, message.content]
    return message.model_dump(mode="json", exclude={"vendor"})


def function_fingerprint(action: FunctionAction, arguments: Mapping[str, Data]) -> str:
    """Fingerprint of one run of a function step.

    The function's source counts without its indentation, as do the values it closes over and its defaults as far as
    they are data. Globals and other functions that it calls do not: `@step(version=...)` stands for all of it.
    """
    body = f'{{"arguments":{canonical_members(arguments)},"code":{_code_text(action)},"kind":"function"}}'
    return hashlib.sha256(body.encode("ascii")).hexdigest()


def workflow_fingerprint(
    document: Mapping[str, Data], inputs: Mapping[str, Data], *, code: Mapping[str, str] | None = None
) -> str:
    """Fingerprint of one run of a nested workflow.

    Args:
        document: As `to_document` writes it.
        code: As `code_of` gives it; without it a changed function leaves the fingerprint as it was.
    """
    body: dict[str, Data] = {"kind": "workflow", "definition": document, "inputs": dict(inputs)}
    if code:
        body["code"] = dict(code)
    return sha256(body)


def code_of(definition: WorkflowDef) -> Mapping[str, str]:
    """Path of each function step, at any depth -> hash of its code; worked out once."""
    found = definition.memo.get("code")
    if found is None:
        found = definition.memo["code"] = dict(_codes(definition, ""))
    return dict(found)


def _codes(definition: WorkflowDef, prefix: str) -> Iterable[tuple[str, str]]:
    for step in definition.steps:
        yield from action_codes(step.action, prefix + step.name)


def action_codes(action: ActionDef, path: str) -> Iterable[tuple[str, str]]:
    """Where code stands in an action -> its hash."""
    match action:
        case FunctionAction():
            yield path, hashlib.sha256(_code_text(action).encode("ascii")).hexdigest()
        case WorkflowAction(definition=inner):
            yield from _codes(inner, f"{path}/")
        case LoopAction(body=body):
            yield from action_codes(body, path)
            for place, rule in enumerate(action.rules):
                if isinstance(rule, FunctionAction):
                    yield from action_codes(rule, f"{path}@{place}")
        case DispatchAction():
            for key, branch in action.all_branches:
                yield from action_codes(branch, f"{path}/{key}")
        case PayloadAction() | ScriptAction() | QuestionAction():
            pass


def question_fingerprint(text: str, schema: Mapping[str, Data]) -> str:
    """Fingerprint of one question to a person.

    Args:
        text: As the person reads it.
        schema: JSON schema of the answer.
    """
    return sha256({"kind": "question", "text": text, "answer": to_data(schema)})


def script_fingerprint(parts: Mapping[str, Data], inputs: Mapping[str, Data]) -> str:
    """Fingerprint of one run of a script.

    Args:
        parts: What there is to know of the script: a hash of its bytes, its parameters.
        inputs: What the step gives it.
    """
    return sha256({"kind": "script", **parts, "inputs": dict(inputs)})


def action_fingerprint(action: Data, inputs: Mapping[str, Data], *, code: Mapping[str, str]) -> str:
    """Fingerprint of one run of a loop or dispatch.

    Args:
        action: As it stands in a document.
        code: As `action_codes` gives it.
    """
    return sha256({"kind": "control", "action": action, "inputs": dict(inputs), "code": dict(code)})


def _code_text(action: FunctionAction) -> str:
    """The canonical JSON of a function step's code, or of the version that stands for it."""
    function = action.function
    if action.version is not None or not _is_plain(function):  # what it closes over may change between two calls
        return canonical(_action_code(action)).decode("ascii")
    found = _PLAIN.get(function)
    if found is None:
        found = _PLAIN[function] = canonical(_action_code(action)).decode("ascii")
    return found


def _is_plain(function: Callable[..., Any]) -> bool:
    """Whether its source is all there is to a function."""
    return (
        isinstance(function, FunctionType)
        and not function.__closure__
        and not function.__defaults__
        and not function.__kwdefaults__
    )


def _action_code(action: FunctionAction) -> Data:
    if action.version is not None:
        return [action.address, "version", action.version]
    return [action.address, "source", _Code().of(action.function)]


class _Code:
    """What is known of a callable's code, as data; a function met again is named by its number."""

    def __init__(self) -> None:
        self.met: dict[int, int] = {}

    def of(self, function: Callable[..., Any]) -> Data:
        """The code of a callable with what it closes over."""
        again = self.met.get(id(function))
        if again is not None:
            return ["again", again]
        self.met[id(function)] = len(self.met)
        if isinstance(function, partial):
            bound = [self._captured(value) for value in function.args]
            return ["partial", self.of(function.func), bound, self._named(function.keywords)]
        if inspect.ismethod(function):
            return ["method", self.of(function.__func__), self._captured(function.__self__)]
        if not inspect.isroutine(function) and not inspect.isclass(function):
            return ["object", _source(type(function)), self._captured(function)]
        defaults = [self._captured(value) for value in getattr(function, "__defaults__", None) or ()]
        names: tuple[str, ...] = getattr(getattr(function, "__code__", None), "co_freevars", ())
        cells = getattr(function, "__closure__", None) or ()
        closed = {name: _content(cell) for name, cell in zip(names, cells, strict=False)}
        named = self._named(getattr(function, "__kwdefaults__", None))
        return [_source(function), defaults, named, self._named(closed)]

    def _named(self, values: Mapping[str, object] | None) -> Data:
        return {name: self._captured(value) for name, value in (values or {}).items()}

    def _captured(self, value: Any) -> Data:  # Any: whatever a function closes over
        """Data as it is, a function by its code, anything else by its type."""
        try:
            return ["data", to_data(value)]
        except (ValueRefused, RecursionError):
            pass  # no data, or data that holds itself
        if _is_code(value):
            return ["code", _address(value), self.of(value)]
        return ["type", _address(value if isinstance(value, type) else type(value))]


def _is_code(value: object) -> bool:
    return inspect.isroutine(value) or isinstance(value, partial)


def _content(cell: Any) -> object:  # Any: types.CellType, whose content raises while it is empty
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _address(thing: object) -> str:
    return f"{getattr(thing, '__module__', '?')}:{getattr(thing, '__qualname__', '?')}"


def _source(thing: Any) -> str:  # Any: a function or a class
    """The source without its indentation; for code that is in no file, its bytecode; else nothing. Read once."""
    key = getattr(inspect.unwrap(thing), "__code__", thing)  # closures made of one `def` share it
    try:
        found = _SOURCES.get(key)
    except TypeError:  # it cannot be referred to weakly
        return _read_source(thing)
    if found is None:
        found = _SOURCES[key] = _read_source(thing)
    return found


def _read_source(thing: Any) -> str:  # Any: as above
    try:
        text = textwrap.dedent(inspect.getsource(thing))
        return f"{text}{_column(thing)}" if text.count("lambda") > 1 else text
    except (OSError, TypeError):
        code = getattr(inspect.unwrap(thing), "__code__", None)
    if code is None:
        return ""
    constants = [_constant(constant) for constant in code.co_consts if not hasattr(constant, "co_code")]
    return f"{code.co_code.hex()} {code.co_names} [{', '.join(constants)}]"


def _column(thing: Any) -> str:  # Any: as above
    """Where in its lines a lambda stands, as several may share them; nothing for what has a name."""
    code = getattr(inspect.unwrap(thing), "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return ""
    columns = [column for _, _, column, end in code.co_positions() if column is not None and column != end]
    return f" @{min(columns, default=0)}"


def _constant(constant: object) -> str:
    """The same text in every process; the order of a set is not."""
    if isinstance(constant, frozenset):
        return f"{{{', '.join(sorted(map(_constant, cast('frozenset[object]', constant))))}}}"
    return repr(constant)
