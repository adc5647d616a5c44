"""What a loop makes of an iteration that has ended: whether it was the last one, and what the next is run with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...definition.actions import FunctionAction, LoopAction, PayloadAction, Rule
from ...definition.workflow import plain_name
from ...errors import LLMOrchError, StepError
from ...models.values import Data, copy_data, to_data
from ...templates import compile_expression
from ..state.arguments import arguments
from ..state.loops import loop_rule
from ..state.step import StepState
from .function import fitted

__all__ = ["exhausted", "judged"]


def judged(owner: StepState, index: int) -> tuple[bool, dict[str, Data]]:
    """Whether the loop is finished with this iteration, and else what is carried into the next.

    Raises:
        LLMOrchError: A rule fails on these values.
    """
    action, loop = loop_rule(owner), owner.loop
    assert loop is not None
    item = loop.items[index]
    inputs = {plain_name(name): value for name, value in _inputs(item).items()}
    names: dict[str, Data] = {"output": item.value, "inputs": inputs, "iteration": index}
    finished = bool(_asked(action.until, names, f"Step {owner.path!r}: until", owner.path))
    if finished or index + 1 >= action.max_iterations:
        return finished, {}
    return False, {
        name: _asked(rule, names, f"Step {owner.path!r}: carry[{name!r}]", owner.path) for name, rule in action.carry
    }


def _inputs(item: StepState) -> dict[str, Data]:
    """What an iteration was run with, defaults included."""
    if item.child is not None:
        inputs = item.child.compiled.definition.inputs
        return {name: value for name, value in zip(inputs, item.child.values, strict=False) if is_data(value)}
    action = item.step.definition.action
    defaults: dict[str, Data] = {}
    if isinstance(action, PayloadAction):
        for block in action.payload.blocks:
            defaults.update(block.default_data)
    return {**defaults, **arguments(item)}


def is_data(value: object) -> bool:
    """Whether a slot holds a value."""
    return value.__class__ in (str, int, float, bool, list, dict, type(None))


def _asked(rule: Rule, names: Mapping[str, Data], what: str, path: str) -> Data:
    """What a rule says."""
    own = {name: copy_data(value) for name, value in names.items()}
    try:
        if isinstance(rule, str):
            return compile_expression(rule).evaluate(own)
        wanted = {param.name for param in rule.params}
        return to_data(_called(rule, {name: value for name, value in own.items() if name in wanted}, path))
    except LLMOrchError as error:
        raise StepError(f"{what}: {error.message}", step=path) from error
    except Exception as error:  # a rule may raise anything
        raise StepError(f"{what} raised {type(error).__name__}: {error}", step=path) from error


def _called(rule: FunctionAction, given: dict[str, Any], path: str) -> Any:  # Any: whatever it returns
    return rule.function(**fitted(rule, given, path))


def exhausted(state: StepState, action: LoopAction) -> StepError:
    """The failure of a loop that has not come to its end."""
    return StepError(
        f"Step {state.path!r}: {action.max_iterations} iterations did not suffice; raise max_iterations=, loosen "
        "until=, or keep the last output with on_exhausted='keep'",
        step=state.path,
    )
