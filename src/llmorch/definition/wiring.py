"""Names are edges: finds what every variable, parameter and input of every step stands for.

Done once, when a workflow is frozen, against all steps and inputs, so the order in which they were added does not
matter. Lookup: the binding given; else the step or declared input of that name; else the action's own default; else it
becomes an input of the workflow, unless it is so close to a known name that it is probably a typo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import TemplateError
from ..models.policy import Default
from ..templates import compile_expression
from .actions import CHOICE, ActionDef, DispatchAction, LoopAction, ScriptAction
from .branches import branches_wired, choice_wired, dispatch_faults
from .loop_rules import carried_wired, loop_faults
from .names import fault_of_name, nearest
from .needs import Need, needs_of, takes_anything
from .node import Binding, Each, FirstN, Node, Ref, leaves, refs_in
from .workflow import Condition, InputSpec, MapRule, OnUnknown, StepDef, WorkflowDef, plain_name

if TYPE_CHECKING:
    from ..models.check import AnyCheck

__all__ = ["Draft", "DraftStep", "wire"]

_OPEN = (ScriptAction, LoopAction, DispatchAction)  # may be given more than they name


@dataclass(slots=True)
class DraftStep:
    """A step as it was added, with only the bindings that were given."""

    name: str
    action: ActionDef
    bindings: dict[str, Binding]
    when: str | Ref[Any] | None = None
    after: tuple[Ref[Any] | str, ...] = ()
    on_error: Literal["fail", "skip"] | Default | None = None
    timeout: float | None = None
    on_unknown: OnUnknown = "retry"
    map: MapRule | None = None


@dataclass(slots=True)
class Draft:
    """A workflow as it was built so far."""

    name: str
    owner: object
    description: str = ""
    on_error: Literal["fail", "skip"] = "fail"
    inputs: dict[str, InputSpec] = field(default_factory=dict[str, InputSpec])
    steps: list[DraftStep] = field(default_factory=list[DraftStep])
    output: Binding | None = None
    checks: tuple[AnyCheck, ...] = ()


def wire(draft: Draft) -> tuple[WorkflowDef, list[str]]:
    """The workflow with everything bound, and every fault found on the way."""
    wiring = _Wiring(draft)
    bound = [wiring.bind(step) for step in draft.steps]  # all of them first: a condition may name an implied input
    steps = tuple(wiring.step(step, bindings) for step, bindings in zip(draft.steps, bound, strict=True))
    output = wiring.output(steps)
    warnings = wiring.unused_inputs(steps, output)
    definition = WorkflowDef(
        name=draft.name,
        steps=steps,
        inputs={**draft.inputs, **wiring.implied},
        output=output,
        description=draft.description,
        on_error=draft.on_error,
        warnings=tuple(warnings),
        checks=draft.checks,
    )
    if draft.checks:
        from .checks import faults_of_checks  # most workflows have none, and none of its cost

        wiring.faults += faults_of_checks(definition)
    return definition, wiring.faults


class _Wiring:
    """One pass over a draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.faults: list[str] = []
        self.implied: dict[str, InputSpec] = {}
        self.sources: frozenset[str] | None = None
        self.known: dict[str, str] = {}
        self.needs: dict[int, Sequence[Need]] = {}
        for name in draft.inputs:
            self._register(name, "input")
        for step in draft.steps:
            self._register(step.name, "step")
        self.names = frozenset(self.known.values())

    def _register(self, name: str, what: str) -> None:
        fault = fault_of_name(name, what=what.capitalize())
        if fault is not None:
            self.faults.append(fault)
        other = self.known.get(plain_name(name))
        if other is None:
            self.known[plain_name(name)] = name
        else:
            same = f"twice: {name!r}" if other == name else f"that templates cannot tell apart: {other!r} and {name!r}"
            self.faults.append(f"Workflow {self.draft.name!r} has a name {same}; give one of them name=...")

    def bind(self, step: DraftStep) -> dict[str, Binding]:
        """What each name that the step's action reads stands for."""
        bindings: dict[str, Binding] = {}
        given = step.bindings
        known = self.known
        needs = self.needs.get(id(step.action))  # the draft keeps the action, so its id stays its own
        if needs is None:
            needs = self.needs[id(step.action)] = needs_of(step.action)
        for wanted, plain, required, kind in needs:
            if wanted in given:
                bindings[wanted] = given[wanted]
            elif plain in given:
                bindings[wanted] = given[plain]
            elif (found := known.get(plain)) is not None:
                bindings[wanted] = Ref(found)
            elif required:
                self._imply(wanted, kind, step)
                bindings[wanted] = Ref(wanted)
        if given and type(step.action) in _OPEN:
            self._bind_more(step, bindings)
        return bindings

    def _bind_more(self, step: DraftStep, bindings: dict[str, Binding]) -> None:
        """What is bound though the action does not name it: the choice of a dispatch, what a script is given."""
        if CHOICE in step.bindings:
            wired, faults = choice_wired(step.bindings[CHOICE], self.known, f"Step {step.name!r}")
            bindings[CHOICE] = wired
            self.faults += faults
        if takes_anything(step.action):
            plain = {plain_name(name) for name in bindings}
            bindings.update((name, given) for name, given in step.bindings.items() if plain_name(name) not in plain)

    def step(self, step: DraftStep, bindings: dict[str, Binding]) -> StepDef:
        """The step with its condition, checked."""
        condition = self._condition(step) if step.when is not None else None
        if step.bindings:
            self._check_given(step, bindings, condition)
        if step.map is not None:
            self._check_map(step)
        for before in step.after:
            ref = before if isinstance(before, Ref) else Ref(before)
            self._check_refs(ref, f"Step {step.name!r}: after")
        return StepDef(
            step.name,
            self._action(step, bindings),
            bindings,
            condition,
            tuple(before.source if isinstance(before, Ref) else before for before in step.after),
            step.on_error,
            step.timeout,
            step.on_unknown,
            step.map,
        )

    def _action(self, step: DraftStep, bindings: Mapping[str, Binding]) -> ActionDef:
        """The action, checked as far as it is a loop or a dispatch; the branches of that are wired, too."""
        action = step.action
        if isinstance(action, LoopAction):
            self.faults += loop_faults(action, f"Step {step.name!r}")
            return carried_wired(action)
        if isinstance(action, DispatchAction):
            self.faults += dispatch_faults(action, f"Step {step.name!r}")
            return replace(action, definition=branches_wired(step.name, action, bindings))
        return action

    def _imply(self, name: str, kind: Any, step: DraftStep) -> None:
        if name in self.implied:
            return
        near = nearest(plain_name(name), self.known)
        if near is not None:
            self.faults.append(
                f"Step {step.name!r} reads {name!r}, but there is no step or input of that name; "
                f"did you mean {self.known[near]!r}? declare it with wf.input({name!r}) if it is meant"
            )
        elif (fault := fault_of_name(name, what="Input")) is not None:
            self.faults.append(f"Step {step.name!r} reads {name!r}. {fault}")
        self.implied[name] = InputSpec(type=kind, implied=True)

    def _condition(self, step: DraftStep) -> Condition:
        when = step.when
        if isinstance(when, Ref):
            self._check_refs(when, f"Step {step.name!r}: when")
            return Condition(None, {"": when})
        assert isinstance(when, str)
        bindings: dict[str, Binding] = {}
        try:
            names = compile_expression(when).names
        except TemplateError as error:
            self.faults.append(f"Step {step.name!r}: when={when!r}: {error.message}")
            return Condition(None, {})
        for name in sorted(names):
            found = self.known.get(name) or next((own for own in self.implied if plain_name(own) == name), None)
            if name in step.bindings:
                bindings[name] = step.bindings[name]
                if isinstance(bindings[name], Each):
                    self.faults.append(
                        f"Step {step.name!r}: when={when!r} reads {name!r}, which is each(...); "
                        "when is asked once, before the map"
                    )
            elif found is not None:
                bindings[name] = Ref(found)
            else:
                near = nearest(name, self.known, cutoff=0.6)
                hint = f"did you mean {near!r}?" if near else "declare it with wf.input() or add a step of that name"
                what = f"Step {step.name!r}: when={when!r} reads {name!r}"
                self.faults.append(f"{what}, which names no step or input; {hint}")
        return Condition(when, bindings)

    def _check_given(self, step: DraftStep, bindings: Mapping[str, Binding], condition: Condition | None) -> None:
        owner, names = self.draft.owner, self.names
        for name, binding in step.bindings.items():
            if name not in bindings:
                self._check_used(step, name, bindings, condition)
            if (
                isinstance(binding, Ref)
                and binding.source in names
                and (binding.owner is owner or binding.owner is None)
            ):
                continue  # the common case
            self._check_refs(binding, f"Step {step.name!r}: {name!r}")
            if isinstance(binding, Each) and step.map is None:
                self.faults.append(
                    f"Step {step.name!r}: {name!r} is each(...), which only wf.map() takes; use map() instead of add()"
                )

    def _check_used(
        self, step: DraftStep, name: str, bindings: Mapping[str, Binding], condition: Condition | None
    ) -> None:
        """A fault unless the action or the condition reads the binding."""
        plain = plain_name(name)
        if any(plain_name(used) == plain for used in (*bindings, *(condition.bindings if condition else ()))):
            return
        wanted = [need.name for need in needs_of(step.action)]
        near = nearest(name, wanted, cutoff=0.6)
        hint = f"; did you mean {near!r}?" if near else f"; it reads {', '.join(map(repr, wanted)) or 'nothing'}"
        self.faults.append(f"Step {step.name!r} is given {name!r}, which its action does not read{hint}")

    def _check_map(self, step: DraftStep) -> None:
        if not any(isinstance(binding, Each) for binding in step.bindings.values()):
            self.faults.append(f"Step {step.name!r} is a map without each(...); bind one variable to each(a list)")

    def _check_refs(self, binding: Binding, where: str) -> None:
        for ref in refs_in(binding):
            if ref.owner is not None and ref.owner is not self.draft.owner:
                self.faults.append(
                    f"{where} refers to {ref.source!r} of another workflow; refs belong to the workflow that made them"
                )
            else:
                self._check_known(ref.source, where + " refers to")
        for leaf in leaves(binding):
            if isinstance(leaf, FirstN):
                self._check_quorum(leaf, where)

    def _check_quorum(self, part: FirstN, where: str) -> None:
        if not 1 <= part.n <= len(part.refs):
            most = len(part.refs)
            self.faults.append(f"{where}: first_n of {most} nodes cannot give {part.n}; n is 1 to {most}")
        policies = {step.name: step.on_error or self.draft.on_error for step in self.draft.steps}
        failing = [ref.source for ref in part.refs if policies.get(ref.source) == "fail"]
        if failing:
            self.faults.append(
                f"{where}: first_n over {', '.join(map(repr, failing))} can never lack one, because on_error is 'fail' "
                "there and would fail the workflow; give them on_error='skip'"
            )

    def _check_known(self, name: str, where: str) -> None:
        if self.known.get(plain_name(name)) != name:
            near = nearest(name, self.known.values(), cutoff=0.6)
            hint = f"; did you mean {near!r}?" if near else ""
            self.faults.append(f"{where} {name!r}, but there is no step or input of that name{hint}")

    def output(self, steps: Sequence[StepDef]) -> Binding | None:
        """What the workflow gives: what was declared, else its only sink."""
        if self.draft.output is not None:
            self._check_refs(self.draft.output, f"The output of {self.draft.name!r}")
            if isinstance(self.draft.output, Each):
                self.faults.append(f"The output of {self.draft.name!r} is each(...), which only wf.map() takes")
            return self.draft.output
        if not steps:
            self.faults.append(f"Workflow {self.draft.name!r} has no steps; add one with wf.add(...)")
            return None
        read = self._read(steps)
        sinks = list(dict.fromkeys(step.name for step in steps if step.name not in read))
        if len(sinks) > 1:
            self.faults.append(
                f"Workflow {self.draft.name!r} has several steps that nothing reads: {', '.join(map(repr, sinks))}; "
                "say which is the output with wf.returns(...)"
            )
        return Node(sinks[0]) if sinks else None

    def _read(self, steps: Sequence[StepDef]) -> frozenset[str]:
        """Names of the steps and inputs that some step reads; worked out once."""
        if self.sources is None:
            self.sources = frozenset(name for step in steps for name in _sources(step))
        return self.sources

    def unused_inputs(self, steps: Sequence[StepDef], output: Binding | None) -> Iterator[str]:
        """A warning for each declared input that nothing reads."""
        if not self.draft.inputs:
            return
        read = self._read(steps)
        if output is not None:
            read = read | {ref.source for ref in refs_in(output)}
        for name in self.draft.inputs:
            if name not in read:
                yield f"input {name!r} of {self.draft.name!r} is read by no step"


def _sources(step: StepDef) -> Iterator[str]:
    """Names of the steps and inputs whose value a step reads."""
    for binding in step.bindings.values():
        if type(binding) is Ref or type(binding) is Node:
            yield binding.source
        else:
            for ref in refs_in(binding):
                yield ref.source
    if step.when is not None:
        for binding in step.when.bindings.values():
            for ref in refs_in(binding):
                yield ref.source
    yield from step.after
