"""Reads the form in which definitions are stored: nothing is looked up again but code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final

from .._json import dumps
from ..errors import TemplateError
from ..models.values import Data
from ..templates import compile_expression
from ..templates.bounds import is_object
from .actions import ActionDef, DispatchAction, FunctionAction, PayloadAction, QuestionAction
from .branches import branches_wired
from .document import MOST_DEEP, input_from, map_from, names_in, on_unknown_from, policy_from
from .document_action import ACTIONS, BODIES, action_from
from .document_binding import binding_from, ref_from
from .document_payload import retry_from
from .document_read import Reader
from .document_type import type_from
from .node import Binding, refs_in
from .stored_code import Code, Twin, TwinStep, inside, stand_in, twin_steps, within
from .stored_form import type_form
from .workflow import Condition, InputSpec, StepDef, WorkflowDef

if TYPE_CHECKING:
    from ..models.check import AnyCheck

__all__ = ["StoredReader", "workflow_from"]

_WORKFLOW: Final = ("name", "description", "on_error", "inputs", "steps", "output", "warnings", "checks")
_RULES: Final = ("name", "bind", "when", "after", "on_error", "timeout", "on_unknown", "map")
_CODE: Final = ("python", "name", "code", "retry")


class StoredReader(Reader):
    """Collects faults, and the code that is not at hand.

    Attributes:
        path: Path of the step being read; empty outside of steps.
        here: Registered steps of its name.
        kinds: Registered types at the place of the one being read.
        lacking: What was not found, with its place, in words.
        needs_code: What is not at hand is a fault; else something stands in for it that cannot be called.
    """

    def __init__(self, code: Code, *, needs_code: bool = True) -> None:
        super().__init__({})
        self.known = code
        self.path = ""
        self.here: Sequence[TwinStep] = ()
        self.kinds: Sequence[Any] = ()  # Any: types, unions, anything an annotation can be
        self.lacking: dict[str, str] = {}
        self.needs_code = needs_code

    def code_at(self, given: Data, at: str) -> object | None:
        """The function, tool or type that stands there by its address."""
        fields = self.mapping(given, at, known=_CODE, required=("python",))
        if fields is None:
            return None
        address, code = self.text(fields["python"], f"{at}.python"), self.text(fields.get("code", ""), f"{at}.code")
        found: object | None
        if "name" in fields:
            name = self.text(fields["name"], f"{at}.name")
            what, found = f"tool {name!r} ({address})", self.known.tool(address, name, code, here=self.here)
        elif "code" in fields:
            what, found = f"function {address}", self.known.function(address, code, here=self.here)
        else:
            what, found = f"type {address}", self.known.kind(address, here=self.kinds)
        if found is None and self.needs_code:
            self.lack(what, at)
        elif found is None and ("name" in fields or "code" in fields):
            return stand_in(address, self.text(fields["name"], at) if "name" in fields else None)
        return found

    def type_like(self, given: Data) -> Any:  # Any: as above
        """The registered type at this place, where it would be stored like this; any such type for one named only."""
        text = dumps(given)
        found = next((kind for kind in self.kinds if dumps(type_form(kind)) == text), None)
        if found is not None or not is_object(given) or "named" not in given:
            return found
        found = self.known.form(text)
        if found is None and self.needs_code:
            self.lack(f"type {given['named']}", "")
        return Any if found is None else found

    def lack(self, what: str, at: str) -> None:
        """Note that code is not at hand."""
        self.missing.append(what)
        self.lacking.setdefault(f"{what}, which {f'step {self.path!r}' if self.path else 'an input'} needs", self.path)
        self.fault(at, f"{what} is not at hand")


def workflow_from(
    reader: StoredReader, given: Data, *, at: str = "", twins: Sequence[Twin], depth: int = 1
) -> WorkflowDef | None:
    """The workflow that stands there, or None with faults; one that is registered just like this is taken itself.

    Args:
        at: Place in the body, with a dot behind it.
        twins: Registered workflows at its place.
    """
    fields = reader.mapping(given, at, known=_WORKFLOW, required=("name", "steps"))
    if fields is None:
        return None
    if depth > MOST_DEEP:
        reader.fault(at, f"workflows are nested more than {MOST_DEEP} deep")
        return None
    text = dumps(fields) if twins else ""
    for twin in twins:
        if twin.form is not None and dumps(twin.form) == text:
            return twin.definition
    before, path = len(reader.faults), reader.path
    forms = reader.mapping(fields.get("inputs", {}), f"{at}inputs") or {}
    inputs = {name: _input(reader, form, f"{at}inputs.{name}", name=name, twins=twins) for name, form in forms.items()}
    outer, reader.names = reader.names, names_in(inputs, fields["steps"])
    named = twin_steps(twins)
    steps: list[StepDef] = []
    for index, form in enumerate(reader.sequence(fields["steps"], f"{at}steps")):
        step = _step(reader, form, f"{at}steps[{index}]", named=named, prefix=f"{path}/" if path else "", depth=depth)
        if step is not None:
            steps.append(step)
    reader.path, reader.here = path, ()
    output = binding_from(reader, fields["output"], f"{at}output") if "output" in fields else None
    reader.names = outer
    definition = WorkflowDef(
        name=reader.text(fields["name"], f"{at}name"),
        steps=tuple(steps),
        inputs=inputs,
        output=output,
        description=reader.text(fields.get("description", ""), f"{at}description"),
        on_error=reader.choice(fields.get("on_error", "fail"), f"{at}on_error", "fail", "skip"),
        warnings=tuple(
            reader.text(text, f"{at}warnings") for text in reader.sequence(fields.get("warnings", []), f"{at}warnings")
        ),
        checks=_checks(reader, fields["checks"], f"{at}checks") if "checks" in fields else (),
    )
    if len(reader.faults) > before:
        return None
    for fault in _faults(definition):
        reader.fault(at.rstrip("."), fault)
    return definition


def _checks(reader: StoredReader, given: Data, at: str) -> tuple[AnyCheck, ...]:
    from .document_checks import checks_from  # most workflows have none, and none of its cost

    return checks_from(reader, given, at)


def _input(reader: StoredReader, given: Data, at: str, *, name: str, twins: Sequence[Twin]) -> InputSpec:
    fields = dict(reader.mapping(given, at) or {})
    implied = reader.flag(fields.pop("implied", False), f"{at}.implied")
    form = fields.pop("type", "any")
    reader.kinds = [twin.definition.inputs[name].type for twin in twins if name in twin.definition.inputs]
    kind = type_from(reader, form, f"{at}.type")
    reader.kinds = ()
    return replace(input_from(reader, fields, at), type=kind, implied=implied)


def _step(
    reader: StoredReader, given: Data, at: str, *, named: dict[str, list[TwinStep]], prefix: str, depth: int
) -> StepDef | None:
    fields = reader.mapping(given, at, known=(*_RULES, *ACTIONS), required=("name",))
    if fields is None:
        return None
    name = reader.text(fields["name"], f"{at}.name")
    reader.path, reader.here = prefix + name, named.get(name, ())
    bind = reader.mapping(fields.get("bind", {}), f"{at}.bind") or {}
    after = reader.sequence(fields.get("after", []), f"{at}.after")
    action = _action(reader, fields, at, depth)
    if action is None:
        return None
    bindings = {key: binding_from(reader, form, f"{at}.bind.{key}") for key, form in bind.items()}
    if isinstance(action, DispatchAction):
        action = replace(action, definition=branches_wired(name, action, bindings))
    return StepDef(
        name,
        action,
        bindings,
        when=_condition(reader, fields.get("when"), f"{at}.when"),
        after=tuple(reader.text(item, f"{at}.after") for item in after),
        on_error=policy_from(reader, fields.get("on_error"), f"{at}.on_error"),
        timeout=reader.number(fields.get("timeout"), f"{at}.timeout"),
        on_unknown=on_unknown_from(reader, fields.get("on_unknown"), f"{at}.on_unknown"),
        map=map_from(reader, fields["map"], f"{at}.map") if "map" in fields else None,
    )


def _action(
    reader: StoredReader, fields: Mapping[str, Data], at: str, depth: int, *, known: tuple[str, ...] = ACTIONS
) -> ActionDef | None:
    """The step's action: the registered one where that is stored just like this, else made anew."""
    here = reader.here
    forms: dict[str, Data] = {kind: fields[kind] for kind in known if kind in fields}
    text = dumps(forms) if here else ""
    for twin in here:
        if twin.form is not None and dumps({kind: twin.form[kind] for kind in known if kind in twin.form}) == text:
            return twin.step.action

    def nested(form: Data, spot: str) -> WorkflowDef | None:
        return workflow_from(reader, form, at=f"{spot}.", twins=inside(here), depth=depth + 1)

    def part(form: Mapping[str, Data], spot: str, key: str | None) -> ActionDef | None:
        reader.here = within(here, key)
        try:
            return _action(reader, form, spot, depth, known=BODIES)
        finally:
            reader.here = here

    form = forms.get("payload")
    if is_object(form):
        forms["payload"] = {name: value for name, value in form.items() if name != "schema"}
    reader.kinds = [_kind_of(twin.step.action) for twin in here]
    action = action_from(reader, forms, at, nested, known=known, inside=part)
    reader.kinds = ()
    if not isinstance(action, FunctionAction):
        return action
    given = forms["function"].get("retry")
    retry = None if given is None else retry_from(reader, given, f"{at}.function.retry")
    return action if retry == action.retry else replace(action, retry=retry)


