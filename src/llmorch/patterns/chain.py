"""One after the other: each step gets what the one before it gave."""

from __future__ import annotations

from typing import Any

from ..definition.node import Ref
from ..models.action import Action
from ..workflow import Workflow

__all__ = ["chain"]


def chain(*actions: Action[Any], name: str = "chain", through: str = "text") -> Workflow[Any]:
    """A workflow in which each action reads the former one's output.

    Args:
        through: The variable that every action reads: for the first it is the workflow's input, for the others what the
            one before it gave. Whatever else they read is an input too, or an earlier step of that name.

    Example:
        >>> draft, short = Payload("draft", "On {{ text }}."), Payload("short", "Shorten: {{ text }}")
        >>> wf = chain(draft, short)
        >>> [step.name for step in wf.freeze().steps], list(wf.inputs)
        (['draft', 'short'], ['text'])
    """
    wf: Workflow[Any] = Workflow(name)
    last: Ref[Any] = wf.input(through, Any)
    for action in actions:
        last = wf.add(action, bind={through: last})
    return wf.returns(last)
