"""A definition as the executor wants it: counters, dependents and slot numbers; plain lists, no graph library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from ..definition.actions import DispatchAction, LoopAction, PayloadAction, WorkflowAction, is_leaf
from ..definition.node import Binding, Each, FirstN, FirstOf, Node, Ref, leaves, refs_in
from ..definition.workflow import OnError, StepDef, WorkflowDef
from ..errors import TemplateError
from ..templates import Expression, compile_expression
from .resolve import Resolver, lenient, resolver

__all__ = ["Compiled", "CompiledStep", "Guard", "Selection", "compiled"]

_MEMO = "compiled"


@dataclass(slots=True)
class Guard:
    """A `when`: an expression over resolved names, or one reference's truth."""

    expression: Expression | None
    text: str
    args: list[tuple[str, Resolver]]


@dataclass(slots=True)
class Selection:
    """A `first_of` or `first_n` as a node of its own: it has a slot and dependents.

    Attributes:
        members: Slot and reference of each candidate, in declared order.
        n: How many values `first_n` takes; None for `first_of`.
        expendable: Steps that `cancel_rest` may stop, because nothing else needs them.
    """

    slot: int
    members: list[tuple[int, Ref[Any]]]
    n: int | None
    cancel_rest: bool
    dependents: list[int] = field(default_factory=list[int])
    expendable: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class CompiledStep:
    """A step with everything worked out that does not change between runs.

    Attributes:
        args: Argument name, slot, and the resolver where the binding is more than a whole slot.
        each: Names among `args` that a map takes items of.
        dependents: Indexes of the steps that wait for this one.
        selections: Indexes of the selections that have this step as a candidate.
        child: The nested workflow, for a step that is one; the branches, for a dispatch.
        body: What a loop repeats, as a step that stands in no workflow.
        is_leaf: Nothing runs inside it as a step of its own.
        may_ask: It may wait for a person in the middle of what it does.
    """

    index: int
    name: str
    definition: StepDef
    slot: int
    on_error: OnError
    args: list[tuple[str, int, Resolver | None]] = field(default_factory=list[tuple[str, int, "Resolver | None"]])
    each: tuple[str, ...] = ()
    guard: Guard | None = None
    dependents: list[int] = field(default_factory=list[int])
    selections: tuple[int, ...] = ()
    child: Compiled | None = None
    cancellable: bool = False
    body: CompiledStep | None = None
    is_leaf: bool = field(init=False)
    may_ask: bool = field(init=False)

    def __post_init__(self) -> None:
        action = self.definition.action
        self.is_leaf = is_leaf(action)
        self.may_ask = type(action) is PayloadAction and any(tool.requires_approval for tool in action.payload.tools)


@dataclass(slots=True)
class Compiled:
    """A definition with its counters.

    Attributes:
        in_degree: For each step, how many steps and selections it waits for.
        slots: Slot of each input and step by name.
        order: Step indexes in an order in which each comes after what it waits for; shorter than `steps` when there
            is a cycle.
    """

    definition: WorkflowDef
    steps: list[CompiledStep]
    in_degree: list[int]
    slots: dict[object, int]
    selections: list[Selection]
    size: int
    output: Resolver | None = None
    order: list[int] = field(default_factory=list[int])


def compiled(definition: WorkflowDef) -> Compiled:
    """The definition compiled; worked out once and kept with it."""
    found = definition.memo.get(_MEMO)
    if found is None:
        found = definition.memo[_MEMO] = _Compiler(definition).result
    return cast("Compiled", found)


