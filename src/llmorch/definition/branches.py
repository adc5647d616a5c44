"""What a dispatch makes of its branches, and what may be wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from ..errors import TemplateError
from ..templates import compile_template
from .actions import CHOICE, OTHERWISE, ActionDef, DispatchAction, parts_of
from .names import nearest
from .needs import needs_of, takes_anything
from .node import Binding, Filled, FirstOf, Node, Ref
from .workflow import Condition, InputSpec, StepDef, WorkflowDef

__all__ = ["branch_input", "branches_wired", "choice_wired", "dispatch_faults"]

_KEY: Final = re.compile(r"[^/\[\]@?\x00-\x1f]{1,100}")


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
