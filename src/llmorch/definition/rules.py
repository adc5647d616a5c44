"""What a loop asks after each turn, and what a dispatch makes of its branches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from ..errors import TemplateError
from ..templates import compile_expression, compile_template
from .actions import CHOICE, OTHERWISE, ActionDef, DispatchAction, FunctionAction, LoopAction, Rule, parts_of
from .functions import function_action
from .names import nearest
from .needs import needs_of, takes_anything
from .node import Binding, Filled, FirstOf, Node, Ref
from .workflow import Condition, InputSpec, StepDef, WorkflowDef, plain_name

__all__ = [
    "RULE_NAMES",
    "branch_input",
    "branches_wired",
    "carried_wired",
    "choice_wired",
    "dispatch_faults",
    "loop_faults",
    "rule_of",
]

RULE_NAMES: Final = ("output", "inputs", "iteration")
_KEY: Final = re.compile(r"[^/\[\]@?\x00-\x1f]{1,100}")


def rule_of(given: object, what: str) -> Rule:
    """An expression or a function as a rule.

    Args:
        what: Names it in errors, such as `until`.

    Raises:
        TypeError: It is neither, or an async function.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, Ref) or not callable(given):
        kind = type(cast(object, given)).__name__
        raise TypeError(f"{what}= takes an expression or a function over {', '.join(RULE_NAMES)}, not {kind}")
    action = function_action(cast("Callable[..., Any]", given))
    if action.is_async:
        raise TypeError(f"{what}= takes a plain function, which is asked between two iterations; make it a def")
    return action


def loop_faults(action: LoopAction, where: str) -> Iterator[str]:
    """What is wrong with a loop."""
    if any(not isinstance(part, ActionDef) or parts_of(part) for part in parts_of(action)):
        yield f"{where} repeats a loop or a dispatch; put that into a workflow of its own"
    if action.max_iterations < 1:
        yield f"{where} has max_iterations={action.max_iterations}; give it 1 or more"
    yield from _rule_faults(action.until, f"{where}: until")
    reads = {need.plain: need.name for need in needs_of(action.body)}
    for name, rule in action.carry:
        yield from _rule_faults(rule, f"{where}: carry[{name!r}]")
        if plain_name(name) not in reads and not takes_anything(action.body):
            near = nearest(plain_name(name), reads, cutoff=0.6)
            hint = f"; did you mean {near!r}?" if near else f"; it reads {', '.join(map(repr, reads)) or 'nothing'}"
            yield f"{where} carries {name!r}, which its body does not read{hint}"
    if action.max_iterations > 1 and all(_is_the_same(name, rule) for name, rule in action.carry):
        yield (
            f"{where}: nothing changes from one iteration to the next, so each would ask the same; "
            "give it carry={'an input of the body': 'output'}"
        )


def carried_wired(action: LoopAction) -> LoopAction:
    """The loop, with what it carries under the names that its body has for it."""
    names = {need.plain: need.name for need in needs_of(action.body)}
    carry = tuple((names.get(plain_name(name), name), rule) for name, rule in action.carry)
    return action if carry == action.carry else replace(action, carry=carry)


def _is_the_same(name: str, rule: Rule) -> bool:
    return isinstance(rule, str) and rule.strip() in (f"inputs.{plain_name(name)}", f"inputs[{plain_name(name)!r}]")


def _rule_faults(rule: Rule, where: str) -> Iterator[str]:
    if isinstance(rule, FunctionAction):
        names: Collection[str] = [param.name for param in rule.params if param.required]
        shown = rule.address
    else:
        shown = repr(rule)
        try:
            names = compile_expression(rule).names
        except TemplateError as error:
            yield f"{where}={shown}: {error.message}"
            return
    for name in sorted(set(names) - set(RULE_NAMES)):
        near = nearest(name, RULE_NAMES, cutoff=0.6)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(RULE_NAMES)}"
        yield f"{where}={shown} reads {name!r}, which a loop does not know; {hint}"


def dispatch_faults(action: DispatchAction, where: str) -> Iterator[str]:
    """What is wrong with a dispatch."""
    if not action.branches:
        yield f"{where} has nothing to choose among; give it among={{'key': action}}"
    for key, branch in action.all_branches:
        if parts_of(branch):
            yield f"{where}: branch {key!r} is a loop or a dispatch; put that into a workflow of its own"
        if not _KEY.fullmatch(key):
            yield f"{where}: the key {key!r} cannot stand in a path; use 1 to 100 characters without / [ ] @ ?"
    if action.otherwise is not None and OTHERWISE in dict(action.branches):
        yield f"{where} has a branch {OTHERWISE!r} and otherwise=, which stand at the same path; rename the branch"


def choice_wired(choice: Binding, known: Mapping[str, str], where: str) -> tuple[Binding, list[str]]:
    """What a dispatch decides by, and what is wrong with it.

    The names in an expression stand for the steps and inputs of that name.

    Args:
        known: Spelling in templates -> name of a step or input.
    """
    if not isinstance(choice, Filled) or choice.refs:
        return choice, []
    try:
        names = sorted(compile_template(choice.text).names)
    except TemplateError as error:
        return choice, [f"{where}: its choice {choice.text!r}: {error.message}"]
    faults: list[str] = []
    for name in names:
        if name not in known:
            near = nearest(name, known, cutoff=0.6)
            hint = f"did you mean {near!r}?" if near else "declare it with wf.input() or add a step of that name"
            faults.append(f"{where}: its choice reads {name!r}, which names no step or input; {hint}")
    return Filled(choice.text, tuple((name, Ref(known[name])) for name in names if name in known)), faults


def branch_input(name: str) -> str:
    """What an input of a dispatch is called inside it, where no branch can have the name."""
    return CHOICE + name


def branches_wired(name: str, action: DispatchAction, bound: Collection[str]) -> WorkflowDef:
    """The branches as steps of a workflow: each runs when its key was chosen, and the output is that of the one.

    Args:
        bound: What the dispatch reads and is given.
    """
    kinds: Mapping[str, Any] = {need.name: need.kind for need in needs_of(action)}
    inputs = {CHOICE: InputSpec(str)} | {
        branch_input(wanted): InputSpec(kinds.get(wanted, Any)) for wanted in bound if wanted != CHOICE
    }
    steps = tuple(_branch(key, branch, bound) for key, branch in action.all_branches)
    output = FirstOf(tuple(Node(step.name) for step in steps)) if steps else None
    return WorkflowDef(name, steps, inputs, output)


def _branch(key: str, action: ActionDef, bound: Collection[str]) -> StepDef:
    reads = bound if takes_anything(action) else {need.name for need in needs_of(action)}
    bindings = {name: Ref[Any](branch_input(name)) for name in bound if name in reads and name != CHOICE}
    chosen = Condition(f"choice == {json.dumps(key)}", {"choice": Ref(CHOICE)})
    return StepDef(key, action, bindings, chosen)