def _kind_of(action: ActionDef) -> Any:  # Any: a type, a union, anything an annotation can be
    """The type that stands in the form of a payload or question."""
    if isinstance(action, QuestionAction):
        return action.question.answer
    return action.payload.output if isinstance(action, PayloadAction) else str


def _condition(reader: StoredReader, given: Data, at: str) -> Condition | None:
    if given is None:
        return None
    fields = reader.mapping(given, at, known=("from", "text", "bind")) or {}
    if "from" in fields:
        return Condition(None, {"": ref_from(reader, fields["from"], at)})
    text = reader.text(fields.get("text"), f"{at}.text")
    forms = reader.mapping(fields.get("bind", {}), f"{at}.bind") or {}
    try:
        unbound = compile_expression(text).names - forms.keys()
        if unbound:
            reader.fault(at, f"{text!r} reads {', '.join(sorted(unbound))}, which nothing is bound to")
    except TemplateError as error:
        reader.fault(at, error.message)
    return Condition(text, {name: binding_from(reader, form, f"{at}.bind.{name}") for name, form in forms.items()})


def _faults(definition: WorkflowDef) -> Iterator[str]:
    """What no planner has passed: names that are there twice or not at all, and circles."""
    names = [*definition.inputs, *(step.name for step in definition.steps)]
    known = set(names)
    if len(known) < len(names):
        yield f"{definition.name!r} has two steps or inputs of one name"
    graph: dict[str, set[str]] = {}
    for step in definition.steps:
        bindings: list[Binding] = [*step.bindings.values(), *(step.when.bindings.values() if step.when else ())]
        sources = {ref.source for binding in bindings for ref in refs_in(binding)}
        sources.update(step.after)
        graph[step.name] = sources
        yield from (f"step {step.name!r} reads {name!r}, which is not there" for name in sorted(sources - known))
    if definition.output is not None:
        read = {ref.source for ref in refs_in(definition.output)}
        yield from (f"the output reads {name!r}, which is not there" for name in sorted(read - known))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"steps wait for each other: {' -> '.join(error.args[1])}"
