"""A cheap model says what a request is about, and the right one answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.action import Action
from ..models.payload import Payload
from ..workflow import Workflow

__all__ = ["router"]


def router(
    classify: Payload[Any],
    routes: Mapping[str, Action[Any]],
    *,
    otherwise: Action[Any] | None = None,
    by: str = "route",
    name: str = "router",
) -> Workflow[Any]:
    """A workflow that classifies and then runs one of several actions.

    `run.steps["answer"].choice` says which.

    Args:
        classify: Gives one of the keys of `routes`, best with `output=Literal[...]`.
        otherwise: Runs when no key is the choice; without it that is a failure.
        by: An expression for the key over `route`, what `classify` gave, such as `route.kind`.

    Example:
        >>> from typing import Literal
        >>> kind = Payload("kind", "Kind of: {{ message }}", output=Literal["bug", "praise"])
        >>> wf = router(kind, {"bug": Payload("fix", "Fix: {{ message }}"), "praise": Payload("thank", "Thank them.")})
        >>> [step.name for step in wf.freeze().steps], list(wf.inputs)
        (['route', 'answer'], ['message'])
    """
    wf: Workflow[Any] = Workflow(name)
    wf.add(classify, name="route")
    return wf.returns(wf.dispatch(by, among=routes, otherwise=otherwise, name="answer"))