class _Compiler:
    def __init__(self, definition: WorkflowDef) -> None:
        slots: dict[object, int] = {name: slot for slot, name in enumerate(definition.inputs)}
        first_step = len(slots)
        steps: list[CompiledStep] = []
        for index, step in enumerate(definition.steps):
            slot = first_step + index
            slots.setdefault(step.name, slot)
            steps.append(CompiledStep(index, step.name, step, slot, step.on_error or definition.on_error))
        self.first_step = first_step
        self.slots = slots
        self.steps = steps
        self.selections: list[Selection] = []
        self.selection_index: dict[object, int] = {}
        self.in_degree = [0] * len(steps)
        for made in steps:
            self._step(made)
        output = definition.output
        if output is not None:
            self._collect(output, set(), set())
        self.result = Compiled(definition, steps, self.in_degree, slots, self.selections, 0)
        self.result.size = len(slots)
        self.result.order = self._order()
        if output is not None and all(ref.source in slots for ref in refs_in(output)):
            self.result.output = lenient(output, slots)
        self._mark_expendable(output)

    def _step(self, step: CompiledStep) -> None:
        definition = step.definition
        waits: set[int] = set()
        selections: set[int] = set()
        self._args(step, waits, selections)
        if definition.map is not None:
            step.each = tuple(name for name, binding in definition.bindings.items() if isinstance(binding, Each))
        if definition.when is not None:
            self._guard(step, waits, selections)
        for name in definition.after:
            slot = self.slots.get(name)
            if slot is not None and slot >= self.first_step:
                waits.add(slot - self.first_step)
        action = definition.action
        if isinstance(action, WorkflowAction):
            step.child = compiled(action.definition)
        elif isinstance(action, DispatchAction):
            step.child = compiled(action.inner)
        elif isinstance(action, LoopAction):
            step.body = _body(step, action)
        self.in_degree[step.index] = len(waits) + len(selections)
        for producer in waits:
            self.steps[producer].dependents.append(step.index)
        for index in selections:
            self.selections[index].dependents.append(step.index)

    def _args(self, step: CompiledStep, waits: set[int], selections: set[int]) -> None:
        definition = step.definition
        first_step, slots, args = self.first_step, self.slots, step.args
        for name, binding in definition.bindings.items():
            if type(binding) is Ref or type(binding) is Node:  # the common case, without a generator
                slot = slots.get(binding.source)
                if slot is None:
                    continue  # an unknown name; the planner has its fault already
                if slot >= first_step:
                    waits.add(slot - first_step)
                args.append((name, slot, None if not binding.path else resolver(binding, slots)))
            elif self._collect(binding, waits, selections):
                args.append((name, -1, resolver(binding, slots)))

    def _guard(self, step: CompiledStep, waits: set[int], selections: set[int]) -> None:
        when = step.definition.when
        assert when is not None
        args = [
            (name, resolver(binding, self.slots))
            for name, binding in when.bindings.items()
            if self._collect(binding, waits, selections)
        ]
        expression = _parsed(when.expression) if when.expression is not None else None
        step.guard = Guard(expression, when.expression or "", args)

    def _collect(self, binding: Binding, waits: set[int], selections: set[int]) -> bool:
        """Add what the binding waits for; False when it names something unknown."""
        known = True
        for leaf in leaves(binding):
            if not isinstance(leaf, Ref):
                index = self._selection(leaf)
                known = known and index >= 0
                if index >= 0:
                    selections.add(index)
                continue
            slot = self.slots.get(leaf.source)
            if slot is None:
                known = False
            elif slot >= self.first_step:
                waits.add(slot - self.first_step)
        return known

    def _selection(self, part: FirstOf | FirstN) -> int:
        """Index of a selection, made on first sight; -1 when it names something unknown."""
        index = self.selection_index.get(part)
        return self._new_selection(part) if index is None else index

    def _new_selection(self, part: FirstOf | FirstN) -> int:
        if any(ref.source not in self.slots for ref in part.refs):
            return -1
        index = len(self.selections)
        slot = len(self.slots)
        self.slots[part] = slot
        members = [(self.slots[ref.source], ref) for ref in part.refs]
        n = part.n if isinstance(part, FirstN) else None
        cancel = isinstance(part, FirstN) and part.cancel_rest
        self.selections.append(Selection(slot, members, n, cancel))
        self.selection_index[part] = index
        for member in {slot for slot, _ in members if slot >= self.first_step}:
            self.steps[member - self.first_step].selections += (index,)
        return index

    def _order(self) -> list[int]:
        """Kahn's algorithm; selections count as steps of no cost."""
        waiting = list(self.in_degree)
        ready = [index for index, count in enumerate(waiting) if count == 0]
        open_members = [len({slot for slot, _ in item.members if slot >= self.first_step}) for item in self.selections]
        for index, count in enumerate(open_members):
            if count == 0:
                _release(self.selections[index].dependents, waiting, ready)
        for index in ready:
            step = self.steps[index]
            _release(step.dependents, waiting, ready)
            for selection in step.selections:
                open_members[selection] -= 1
                if open_members[selection] == 0:
                    _release(self.selections[selection].dependents, waiting, ready)
        return ready

    def _mark_expendable(self, output: Binding | None) -> None:
        if not any(selection.cancel_rest for selection in self.selections):
            return
        read = list(leaves(output)) if output is not None else []
        shown = {leaf.source for leaf in read if isinstance(leaf, Ref)}
        for index, selection in enumerate(self.selections):
            if not selection.cancel_rest:
                continue
            for slot, _ in selection.members:
                step = self.steps[slot - self.first_step] if slot >= self.first_step else None
                if step and not step.dependents and step.selections == (index,) and step.name not in shown:
                    selection.expendable.append(step.index)
                    step.cancellable = True


def _body(step: CompiledStep, action: LoopAction) -> CompiledStep:
    """One iteration of a loop; what it is run with is worked out by the loop."""
    body = action.body
    definition = StepDef(step.name, body, {}, on_unknown=step.definition.on_unknown)
    child = compiled(body.definition) if isinstance(body, WorkflowAction) else None
    return CompiledStep(step.index, step.name, definition, step.slot, "fail", child=child)  # the policy is the loop's


def _release(dependents: list[int], waiting: list[int], ready: list[int]) -> None:
    for dependent in dependents:
        waiting[dependent] -= 1
        if waiting[dependent] == 0:
            ready.append(dependent)


def _parsed(text: str) -> Expression | None:
    try:
        return compile_expression(text)
    except TemplateError:
        return None  # a fault the planner has already
