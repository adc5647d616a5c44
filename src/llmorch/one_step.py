"""A bare action as a workflow of one step."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, cast

from .definition.functions import function_action
from .definition.names import fault_of_name
from .models.action import Action
from .models.payload import Payload
from .workflow import Workflow

__all__ = ["one_step"]


def one_step(action: Action[Any] | Callable[..., Any], given: Collection[str] = ()) -> Workflow[Any]:
    """The action under its own name; variables with a default become inputs when they are given.

    Raises:
        TypeError: It is no action.
    """
    if isinstance(action, Payload):
        payload = cast("Payload[Any]", action)
        return _of_payload(payload, frozenset(given) & payload.defaults)
    if callable(action):
        optional = frozenset(param.name for param in function_action(action).params if not param.required)
        return _of_function(action, frozenset(given) & optional)
    return Workflow.of(action, name="run")


def _of_payload(payload: Payload[Any], inputs: frozenset[str]) -> Workflow[Any]:
    kept: dict[str, Any] = vars(payload)  # kept with the value, as a cached_property is
    made: dict[frozenset[str], Workflow[Any]] = kept.setdefault("_one_step", {})
    if inputs not in made:
        made[inputs] = _made(payload, payload.name, inputs)
    return made[inputs]


@lru_cache(maxsize=1024)
def _of_function(function: Callable[..., Any], inputs: frozenset[str]) -> Workflow[Any]:
    return _made(function, getattr(function, "__name__", "run"), inputs)


def _slug(name: str) -> str:
    """A step's name made of any name."""
    words = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_0123456789")
    return words if words and fault_of_name(words, what="step") is None else "step"


def _made(action: Any, name: str, inputs: frozenset[str]) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow(name)
    for variable in sorted(inputs):
        workflow.input(variable, Any)
    workflow.add(action, name=None if fault_of_name(name, what="step") is None else _slug(name))
    return workflow
