"""The document form of a workflow: what is saved to files, recorded with runs and hashed.

```yaml
llmorch: 1
name: article-to-post
description: ...
on_error: fail | skip
inputs:
  audience: {type: str, default: engineers, description: ..., untrusted: true}
steps:
  - name: facts
    payload: {name: extract, blocks: [...], model: "openai:gpt-5-mini", output: {python: "app.models:Facts"}}
    # or another kind of action: see document_action.py
    bind: {title: {from: facts.title}, style: plain}
    when: "facts.title != ''"
    after: [other]
    on_error: fail | skip | {default: ...}
    timeout: 60
    on_unknown: retry | fail | ask
    map: {concurrency: 8}
output: {from: facts}
```

The forms of bindings stand in `document_binding.py`, those of types in `document_type.py`. Reading a document imports
nothing: functions and types are looked up by address in the `code` that the caller hands in. Names are edges in a
document too, so `bind` may leave out what has the name of a step or input; but a document implies no inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from .._json import sha256
from ..errors import ValueRefused, WorkflowInvalid
from ..models.payload import Payload
from ..models.policy import Default
from ..models.values import Data, to_data
from ..templates.bounds import is_list, is_object
from .actions import (
    CHOICE,
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
    parts_of,
)
from .document_action import ACTIONS, action_from, action_to, choice_from, choice_to, own_name_in, own_name_of
from .document_binding import binding_from, binding_to, ref_from
from .document_read import Reader, number_to
from .document_type import is_portable_type, type_from, type_to
from .node import Binding, Ref
from .wiring import Draft, DraftStep, wire
from .workflow import Condition, InputSpec, MapRule, OnError, OnUnknown, StepDef, WorkflowDef, plain_name

if TYPE_CHECKING:
    from ..models.check import AnyCheck

__all__ = [
    "FORMAT",
    "MOST_DEEP",
    "action_document",
    "action_from",
    "action_to",
    "definition_sha",
    "from_document",
    "input_from",
    "input_to",
    "is_portable",
    "map_from",
    "map_to",
    "names_in",
    "on_unknown_from",
    "policy_from",
    "policy_to",
    "to_document",
    "unportable",
]

FORMAT = 1
_MOST_STEPS = 2_000
MOST_DEEP = 16
_TOP = ("llmorch", "name", "description", "on_error", "inputs", "steps", "output", "checks")
_INPUT = ("type", "default", "description", "untrusted")
_STEP = ("name", *ACTIONS, "bind", "when", "after", "on_error", "timeout", "on_unknown", "map")


def to_document(definition: WorkflowDef) -> dict[str, Data]:
    """The workflow as plain data; implied inputs are written as declared ones. What has its default is left out."""
    return {"llmorch": FORMAT, **_workflow_to(definition)}


def _workflow_to(definition: WorkflowDef) -> dict[str, Data]:
    written: dict[str, Data] = {"name": definition.name}
    if definition.description:
        written["description"] = definition.description
    if definition.on_error != "fail":
        written["on_error"] = definition.on_error
    if definition.inputs:
        written["inputs"] = {name: input_to(spec) for name, spec in definition.inputs.items()}
    written["steps"] = [_step_to(step) for step in definition.steps]
    if definition.output is not None:
        written["output"] = binding_to(definition.output)
    if definition.checks:
        from .document_checks import checks_to  # most workflows have none, and none of its cost

        written["checks"] = checks_to(definition.checks)
    return written


def input_to(spec: InputSpec) -> dict[str, Data]:
    """The input as it stands in a document."""
    written: dict[str, Data] = {}
    if spec.type is not Any:
        written["type"] = type_to(spec.type)
    if not spec.is_required:
        written["default"] = to_data(spec.default)
    if spec.description:
        written["description"] = spec.description
    if spec.untrusted:
        written["untrusted"] = True
    return written


def _step_to(step: StepDef) -> dict[str, Data]:
    written: dict[str, Data] = {"name": step.name, **action_to(step.action, _workflow_to)}
    bindings = {**step.bindings, **dict(_only_in_condition(step))}
    choice = bindings.pop(CHOICE, None)
    if choice is not None:
        written["dispatch"] = {"choice": choice_to(choice), **written["dispatch"]}
    if bindings:
        written["bind"] = {name: binding_to(binding) for name, binding in bindings.items()}
    if step.when is not None:
        written["when"] = _condition_to(step.when)
    if step.after:
        written["after"] = list(step.after)
    if step.on_error is not None:
        written["on_error"] = policy_to(step.on_error)
    if step.timeout is not None:
        written["timeout"] = number_to(step.timeout)
    if step.on_unknown != "retry":
        written["on_unknown"] = step.on_unknown
    if step.map is not None:
        written["map"] = map_to(step.map)
    return written


def map_to(rule: MapRule) -> dict[str, Data]:
    """The rule of a map as it stands in a document."""
    return {} if rule.concurrency is None else {"concurrency": rule.concurrency}


def _only_in_condition(step: StepDef) -> Iterator[tuple[str, Binding]]:
    """What only `when` reads and is bound to something else than the step or input of that name."""
    if step.when is None or step.when.expression is None:
        return
    for name, binding in step.when.bindings.items():
        is_lookup = isinstance(binding, Ref) and not binding.path and plain_name(binding.source) == name
        if name not in step.bindings and not is_lookup:
            yield name, binding


def action_document(action: ActionDef) -> Data:
    """The action as it stands in a document."""
    return action_to(action, _workflow_to)


def _condition_to(when: Condition) -> Data:
    return when.expression if when.expression is not None else binding_to(when.bindings[""])


def policy_to(policy: OnError) -> Data:
    """What a failure means, as it stands in a document."""
    return {"default": to_data(policy.value)} if isinstance(policy, Default) else policy


def definition_sha(definition: WorkflowDef) -> str:
    """Hash of the document; worked out once. The source of functions is no part of it."""
    found = definition.memo.get("sha")
    if found is None:
        found = definition.memo["sha"] = sha256(to_document(definition))
    return cast("str", found)


def is_portable(definition: WorkflowDef) -> bool:
    """Whether another process can find all code of the workflow by its address; worked out once."""
    found = definition.memo.get("portable")
    if found is None:
        found = definition.memo["portable"] = next(unportable(definition), None) is None
    return cast("bool", found)


def unportable(definition: WorkflowDef) -> Iterator[str]:
    """A sentence for each function and type that no other process can find: lambdas, closures, `__main__`."""
    for name, spec in definition.inputs.items():
        if spec.type is not Any and not is_portable_type(spec.type):
            yield f"the type of input {name!r} of {definition.name!r} is defined inside a function or in __main__"
    passed: set[int] = set()
    for step in definition.steps:
        if id(step.action) not in passed:
            found = list(_unportable(step.action, f"step {step.name!r} of {definition.name!r}"))
            yield from found
            if not found:
                passed.add(id(step.action))


def _unportable(action: ActionDef, where: str) -> Iterator[str]:
    match action:
        case FunctionAction():
            if not action.is_portable:
                yield f"{where} runs {action.address}; define it at the top of a module"
        case PayloadAction(payload=payload):
            yield from _unportable_payload(payload, where)
        case QuestionAction(question=question):
            if not is_portable_type(question.answer):
                yield f"the answer of {where} is no type of a module's top"
        case WorkflowAction(definition=inner):
            yield from unportable(inner)
        case LoopAction() | DispatchAction():
            rules = action.rules if isinstance(action, LoopAction) else ()
            for part in (*parts_of(action), *(rule for rule in rules if isinstance(rule, FunctionAction))):
                yield from _unportable(part, where)
        case ScriptAction():
            pass


def _unportable_payload(payload: Payload[Any], where: str) -> Iterator[str]:
    if payload.output is not str and not is_portable_type(payload.output):
        yield f"the output of {where} is no type of a module's top"
    for tool in payload.tools:
        if not tool.is_portable:
            yield f"tool {tool.name!r} of {where} cannot be found again as {tool.address}; define it in a module"


def from_document(document: Mapping[str, Data], *, code: Mapping[str, object] | None = None) -> WorkflowDef:
    """The workflow that a document describes.

    Args:
        code: Address (`module:qualname`) -> function or type. Nothing is imported.

    Raises:
        WorkflowInvalid: Every fault of the document: unknown keys, wrong shapes, names that nothing has.
        CodeMissing: A function or type is not in `code`.
    """
    try:
        plain = to_data(document, where="the document")
    except ValueRefused as error:
        raise WorkflowInvalid(error.message) from error
    reader = Reader(code or {})
    version = plain.get("llmorch", FORMAT) if is_object(plain) else FORMAT
    if version != FORMAT:
        raise WorkflowInvalid(f"the document has format {version!r}; this version reads llmorch: {FORMAT}")
    definition = _workflow_from(reader, plain, "", 1)
    reader.finish(definition.name if definition is not None else "")
    assert definition is not None
    return definition


def _workflow_from(reader: Reader, given: Data, at: str, depth: int) -> WorkflowDef | None:
    fields = reader.mapping(given, at, known=_TOP if depth == 1 else _TOP[1:], required=("name", "steps"))
    if fields is None:
        return None
    if depth > MOST_DEEP:
        reader.fault(at, f"workflows are nested more than {MOST_DEEP} deep")
        return None
    draft = Draft(name=reader.text(fields.get("name"), f"{at}name"), owner=None)
    draft.description = reader.text(fields.get("description", ""), f"{at}description")
    draft.on_error = reader.choice(fields.get("on_error", "fail"), f"{at}on_error", "fail", "skip")
    inputs = reader.mapping(fields.get("inputs", {}), f"{at}inputs") or {}
    outer, reader.names = reader.names, names_in(inputs, fields.get("steps"))
    draft.inputs = {name: input_from(reader, spec, f"{at}inputs.{name}") for name, spec in inputs.items()}
    for index, item in enumerate(reader.sequence(fields.get("steps"), f"{at}steps")):
        step = _step_from(reader, item, f"{at}steps[{index}]", depth)
        if step is not None:
            draft.steps.append(step)
    if "output" in fields:
        draft.output = binding_from(reader, fields["output"], f"{at}output")
    draft.checks = _checks_from(reader, fields, f"{at}checks")
    reader.names = outer
    if reader.faults:
        return None
    definition, faults = wire(draft)
    for fault in faults:
        reader.fault(at.rstrip("."), fault)
    for name, spec in definition.inputs.items():
        if spec.implied:
            reader.fault(at.rstrip("."), f"{name!r} is read, but is no step or input; declare it under inputs")
    return definition


def _checks_from(reader: Reader, fields: Mapping[str, Data], at: str) -> tuple[AnyCheck, ...]:
    if "checks" not in fields:
        return ()
    from .document_checks import checks_from  # most workflows have none, and none of its cost

    return checks_from(reader, fields["checks"], at)


def names_in(inputs: Iterable[str], steps: Data) -> dict[str, str]:
    """What a template may name: spelling -> name."""
    named = [*inputs]
    for step in steps if is_list(steps) else ():
        if is_object(step):
            named.append(str(step.get("name", own_name_in(step) or "")))
    return {plain_name(name): name for name in named}


def input_from(reader: Reader, given: Data, at: str) -> InputSpec:
    """The input that stands in a document."""
    fields = reader.mapping({} if given is None else given, at, known=_INPUT) or {}
    return InputSpec(
        type=type_from(reader, fields["type"], f"{at}.type") if "type" in fields else Any,
        default=fields.get("default", ...),
        description=reader.text(fields.get("description", ""), f"{at}.description"),
        untrusted=reader.flag(fields.get("untrusted", False), f"{at}.untrusted"),
    )


def _step_from(reader: Reader, given: Data, at: str, depth: int) -> DraftStep | None:
    fields = reader.mapping(given, at, known=_STEP)
    if fields is None:
        return None
    action = action_from(reader, fields, at, lambda given, spot: _workflow_from(reader, given, f"{spot}.", depth + 1))
    name = reader.text(fields.get("name", own_name_of(action)), f"{at}.name")
    bind = reader.mapping(fields.get("bind", {}), f"{at}.bind") or {}
    after = reader.sequence(fields.get("after", []), f"{at}.after")
    bindings = {key: binding_from(reader, value, f"{at}.bind.{key}") for key, value in bind.items()}
    dispatch = fields.get("dispatch")
    if is_object(dispatch):
        bindings[CHOICE] = choice_from(reader, dispatch, f"{at}.dispatch")
    if action is None:
        return None
    return DraftStep(
        name=name,
        action=action,
        bindings=bindings,
        when=_condition_from(reader, fields.get("when"), f"{at}.when"),
        after=tuple(Ref(reader.text(item, f"{at}.after")) for item in after),
        on_error=policy_from(reader, fields.get("on_error"), f"{at}.on_error"),
        timeout=reader.number(fields.get("timeout"), f"{at}.timeout"),
        on_unknown=on_unknown_from(reader, fields.get("on_unknown"), f"{at}.on_unknown"),
        map=map_from(reader, fields["map"], f"{at}.map") if "map" in fields else None,
    )


def _condition_from(reader: Reader, given: Data, at: str) -> str | Ref[Any] | None:
    if given is None or isinstance(given, str):
        return given
    fields = reader.mapping(given, at, known=("from",), required=("from",))
    return None if fields is None else ref_from(reader, fields.get("from"), at)


def policy_from(reader: Reader, given: Data, at: str) -> OnError | None:
    """What a document says a failure means; None where it says nothing."""
    if given is None:
        return None
    if isinstance(given, dict):
        fields = reader.mapping(given, at, known=("default",), required=("default",))
        return None if fields is None else Default(fields.get("default"))
    return cast("OnError", reader.choice(given, at, "fail", "skip"))


def on_unknown_from(reader: Reader, given: Data, at: str) -> OnUnknown:
    """What a document says is done after a crash with what was in flight."""
    return cast("OnUnknown", reader.choice("retry" if given is None else given, at, "retry", "fail", "ask"))


def map_from(reader: Reader, given: Data, at: str) -> MapRule:
    """The rule of a map that stands in a document."""
    fields = reader.mapping({} if given is None else given, at, known=("concurrency",)) or {}
    return MapRule(reader.integer(fields.get("concurrency"), f"{at}.concurrency"))
