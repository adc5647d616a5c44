"""What a workflow does by itself: it asks the default orchestrator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar

from . import door
from .errors import InputInvalid
from .models.action import Action

if TYPE_CHECKING:
    from .diff import Diff
    from .planner.plan import Plan
    from .run import Run
    from .stream import Stream

__all__ = ["WorkflowVerbs"]

T = TypeVar("T", covariant=True, default=Any)


class WorkflowVerbs(Action[T], Generic[T]):
    """The verbs of `Workflow` that need an orchestrator.

    Example:
        >>> Workflow.of(Payload("hi", "Say hi.", model="offline:echo"), name="greet").run_sync().output
        'Say hi.'
    """

    def plan(self, values: Mapping[str, Any] | None = None, /, **inputs: Any) -> Plan:
        """Order, calls, tokens and US dollars before anything is sent; prints as a table.

        Raises:
            WorkflowInvalid: It cannot run; every fault is listed.
        """
        return cast("Plan", door.current().plan(self, _merged(values, inputs)))

    def diff(self, run: Run[Any], *, replace: Mapping[str, Any] | None = None) -> Diff:
        """What `Orchestrator.fork(run.id, workflow=self)` would keep and what it would ask, with reasons and price.

        Args:
            replace: As for `fork`.

        Raises:
            WorkflowInvalid: A name cannot be bound.
            InputInvalid: The run's inputs do not fit this workflow, or a replaced value does not.
        """
        return cast("Diff", door.current().diff(self, run, replace=replace))

    async def run(self, values: Mapping[str, Any] | None = None, /, **inputs: Any) -> Run[T]:
        """Run it on the default orchestrator; see `Orchestrator.run`."""
        return cast("Run[T]", await door.current().run(self, _merged(values, inputs)))

    def run_sync(self, values: Mapping[str, Any] | None = None, /, **inputs: Any) -> Run[T]:
        """`run` for code that is not async; works in scripts, running loops and notebooks."""
        return cast("Run[T]", door.current().run_sync(self, _merged(values, inputs)))

    def stream(self, values: Mapping[str, Any] | None = None, /, **inputs: Any) -> Stream[T]:
        """Run it and iterate its events; see `Orchestrator.stream`."""
        return cast("Stream[T]", door.current().stream(self, _merged(values, inputs)))


def _merged(values: Mapping[str, Any] | None, inputs: dict[str, Any]) -> Mapping[str, Any]:
    if values is None:
        return inputs
    if not isinstance(values, Mapping):
        raise TypeError(f"inputs are given by keyword or as one mapping, not as {type(values).__name__}")
    twice = sorted(values.keys() & inputs.keys())
    if twice:
        raise InputInvalid(f"input {twice[0]!r} is given twice, in the mapping and by keyword; give it once")
    return {**values, **inputs}
