"""Finds everything that is wrong with a workflow before anything is sent, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

from ..definition.actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
    called,
    nested_of,
    parts_of,
)
from ..definition.needs import needs_of, takes_anything
from ..definition.node import Binding, Each, Filled, FirstOf, Literal, Optional, Ref, refs_in
from ..definition.workflow import StepDef, WorkflowDef, plain_name
from ..errors import TemplateError
from ..models.payload import Payload
from ..schema import json_schema, missing_field
from ..templates import compile_expression, compile_template
from .catalog import Catalog, ResolvedModel
from .compile import compiled
from .graph import cycles
from .types import Schema, schema_of, schema_of_action, schemas

__all__ = ["MAX_DEPTH", "Checked", "check", "nested_warnings", "unpriced"]

MAX_DEPTH: Final = 16  # workflows inside one another
_NO_LIST: Final = {"string": "text", "object": "an object", "integer": "a number", "number": "a number",
                   "boolean": "true or false", "null": "nothing"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checked:
    """Every fault (the workflow cannot run) and every warning (the reader should know), one sentence each."""

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check(definition: WorkflowDef, catalog: Catalog | None) -> Checked:
    """Everything that is wrong with a workflow, nested ones included.

    Args:
        catalog: Knows providers and models; None leaves models unchecked.
    """
    checking = _Checking(catalog)
    checking.workflow(definition, "", 1)
    if definition.checks:
        checking.of_runs(definition)
    return Checked(tuple(dict.fromkeys(checking.faults)), (*nested_warnings(definition), *checking.warnings))


def nested_warnings(definition: WorkflowDef) -> tuple[str, ...]:
    """The warnings of a workflow and of those inside it."""
    return tuple(dict.fromkeys(_warnings(definition)))


def _warnings(definition: WorkflowDef, depth: int = 1) -> Iterator[str]:
    yield from definition.warnings
    if definition.checks and depth > 1:
        yield f"the checks of {definition.name!r} are not asked where it is a step; give them to the outer workflow"
    if depth <= MAX_DEPTH:
        for step in definition.steps:
            for action in (step.action, *parts_of(step.action)):
                if isinstance(action, WorkflowAction):
                    yield from _warnings(action.definition, depth + 1)


def unpriced(definition: WorkflowDef, catalog: Catalog) -> tuple[str, ...]:
    """A sentence for each model, at any depth, whose price is unknown: no budget in US dollars can be kept with it."""
    faults = dict.fromkeys(_unpriced(definition, catalog, "", 1))
    if definition.checks:
        from ..definition.checks import CHECKS, judging  # most workflows have none, and none of its cost

        hidden = judging(definition)
        faults.update(dict.fromkeys(_unpriced(hidden, catalog, CHECKS, 1) if hidden is not None else ()))
    return tuple(faults)


def _unpriced(definition: WorkflowDef, catalog: Catalog, prefix: str, depth: int) -> Iterator[str]:
    for step in definition.steps:
        path = prefix + step.name
        for action in (step.action, *parts_of(step.action)):
            if isinstance(action, PayloadAction):
                yield from _without_price(action.payload, catalog, path)
            elif isinstance(action, WorkflowAction) and depth <= MAX_DEPTH:
                yield from _unpriced(action.definition, catalog, f"{path}/", depth + 1)


def _without_price(payload: Payload[Any], catalog: Catalog, path: str) -> Iterator[str]:
    for model in (payload.model, *payload.fallback):
        found = catalog.resolve(model)
        if found.price is None:
            yield (
                f"Step {path!r}: the price of {found.id!r} is unknown, so a budget in US dollars cannot be kept; "
                "give prices={...}, or Budget(unpriced='ignore')"
            )


class _Checking:
    """One pass over a workflow and those inside it."""

    def __init__(self, catalog: Catalog | None) -> None:
        self.catalog = catalog
        self.models: dict[str | None, ResolvedModel | str] = {}
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def workflow(self, definition: WorkflowDef, prefix: str, depth: int) -> None:
        """All checks of one workflow; `prefix` ends with a slash below the top."""
        if len(compiled(definition).order) < len(definition.steps):
            self._cycles(definition, prefix)
        known = schemas(definition)
        for step in definition.steps:
            action = step.action
            if known or type(action) is not FunctionAction or step.map or step.timeout is not None or step.when:
                self._step(step, prefix, known, depth)
        if definition.output is not None:
            what = f"The output of {prefix + definition.name!r}"
            self._paths(definition.output, what, known)

    def of_runs(self, definition: WorkflowDef) -> None:
        """The checks that are asked about a run of the workflow."""
        from ..definition.checks import judging  # most workflows have none, and none of its cost
        from .assertions import faults_of_types, roots

        self.faults += faults_of_types(definition)
        hidden, known = judging(definition), roots(definition)
        for step in hidden.steps if hidden is not None else ():
            if isinstance(step.action, PayloadAction):
                self._payload(step, step.action.payload, f"Check {step.name!r}", known)

    def _cycles(self, definition: WorkflowDef, prefix: str) -> None:
        for cycle in cycles(definition):
            names = [prefix + name for name in cycle]
            if len(names) == 1:
                self.faults.append(f"Step {names[0]!r} waits for itself; let it read another step or an input")
            else:
                chain = " -> ".join(repr(name) for name in (*names, names[0]))
                self.faults.append(
                    f"Steps {chain} wait for each other; take away one of these reads (or after=) so that one can start"
                )

    def _step(self, step: StepDef, prefix: str, known: Mapping[str, Schema], depth: int) -> None:
        path = prefix + step.name
        what = f"Step {path!r}"
        for name, binding in step.bindings.items():
            where = f"{what}: {called(name)}"
            if type(binding) is not Literal:
                self._paths(binding, where, known)
            if isinstance(binding, Each):
                self._each(binding, where, known)
            if isinstance(binding, Filled):
                roots = {root: known[ref.source] for root, ref in binding.refs if ref.source in known}
                self.faults += [f"{where}: {fault}" for fault in compile_template(binding.text).faults(roots)]
        self._limits(step, what)
        if step.when is not None:
            self._when(step, what, known)
        self._action(step, step.action, path, known, depth)

    def _action(self, step: StepDef, action: ActionDef, path: str, known: Mapping[str, Schema], depth: int) -> None:
        what = f"Step {path!r}"
        match action:
            case FunctionAction() | ScriptAction():
                pass
            case PayloadAction(payload=payload):
                self._payload(step, payload, what, known)
            case QuestionAction(question=question):
                roots = self._roots(step, known)
                self.faults += [f"{what}: its text: {fault}" for fault in question.template.faults(roots)]
            case WorkflowAction() | DispatchAction():
                inner = nested_of(action)
                if depth >= MAX_DEPTH:
                    self.faults.append(f"{what} nests workflows more than {MAX_DEPTH} deep; flatten some of them")
                elif inner is not None:
                    self.workflow(inner, path + "/", depth + 1)
            case LoopAction(body=body):
                self._rules(step, action, what)
                carried = {name for name, _ in action.carry}
                first = {name: binding for name, binding in step.bindings.items() if name not in carried}
                self._action(replace(step, bindings=first), body, path, known, depth)
            case _:
                assert_never(action)

    def _rules(self, step: StepDef, action: LoopAction, what: str) -> None:
        """What a loop asks of the output and the inputs of its body, as far as these are known."""
        roots: dict[str, Schema] = {} if takes_anything(action.body) else {"inputs": _turn_inputs(step, action)}
        schema = schema_of_action(action.body)
        if schema is not None:
            roots["output"] = schema
        for name, rule in (("until", action.until), *((f"carry[{name!r}]", rule) for name, rule in action.carry)):
            if isinstance(rule, str):
                try:
                    faults = compile_expression(rule).faults(roots)
                except TemplateError:
                    continue  # a fault of the wiring
                self.faults += [f"{what}: {name}={rule!r}: {fault}" for fault in faults]

    def _roots(self, step: StepDef, known: Mapping[str, Schema]) -> dict[str, Schema]:
        """What is known of the values that the step's text reads, by name."""
        found = ((name, schema_of(binding, known)) for name, binding in step.bindings.items())
        return {name: schema for name, schema in found if schema is not None}

    def _paths(self, binding: Binding, what: str, known: Mapping[str, Schema]) -> None:
        for ref in refs_in(binding):
            schema = known.get(ref.source) if ref.path else None
            fault = None if schema is None else missing_field(schema, ref.path)
            if fault is not None:
                self.faults.append(f"{what} reads {_shown(ref)}, but {fault}")

    def _each(self, binding: Each[Any], what: str, known: Mapping[str, Schema]) -> None:
        schema = schema_of(binding.source, known)
        kind = None if schema is None else _NO_LIST.get(str(schema.get("type")))
        if kind is not None:
            shown = _source(binding.source)
            self.faults.append(f"{what} is each({shown}), which is {kind} and no list; give it a list")

    def _limits(self, step: StepDef, what: str) -> None:
        if step.timeout is not None and not step.timeout > 0:
            self.faults.append(f"{what} has timeout={step.timeout:g}; give it more than 0 seconds, or none")
        if step.map is not None and step.map.concurrency is not None and step.map.concurrency < 1:
            self.faults.append(f"{what} has concurrency={step.map.concurrency}; give it 1 or more, or none")

    def _when(self, step: StepDef, what: str, known: Mapping[str, Schema]) -> None:
        when = step.when
        assert when is not None
        roots: dict[str, Schema] = {}
        for name, binding in when.bindings.items():
            where = f"{what}: when={when.expression!r}" if when.expression is not None else f"{what}: when"
            self._paths(binding, where, known)
            schema = schema_of(binding, known)
            if schema is not None:
                roots[name] = schema
        if when.expression is None or not roots:
            return
        try:
            expression = compile_expression(when.expression)
        except TemplateError:
            return  # a fault of the wiring
        for fault in expression.faults(roots):
            self.faults.append(f"{what}: when={when.expression!r}: {fault}")

    def _payload(self, step: StepDef, payload: Payload[Any], what: str, known: Mapping[str, Schema]) -> None:
        if not payload.blocks and not payload.history:
            self.faults.append(f"{what} has no text to send; give payload {payload.name!r} a block")
        roots = self._roots(step, known)
        if roots:
            for block in payload.blocks:
                if not roots.keys().isdisjoint(block.variables):
                    for fault in block.template.faults(roots):
                        self.faults.append(f"{what}: block {block.name!r}: {fault}")
        self._output(payload, what)
        if self.catalog is not None:
            self._models(payload, what, self.catalog)

    def _output(self, payload: Payload[Any], what: str) -> None:
        """A type that pydantic takes may still have no JSON schema, and then no model can be told of it."""
        if payload.output is not str:
            try:
                json_schema(payload.output)
            except TypeError as error:
                self.faults.append(f"{what}: {error}")

    def _models(self, payload: Payload[Any], what: str, catalog: Catalog) -> None:
        for hop, model in enumerate((payload.model, *payload.fallback)):
            found = self._resolve(model, catalog)
            if isinstance(found, str):
                self.faults.append(f"{what}{' (fallback)' if hop else ''}: {found}")
            elif not hop:
                self._settings(payload, found, what)

    def _resolve(self, model: str | None, catalog: Catalog) -> ResolvedModel | str:
        """The model, or what is wrong with it."""
        if model not in self.models:
            try:
                self.models[model] = catalog.resolve(model)
            except LookupError as error:
                self.models[model] = str(error.args[0]) if error.args else f"model {model!r} is unknown"
        return self.models[model]

    def _settings(self, payload: Payload[Any], model: ResolvedModel, what: str) -> None:
        for name in sorted(model.capabilities.unsupported & payload.settings.given().keys()):
            self.faults.append(
                f"{what} sets {name}, which {model.id!r} does not take; "
                f"leave it out (.using({name}=None)) or change the model"
            )
        most = model.capabilities.max_output_tokens
        if payload.max_tokens is not None and most is not None and payload.max_tokens > most:
            self.warnings.append(
                f"{what} asks for up to {payload.max_tokens} tokens, but {model.id!r} answers with at most {most}"
            )


def _turn_inputs(step: StepDef, action: LoopAction) -> Schema:
    """What an iteration is run with: what is bound, carried over, or has a default that is known beforehand."""
    has_defaults = isinstance(action.body, PayloadAction | WorkflowAction)
    names = {*step.bindings, *(name for name, _ in action.carry)}
    names |= {need.name for need in needs_of(action.body) if has_defaults and not need.required}
    known: dict[str, Schema] = {plain_name(name): {} for name in sorted(names)}
    return {"type": "object", "properties": known, "required": list(known), "additionalProperties": False}


def _shown(ref: Ref[Any]) -> str:
    return repr(ref.source) + "".join(f"[{part!r}]" for part in ref.path)


def _source(source: Binding) -> str:
    match source:
        case Ref():
            return _shown(source)
        case Optional(source=inner):
            return f"optional({_source(inner)})"
        case FirstOf():
            return "first_of(...)"
        case _:
            return "..."
