"""Where a stored definition finds its code again: in the workflows this process has registered, and nowhere else."""

from __future__ import annotations

import datetime
import decimal
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeVar

from .._json import dumps
from ..errors import CodeMissing, LLMOrchError
from ..models.tool import Tool
from ..models.values import Data
from ..templates.bounds import is_object
from .actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    WorkflowAction,
    parts_of,
)
from .document_type import address_of
from .stored_form import function_code, stored, tool_code, type_form
from .workflow import StepDef, WorkflowDef

__all__ = ["Code", "Twin", "TwinStep", "inside", "stand_in", "twin_steps", "within"]

T = TypeVar("T")

_STANDARD: Final[dict[str, type]] = {
    address_of(kind): kind
    for kind in (
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID,
        set, frozenset, tuple, bytes, object,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Twin:
    """A registered workflow at the place of a stored one; `form` is how it would be stored, if it can be."""

    definition: WorkflowDef
    form: dict[str, Data] | None


@dataclass(frozen=True, slots=True)
class TwinStep:
    """The step of a registered workflow that has the name of a stored one; `form` as above."""

    step: StepDef
    form: dict[str, Data] | None


def twin_steps(twins: Iterable[Twin]) -> dict[str, list[TwinStep]]:
    """The steps of registered workflows by name."""
    steps: dict[str, list[TwinStep]] = {}
    for twin in twins:
        forms: Sequence[Data] = twin.form["steps"] if twin.form is not None else [None] * len(twin.definition.steps)
        for step, form in zip(twin.definition.steps, forms, strict=True):
            steps.setdefault(step.name, []).append(TwinStep(step, form))
    return steps


def within(twins: Iterable[TwinStep], key: str | None = None) -> tuple[TwinStep, ...]:
    """What registered loops repeat, or the branch of that key of registered dispatches, as steps of that name."""
    found: list[TwinStep] = []
    for twin in twins:
        action, form = twin.step.action, twin.form
        if key is None and isinstance(action, LoopAction):
            found.append(TwinStep(replace(twin.step, action=action.body), None if form is None else form["loop"]))
        elif key is not None and isinstance(action, DispatchAction):
            branch = dict(action.all_branches).get(key)
            if branch is not None:
                forms = None if form is None else form["dispatch"]
                part = None if forms is None else forms["among"].get(key) or forms.get("otherwise")
                found.append(TwinStep(replace(twin.step, action=branch), part))
    return tuple(found)


def inside(twins: Iterable[TwinStep]) -> tuple[Twin, ...]:
    """The workflows that registered steps run."""
    return tuple(
        Twin(twin.step.action.definition, None if twin.form is None else twin.form["workflow"])
        for twin in twins
        if isinstance(twin.step.action, WorkflowAction)
    )


def is_same(found: str, wanted: str) -> bool:
    """Whether two addresses name one thing: the module of the program that was started is called `__main__` there."""
    if found == wanted:
        return True
    (module, _, name), (other, _, same) = found.partition(":"), wanted.partition(":")
    return name == same and "__main__" in (module, other)


class Code:
    """Finds functions, tools and types by address: those of the step of that name first, then those of the workflow.

    Several that share an address are told apart by the hash of their code; where none has it, none is taken.

    Attributes:
        twins: Registered workflows of the name.
    """

    def __init__(self, name: str, known: Iterable[WorkflowDef]) -> None:
        everything = tuple({id(definition): definition for definition in known}.values())
        self.twins = tuple(_twin(definition) for definition in everything if definition.name == name)
        self._everything = everything
        self._codes: dict[int, str] = {}

    @cached_property
    def _pools(self) -> tuple[_Pool, _Pool]:
        return _Pool(twin.definition for twin in self.twins), _Pool(self._everything)

    def _function_code(self, action: FunctionAction) -> str:
        """Hash of a function's code, worked out once: closures of one `def` share an address, and all are looked at."""
        found = self._codes.get(id(action))
        if found is None:
            found = self._codes[id(action)] = function_code(action)
        return found

    def function(self, address: str, code: str, *, here: Iterable[TwinStep]) -> Callable[..., Any] | None:
        """The function of that address, or None."""
        actions = [twin.step.action for twin in here]
        near = [action for action in actions if isinstance(action, FunctionAction) and is_same(action.address, address)]
        found = _nearest(near, code, self._function_code)
        for pool in self._pools if found is None else ():
            found = found or _only(pool.functions.get(address, {}), code, self._function_code)
        return None if found is None else found.function

    def tool(self, address: str, name: str, code: str, *, here: Iterable[TwinStep]) -> Tool[..., Any] | None:
        """The tool of that address and name, or None."""
        actions = [twin.step.action for twin in here]
        tools = [tool for action in actions if isinstance(action, PayloadAction) for tool in action.payload.tools]
        near = [tool for tool in tools if tool.name == name and is_same(tool.address, address)]
        found = _nearest(near, code, tool_code)
        for pool in self._pools if found is None else ():
            found = found or _only(pool.tools.get((address, name), {}), code, tool_code)
        return found

    def kind(self, address: str, *, here: Iterable[Any]) -> type | None:  # Any: types that stand at this place
        """The class of that address, or None."""
        for kind in here:
            for found in _classes(kind):
                if is_same(address_of(found), address):
                    return found
        if address in _STANDARD:
            return _STANDARD[address]
        for pool in self._pools:
            classes = pool.types.get(address, {})
            if len(classes) == 1:
                return next(iter(classes.values()))
        return None

    def form(self, text: str) -> Any:  # Any: a type, a union, anything an annotation can be
        """A type that would be stored as this JSON text, or None."""
        return next((pool.forms[text] for pool in self._pools if text in pool.forms), None)


def _twin(definition: WorkflowDef) -> Twin:
    try:
        return Twin(definition, stored(definition)[1]["workflow"])
    except (LLMOrchError, TypeError, RecursionError):
        return Twin(definition, None)  # it cannot be stored, but its code may be what is looked for


def _nearest(candidates: Sequence[T], code: str, code_of: Callable[[T], str]) -> T | None:
    """The candidate of that code, else the first: the step has it, whatever it has become."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    return next((found for found in candidates if code and code_of(found) == code), candidates[0])


def _only(candidates: dict[int, T], code: str, code_of: Callable[[T], str]) -> T | None:
    """The candidate of that code, else the only one."""
    found = list(candidates.values())
    if len(found) < 2:
        return found[0] if found else None
    return next((one for one in found if code and code_of(one) == code), None)


class _Pool:
    """All code of some workflows by address; what stands there twice, by identity, counts once."""

    def __init__(self, definitions: Iterable[WorkflowDef]) -> None:
        self.functions: dict[str, dict[int, FunctionAction]] = {}
        self.tools: dict[tuple[str, str], dict[int, Tool[..., Any]]] = {}
        self.types: dict[str, dict[int, type]] = {}
        self.forms: dict[str, Any] = {}  # Any: types that cannot be made from their form
        self._passed: set[int] = set()
        for definition in definitions:
            self._workflow(definition)

    def _workflow(self, definition: WorkflowDef) -> None:
        if id(definition) in self._passed:
            return
        self._passed.add(id(definition))
        for spec in definition.inputs.values():
            self._type(spec.type)
        for step in definition.steps:
            self._action(step.action)

    def _action(self, action: ActionDef) -> None:
        if isinstance(action, FunctionAction):
            self.functions.setdefault(action.address, {})[id(action.function)] = action
            for annotation in (action.returns, *(param.annotation for param in action.typed)):
                self._type(annotation)
        elif isinstance(action, PayloadAction):
            self._type(action.payload.output)
            for tool in action.payload.tools:
                self.tools.setdefault((tool.address, tool.name), {})[id(tool)] = tool
        elif isinstance(action, WorkflowAction):
            self._workflow(action.definition)
        elif isinstance(action, QuestionAction):
            self._type(action.question.answer)
        for part in parts_of(action):
            self._action(part)
        for rule in action.rules if isinstance(action, LoopAction) else ():
            if isinstance(rule, FunctionAction):
                self._action(rule)

    def _type(self, kind: Any) -> None:  # Any: a type, a union, anything an annotation can be
        for found in _classes(kind):
            self.types.setdefault(address_of(found), {})[id(found)] = found
        form = None if isinstance(kind, type) else type_form(kind)
        if is_object(form) and "named" in form:
            self.forms.setdefault(dumps(form), kind)


def _classes(kind: Any) -> Iterator[type]:  # Any: as above
    """The classes that a type names."""
    if typing.get_origin(kind) is None:
        if isinstance(kind, type):
            yield kind
        return
    for part in typing.get_args(kind):
        yield from _classes(part)


def stand_in(address: str, tool: str | None) -> Callable[..., Any] | Tool[..., Any]:
    """Stands for a function, or the tool of that name, that is not at hand: it has the address and cannot be called."""

    def absent(given: Any) -> Any:  # Any: nothing is known of it
        raise CodeMissing(f"{address} is not at hand; register its workflow with Orchestrator(workflows=[...])")

    absent.__module__, _, absent.__qualname__ = address.partition(":")
    absent.__annotations__ = {}
    return absent if tool is None else Tool.from_schema(tool, absent, schema={"type": "object"})
