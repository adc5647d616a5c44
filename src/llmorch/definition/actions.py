"""What a step can do: a closed union. Adding a kind touches document, checks, estimate, draw and engine/steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ..models.payload import Payload
from ..models.policy import Retry
from ..models.question import Question
from ..models.script import Script

if TYPE_CHECKING:
    from .workflow import WorkflowDef

__all__ = [
    "CHOICE",
    "OTHERWISE",
    "ActionDef",
    "DispatchAction",
    "FunctionAction",
    "LoopAction",
    "Param",
    "PayloadAction",
    "QuestionAction",
    "Rule",
    "ScriptAction",
    "WorkflowAction",
    "called",
    "is_leaf",
    "nested_of",
    "parts_of",
    "scripts_in",
]

CHOICE: Final = "?"  # what a dispatch decides by stands among its bindings under this name, which no variable has
OTHERWISE: Final = "otherwise"  # the branch of a dispatch that is taken when no key is the choice


@dataclass(frozen=True, slots=True)
class PayloadAction:
    """One LLM call."""

    payload: Payload[Any]


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a function step that binds by name.

    Attributes:
        annotation: Its type, or None where it has none.
        required: It has no default.
    """

    name: str
    annotation: Any  # Any: a type, a union, anything an annotation can be
    required: bool


@dataclass(frozen=True, slots=True)
class FunctionAction:
    """A Python function.

    Attributes:
        typed: The parameters whose annotation asks for a type.
        is_async: `async def` runs on the loop, `def` in a worker thread unless `inline`.
        context: Parameter that receives the RunContext, if any.
        returns: The return annotation, or None.
        pure: Its start need not be recorded before it runs.
        version: Stands for the source in the fingerprint, if given.
    """

    function: Callable[..., Any]
    params: tuple[Param, ...]
    is_async: bool
    typed: tuple[Param, ...] = ()
    returns: Any = None  # Any: a type, a union, anything an annotation can be
    context: str | None = None
    inline: bool = False
    pure: bool = False
    retry: Retry | None = None
    version: str | None = None

    @property
    def address(self) -> str:
        """Module and qualified name."""
        return f"{getattr(self.function, '__module__', '?')}:{getattr(self.function, '__qualname__', '?')}"

    @property
    def is_portable(self) -> bool:
        """Whether another process can find the function by its address."""
        return "<" not in self.address and not self.address.startswith("__main__:") and not _is_bound(self.function)


def _is_bound(function: Callable[..., Any]) -> bool:
    owner = getattr(function, "__self__", None)  # a built-in function's is its module
    return not inspect.isroutine(function) or not (owner is None or inspect.ismodule(owner))


@dataclass(frozen=True, slots=True)
class WorkflowAction:
    """A workflow as a step of another."""

    definition: WorkflowDef


@dataclass(frozen=True, slots=True)
class ScriptAction:
    """A program that reads and writes JSON."""

    script: Script


@dataclass(frozen=True, slots=True)
class QuestionAction:
    """A question to a person."""

    question: Question[Any]


Rule = str | FunctionAction
"""What a loop asks after each turn: an expression, or a function, over `output`, `inputs` and `iteration`."""


@dataclass(frozen=True, slots=True)
class LoopAction:
    """An action that is repeated.

    Attributes:
        body: What is repeated; neither a loop nor a dispatch.
        until: Ends the loop when it is true.
        carry: Input of the body -> what it is given in the next iteration.
        on_exhausted: What it means that `max_iterations` did not suffice: the last output is kept, or the step fails.
    """

    body: ActionDef
    until: Rule
    max_iterations: int
    carry: tuple[tuple[str, Rule], ...] = ()
    on_exhausted: Literal["keep", "fail"] = "keep"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All that is asked after a turn."""
        return (self.until, *(rule for _, rule in self.carry))


@dataclass(frozen=True, slots=True)
class DispatchAction:
    """One of several actions, by a choice that is made while the run goes on.

    Attributes:
        branches: Key -> action; none is a loop or a dispatch.
        otherwise: Taken when no key is the choice; without it that is a failure.
        definition: The branches as the steps of a workflow, of which one runs; known once the step is wired.
    """

    branches: tuple[tuple[str, ActionDef], ...]
    otherwise: ActionDef | None = None
    definition: WorkflowDef | None = field(default=None, compare=False)

    @property
    def all_branches(self) -> tuple[tuple[str, ActionDef], ...]:
        """Every branch by its key, the last resort included."""
        return self.branches if self.otherwise is None else (*self.branches, (OTHERWISE, self.otherwise))

    @property
    def inner(self) -> WorkflowDef:
        """The branches as a workflow."""
        assert self.definition is not None, "a dispatch is wired before anything is made of it"
        return self.definition


ActionDef = (
    PayloadAction | FunctionAction | WorkflowAction | ScriptAction | QuestionAction | LoopAction | DispatchAction
)


def called(name: str) -> str:
    """What a binding is called in what people read."""
    return "its choice" if name == CHOICE else repr(name)


def parts_of(action: ActionDef) -> tuple[ActionDef, ...]:
    """The actions inside a loop or dispatch; none for others, for a workflow's steps are actions of their own."""
    if isinstance(action, LoopAction):
        return (action.body,)
    if isinstance(action, DispatchAction):
        return tuple(branch for _, branch in action.all_branches)
    return ()


def nested_of(action: ActionDef) -> WorkflowDef | None:
    """The workflow whose steps stand below this action's own step: a nested one, or a dispatch's branches."""
    if isinstance(action, WorkflowAction):
        return action.definition
    return action.inner if isinstance(action, DispatchAction) else None


def scripts_in(definition: WorkflowDef, prefix: str = "") -> Iterator[tuple[str, Script]]:
    """Path of each step at any depth that runs a script, and the script."""
    for step in definition.steps:
        for action in (step.action, *parts_of(step.action)):
            if isinstance(action, ScriptAction):
                yield prefix + step.name, action.script
            elif isinstance(action, WorkflowAction):
                yield from scripts_in(action.definition, f"{prefix}{step.name}/")


_CONTAINERS: Final = frozenset((WorkflowAction, LoopAction, DispatchAction))


def is_leaf(action: ActionDef) -> bool:
    """Whether nothing runs inside it as a step of its own."""
    return type(action) not in _CONTAINERS
