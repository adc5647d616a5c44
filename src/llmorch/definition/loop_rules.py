"""What a loop asks after each turn, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, Final, cast

from ..errors import TemplateError
from ..templates import compile_expression
from .actions import ActionDef, FunctionAction, LoopAction, Rule, parts_of
from .functions import function_action
from .names import nearest
from .needs import needs_of, takes_anything
from .node import Ref
from .workflow import plain_name

__all__ = ["RULE_NAMES", "carried_wired", "loop_faults", "rule_of"]

RULE_NAMES: Final = ("output", "inputs", "iteration")


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
