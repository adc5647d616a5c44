"""The frozen workflow: what the planner reads, the engine runs and a store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from typing import Literal as OneOf

from ..models.policy import Default
from ..models.values import Data
from .actions import ActionDef
from .node import Binding

if TYPE_CHECKING:
    from ..models.check import AnyCheck

__all__ = ["Condition", "InputSpec", "MapRule", "OnError", "OnUnknown", "StepDef", "WorkflowDef", "plain_name"]

OnError = OneOf["fail", "skip"] | Default
OnUnknown = OneOf["retry", "fail", "ask"]


def plain_name(name: str) -> str:
    """A step's name as templates and parameters write it: hyphens are underscores there."""
    return name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input of a workflow.

    Attributes:
        type: What its value is validated to.
        default: Its value when none is given; `...` when one must be.
        untrusted: It comes from strangers and should not reach a system block unseen.
        implied: Nobody declared it; a template or parameter named it.
    """

    type: Any = Any  # Any: a type, a union, a Literal
    default: Data = ...
    description: str = ""
    untrusted: bool = False
    implied: bool = False

    @property
    def is_required(self) -> bool:
        """Whether a run must give it."""
        return self.default is ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A guard: an expression over names, or the truth of one reference.

    Attributes:
        expression: Its text, or None when it is a reference.
        bindings: What the names in it stand for; a lone reference is bound to the empty name.
    """

    expression: str | None
    bindings: Mapping[str, Binding]


@dataclass(frozen=True, slots=True)
class MapRule:
    """The step runs its action once for each item; `concurrency` bounds how many at once."""

    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class StepDef:
    """An action under a unique name, with everything it reads bound.

    Attributes:
        bindings: Variable, parameter or input of the action -> where its value comes from.
        after: Steps that must have ended first, however they ended.
        on_error: None takes the workflow's.
        timeout: Seconds for everything the step does; the time that a person takes does not count, but for a question's
            own.
        on_unknown: What to do after a crash with what was in flight: once more, fail, or ask a person.
    """

    name: str
    action: ActionDef
    bindings: Mapping[str, Binding]
    when: Condition | None = None
    after: tuple[str, ...] = ()
    on_error: OnError | None = None
    timeout: float | None = None
    on_unknown: OnUnknown = "retry"
    map: MapRule | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowDef:
    """Inputs, steps and an output; always a DAG once the planner has passed it.

    Attributes:
        steps: In the order they were added.
        output: What the run gives; None only when there are no steps.
        warnings: What the reader should know though nothing is wrong.
        checks: What is asked about a run of it when its steps have ended.
        memo: What floors above have worked out of this definition, by their own key.
    """

    name: str
    steps: tuple[StepDef, ...]
    inputs: Mapping[str, InputSpec]
    output: Binding | None
    description: str = ""
    on_error: OneOf["fail", "skip"] = "fail"
    warnings: tuple[str, ...] = ()
    checks: tuple[AnyCheck, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)  # Any: each floor's own type

    def step(self, name: str) -> StepDef:
        """The step of that name.

        Raises:
            KeyError: There is none.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)
