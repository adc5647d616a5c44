"""What a step does, in documents, under the name of its kind.

| form | action |
|---|---|
| `payload: {name: ..., blocks: [...], ...}` | one LLM call |
| `function: {python: "module:qualname"}` | a Python function |
| `workflow: {name: ..., steps: [...], ...}` | a nested workflow |
| `script: {path_or_name: ..., parameters: {...}, ...}` | a program |
| `question: {text: ..., answer: T, name: ...}` | a question to a person |
| `loop: {payload: ..., until: ..., max_iterations: 3, carry: {...}, on_exhausted: keep}` | any of the above, repeated |
| `dispatch: {choice: facts.kind, among: {key: {payload: ...}}, otherwise: {...}}` | one of several |

`until` and what is carried are expressions, or `{python: "module:qualname"}`; a choice is an expression, or a binding
such as `{from: facts.kind}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

from pydantic import ValidationError

from .._clock import seconds
from ..errors import LLMOrchError, TemplateError
from ..models.question import Question
from ..models.script import Script
from ..models.values import Data, to_data
from ..templates import compile_expression
from ..templates.bounds import is_object
from .actions import (
    OTHERWISE,
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    Rule,
    ScriptAction,
    WorkflowAction,
)
from .document_binding import binding_from, binding_to
from .document_payload import payload_from, payload_to
from .document_read import Reader, number_to
from .document_type import type_from, type_to
from .functions import function_action
from .node import Binding, Filled
from .workflow import WorkflowDef

__all__ = [
    "ACTIONS",
    "BODIES",
    "LOOP",
    "action_from",
    "action_to",
    "choice_from",
    "choice_to",
    "own_name_in",
    "own_name_of",
]

ACTIONS: Final = ("payload", "function", "workflow", "script", "question", "loop", "dispatch")
LOOP: Final = ("until", "max_iterations", "carry", "on_exhausted")
BODIES: Final = ACTIONS[:5]
_DISPATCH: Final = ("choice", "among", "otherwise")
_OPEN: Final = "{{ "
_CLOSE: Final = " }}"
Nested = Callable[[WorkflowDef], Data]
Reads = Callable[[Data, str], WorkflowDef | None]
Inside = Callable[[Mapping[str, Data], str, str | None], ActionDef | None]


def action_to(
    action: ActionDef, nested: Nested, *, inside: Callable[[ActionDef], Mapping[str, Data]] | None = None
) -> dict[str, Data]:
    """The action under the name of its kind, as it stands in a document.

    Args:
        nested: Writes a workflow that is a step.
        inside: Writes what a loop repeats and the branches of a dispatch; unset, as this does.
    """

    def write(part: ActionDef) -> Mapping[str, Data]:
        return action_to(part, nested) if inside is None else inside(part)

    match action:
        case PayloadAction(payload=payload):
            return {"payload": payload_to(payload)}
        case FunctionAction():
            return {"function": {"python": action.address}}
        case WorkflowAction(definition=inner):
            return {"workflow": nested(inner)}
        case ScriptAction(script=script):
            return {"script": _script_to(script)}
        case QuestionAction(question=question):
            return {"question": _question_to(question)}
        case LoopAction(body=body):
            return {"loop": {**write(body), **_turns_to(action)}}
        case DispatchAction(branches=branches, otherwise=otherwise):
            among: dict[str, Data] = {"among": {key: dict(write(branch)) for key, branch in branches}}
            return {"dispatch": among if otherwise is None else {**among, "otherwise": dict(write(otherwise))}}


def _turns_to(action: LoopAction) -> dict[str, Data]:
    written: dict[str, Data] = {"until": _rule_to(action.until), "max_iterations": action.max_iterations}
    if action.carry:
        written["carry"] = {name: _rule_to(rule) for name, rule in action.carry}
    if action.on_exhausted != "keep":
        written["on_exhausted"] = action.on_exhausted
    return written


def _rule_to(rule: Rule) -> Data:
    return rule if isinstance(rule, str) else {"python": rule.address}


def _question_to(question: Question[Any]) -> dict[str, Data]:
    written: dict[str, Data] = {"text": question.text}
    if question.answer is not str:
        written["answer"] = type_to(question.answer)
    if question.name is not None:
        written["name"] = question.name
    return written


def _script_to(script: Script) -> dict[str, Data]:
    fields = Script.model_fields
    written: dict[str, Data] = {}
    for name in fields:
        value = getattr(script, name)
        if name == "timeout":
            value = number_to(seconds(value))
        if name == "path_or_name" or value != fields[name].default:
            written[name] = to_data(value, where=f"{name} of script {script.path_or_name!r}")
    return written


def choice_to(choice: Binding) -> Data:
    """What a dispatch decides by; an expression as its text."""
    if isinstance(choice, Filled) and choice.text.startswith(_OPEN) and choice.text.endswith(_CLOSE):
        expression = choice.text.removeprefix(_OPEN).removesuffix(_CLOSE)
        with suppress(TemplateError):  # such as a text with several holes
            compile_expression(expression)
            return expression
    return binding_to(choice)


def choice_from(reader: Reader, dispatch: Mapping[str, Data], at: str) -> Binding:
    """What a dispatch of a document decides by."""
    choice = dispatch.get("choice")
    if isinstance(choice, str):
        return Filled(f"{_OPEN}{choice}{_CLOSE}", ())
    if choice is None:
        reader.fault(at, "a dispatch has a choice: an expression, or a binding such as {from: facts.kind}")
    return binding_from(reader, choice, f"{at}.choice")


def own_name_in(fields: Mapping[str, Data]) -> str | None:
    """The name that the action of a step in a document brings along, if it does."""
    for kind in ("payload", "question"):
        given = fields.get(kind)
        if is_object(given):
            name = given.get("name")
            return name if isinstance(name, str) else None
    loop = fields.get("loop")
    return own_name_in(loop) if is_object(loop) else None


def own_name_of(action: ActionDef | None) -> str | None:
    """The name that an action brings along, if it does."""
    match action:
        case PayloadAction(payload=payload):
            return payload.name
        case QuestionAction(question=question):
            return question.name
        case LoopAction(body=body):
            return own_name_of(body)
        case FunctionAction() | WorkflowAction() | ScriptAction() | DispatchAction() | None:
            return None


def action_from(
    reader: Reader,
    fields: Mapping[str, Data],
    at: str,
    nested: Reads,
    *,
    known: tuple[str, ...] = ACTIONS,
    inside: Inside | None = None,
) -> ActionDef | None:
    """The one action that a step of a document has, or None with faults.

    Args:
        nested: Reads a workflow that is a step.
        known: Kinds of actions that may stand there.
        inside: Reads what a loop repeats (without a key), or the branch of that key of a dispatch; unset, as this does.
    """

    def read(part: Mapping[str, Data], spot: str, key: str | None) -> ActionDef | None:
        return action_from(reader, part, spot, nested, known=BODIES) if inside is None else inside(part, spot, key)

    kinds = [kind for kind in known if kind in fields]
    if len(kinds) != 1:
        what = "a step" if known is ACTIONS else "this"
        reader.fault(at, f"{what} has exactly one of {', '.join(known)}; this has {' and '.join(kinds) or 'none'}")
        return None
    given, at = fields[kinds[0]], f"{at}.{kinds[0]}"
    match kinds[0]:
        case "payload":
            payload = payload_from(reader, given, at)
            return None if payload is None else PayloadAction(payload)
        case "workflow":
            inner = nested(given, at)
            return None if inner is None else WorkflowAction(inner)
        case "script":
            return _script_from(reader, given, at)
        case "question":
            return _question_from(reader, given, at)
        case "loop":
            return _loop_from(reader, given, at, read)
        case "dispatch":
            return _dispatch_from(reader, given, at, read)
        case _:
            return _function_from(reader, given, at)


def _function_from(reader: Reader, given: Data, at: str) -> FunctionAction | None:
    found = reader.code_at(given, at)
    if found is None:
        return None
    if not callable(found):
        reader.fault(at, f"{given['python']} is {type(found).__name__}, not a function")
        return None
    try:
        return function_action(found)
    except TypeError as error:
        reader.fault(at, str(error))
        return None


def _script_from(reader: Reader, given: Data, at: str) -> ScriptAction | None:
    fields = reader.mapping(given, at, known=tuple(Script.model_fields), required=("path_or_name",))
    if fields is None:
        return None
    made = {**fields, "timeout": reader.number(fields["timeout"], f"{at}.timeout")} if "timeout" in fields else fields
    try:
        return ScriptAction(Script.model_validate(made))
    except ValidationError as error:
        _refused(reader, error, at)
    return None


def _question_from(reader: Reader, given: Data, at: str) -> QuestionAction | None:
    fields = reader.mapping(given, at, known=tuple(Question.model_fields), required=("text",))
    if fields is None:
        return None
    made: dict[str, Any] = dict(fields)  # Any: the answer is a type
    if "answer" in fields:
        made["answer"] = type_from(reader, fields["answer"], f"{at}.answer")
    try:
        return QuestionAction(Question.model_validate(made))
    except ValidationError as error:
        _refused(reader, error, at)
    except (LLMOrchError, TypeError) as error:
        reader.fault(at, str(error))
    return None


def _refused(reader: Reader, error: ValidationError, at: str) -> None:
    for item in error.errors(include_url=False, include_context=False):
        reader.fault(f"{at}.{'.'.join(map(str, item['loc']))}", item["msg"])


def _loop_from(reader: Reader, given: Data, at: str, read: Inside) -> LoopAction | None:
    fields = reader.mapping(given, at, known=(*BODIES, *LOOP), required=("until", "max_iterations"))
    if fields is None:
        return None
    body = read(fields, at, None)
    until = _rule_from(reader, fields["until"], f"{at}.until")
    most = reader.integer(fields["max_iterations"], f"{at}.max_iterations") or 0
    forms = reader.mapping(fields.get("carry", {}), f"{at}.carry") or {}
    carry = [(name, _rule_from(reader, form, f"{at}.carry.{name}")) for name, form in forms.items()]
    exhausted = reader.choice(fields.get("on_exhausted", "keep"), f"{at}.on_exhausted", "keep", "fail")
    on_exhausted: Literal["keep", "fail"] = "fail" if exhausted == "fail" else "keep"
    if body is None or until is None:
        return None
    return LoopAction(body, until, most, tuple((name, rule) for name, rule in carry if rule is not None), on_exhausted)


def _rule_from(reader: Reader, given: Data, at: str) -> Rule | None:
    return given if isinstance(given, str) else _function_from(reader, given, at)


def _dispatch_from(reader: Reader, given: Data, at: str, read: Inside) -> DispatchAction | None:
    fields = reader.mapping(given, at, known=_DISPATCH, required=("among",))
    among = None if fields is None else reader.mapping(fields["among"], f"{at}.among")
    if fields is None or among is None:
        return None
    branches: list[tuple[str, ActionDef]] = []
    otherwise: ActionDef | None = None
    for key, form in [*among.items(), ("", fields.get("otherwise"))]:
        if not key and form is None:
            continue
        spot = f"{at}.among.{key}" if key else f"{at}.otherwise"
        part = reader.mapping(form, spot, known=BODIES)
        action = None if part is None else read(part, spot, key or OTHERWISE)
        if action is None:
            continue
        if key:
            branches.append((key, action))
        else:
            otherwise = action
    return DispatchAction(tuple(branches), otherwise)
