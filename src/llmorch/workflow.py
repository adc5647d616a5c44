"""The builder: how a workflow is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Unpack, overload

from typing_extensions import TypeVar

from . import edits, workflow_files
from .definition.node import Each, FirstN, FirstOf, Node, Optional, Ref, as_binding
from .definition.wiring import Draft, wire
from .definition.workflow import InputSpec, MapRule, OnUnknown, WorkflowDef
from .edits import OnErrorArg
from .errors import WorkflowInvalid
from .models.action import Action
from .models.block import Block
from .models.values import to_data
from .schema import describe, validate
from .workflow_control import ControlVerbs, placed
from .workflow_files import MAX_BYTES, MAX_STEPS, AnyPath, Code
from .workflow_verbs import WorkflowVerbs

if TYPE_CHECKING:
    from .models.check import AnyCheck

__all__ = ["Workflow"]

T = TypeVar("T", covariant=True, default=Any)
U = TypeVar("U")


class Workflow(WorkflowVerbs[T], ControlVerbs, Generic[T]):
    """Inputs, steps and an output. Names are edges: a step depends on what its text or parameters name.

    Args:
        name: What the run is listed as.
        on_error: What a failed step means unless it says otherwise: `fail` the workflow or `skip` its dependents.
        checks: What is asked about a run when its steps have ended; see `llmorch.checks`.

    Example:
        >>> wf = Workflow("talk")
        >>> outline = wf.add(Payload("outline", "Outline a talk on {{ topic }}."))
        >>> talk = wf.add(Payload("talk", "Write the talk: {{ outline }}"))
        >>> list(wf.inputs)
        ['topic']
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        on_error: Literal["fail", "skip"] = "fail",
        checks: Iterable[AnyCheck] = (),
    ) -> None:
        if on_error not in ("fail", "skip"):
            raise ValueError(
                f"Workflow {name!r}: on_error is 'fail' or 'skip', not {on_error!r}; Default() is for steps"
            )
        self._draft = Draft(name=name, owner=object(), description=description, on_error=on_error)
        if checks != ():
            from .models.check import as_checks  # most workflows have none, and none of its cost

            self._draft.checks = as_checks(checks)
        self._frozen: tuple[WorkflowDef, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, *actions: Action[Any] | Callable[..., Any], name: str) -> Workflow[Any]:
        """A workflow of these actions, wired by their names."""
        workflow: Workflow[Any] = Workflow(name)
        for action in actions:
            workflow.add(action)
        return workflow

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._draft.name

    @property
    def inputs(self) -> Mapping[str, InputSpec]:
        """Every input by name, those that only a template or parameter names included."""
        return self._wired()[0].inputs

    @overload
    def input(
        self, name: str, type: type[U], *, default: Any = ..., description: str = "", untrusted: bool = False
    ) -> Ref[U]: ...
    @overload
    def input(
        self, name: str, type: Any = ..., *, default: Any = ..., description: str = "", untrusted: bool = False
    ) -> Ref[Any]: ...
    def input(
        self, name: str, type: Any = str, *, default: Any = ..., description: str = "", untrusted: bool = False
    ) -> Ref[Any]:
        """Declare an input.

        Args:
            type: What its value is validated to, as pydantic does in lax mode.
            default: Its value when a run gives none; left out, a run must give one.
            untrusted: It comes from strangers.
        """
        if name in self._draft.inputs:
            raise WorkflowInvalid(f"Workflow {self.name!r} has an input {name!r} already; declare it once")
        given = default if default is ... else _fitting_default(name, type, default)
        self._draft.inputs[name] = InputSpec(type, given, description, untrusted)
        self._frozen = None
        return Ref(name, owner=self._draft.owner)

    # fmt: off
    @overload
    def add(
        self, action: Action[U], /, *, name: str | None = None, after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        on_unknown: OnUnknown = "retry", bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    @overload
    def add(
        self, action: Callable[..., Awaitable[U]], /, *, name: str | None = None, after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        on_unknown: OnUnknown = "retry", bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    @overload
    def add(
        self, action: Callable[..., U], /, *, name: str | None = None, after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        on_unknown: OnUnknown = "retry", bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    def add(
        self, action: Any, /, *, name: str | None = None, after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        on_unknown: OnUnknown = "retry", bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[Any]:
        """Place an action as a step.

        Args:
            action: A Payload, Workflow, Script, Question, or a Python function (`async def` on the loop, `def` in a
                worker thread).
            name: The step's name; default the action's own.
            after: Steps that must have ended first, whatever came of them.
            when: An expression over names, or a reference; when it is false the step is skipped.
            on_error: `fail`, `skip` or `Default(value)`; default the workflow's.
            timeout: Seconds for everything the step does.
            on_unknown: What to do after a crash with what was in flight, of which nobody knows how it ended: `retry`,
                `fail`, or `ask` a person; of a workflow, with all inside it.
            bind: Bindings whose names are also options of `add`.
            bindings: Variable, parameter or input of the action -> literal, reference, or list or dict of them.

        Raises:
            TypeError: The action is none, or an option's name is also a variable of the action.
        """
        return self._place(
            action, None, name=name, after=after, when=when, on_error=on_error, timeout=timeout,
            on_unknown=on_unknown, bind=bind, bindings=bindings,
        )

    @overload
    def map(
        self, action: Action[U], /, *, concurrency: int | None = None, name: str | None = None,
        after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None, on_error: OnErrorArg = None,
        timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[list[U]]: ...
    @overload
    def map(
        self, action: Callable[..., Awaitable[U]], /, *, concurrency: int | None = None, name: str | None = None,
        after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None, on_error: OnErrorArg = None,
        timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[list[U]]: ...
    @overload
    def map(
        self, action: Callable[..., U], /, *, concurrency: int | None = None, name: str | None = None,
        after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None, on_error: OnErrorArg = None,
        timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[list[U]]: ...
    def map(
        self, action: Any, /, *, concurrency: int | None = None, name: str | None = None,
        after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None, on_error: OnErrorArg = None,
        timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[list[Any]]:
        """Run an action once for each item; the value is the list of results in item order.

        At least one binding is `each(list)`; several are zipped. `on_error` is asked for each item; the other options
        are those of `add`.

        Args:
            concurrency: How many items at once; None for no bound of its own.
        """
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"map(concurrency={concurrency}) runs nothing; leave it out or give 1 or more")
        return self._place(
            action, MapRule(concurrency), name=name, after=after, when=when, on_error=on_error, timeout=timeout,
            on_unknown=on_unknown, bind=bind, bindings=bindings,
        )
    # fmt: on

    def _place(self, action: Any, rule: MapRule | None, **options: Unpack[edits.Placing]) -> Node[Any]:
        return self._put(placed(action), options, rule)

    def _put(self, placed: edits.Placed, options: edits.Placing, rule: MapRule | None = None) -> Node[Any]:
        step = edits.step_of(placed, rule, options=options)
        self._draft.steps.append(step)
        self._frozen = None
        return Node(step.name, owner=self._draft.owner)

    @overload
    def returns(self, value: Ref[U], /) -> Workflow[U]: ...
    @overload
    def returns(self, value: Mapping[str, Any] | Sequence[Any] | FirstOf | FirstN | Optional, /) -> Workflow[Any]: ...
    def returns(self, value: Any, /) -> Workflow[Any]:
        """Say what the run gives: a reference, or a list or dict of them. Returns this same workflow, typed."""
        if isinstance(value, Each):
            raise TypeError("returns() takes values; each() belongs into wf.map()")
        self._draft.output = as_binding(value, where=f"the output of {self.name!r}")
        self._frozen = None
        return self

    @staticmethod
    def _open(draft: Draft) -> Workflow[Any]:
        workflow: Workflow[Any] = Workflow(draft.name)
        workflow._draft = draft
        return workflow

    def _wired(self) -> tuple[WorkflowDef, tuple[str, ...]]:
        if self._frozen is None:
            definition, faults = wire(self._draft)
            self._frozen = definition, tuple(faults)
        return self._frozen

    def freeze(self) -> WorkflowDef:
        """The workflow with everything bound; what is added later makes a new one.

        Raises:
            WorkflowInvalid: A name cannot be bound; every fault is listed.
        """
        definition, faults = self._wired()
        if faults:
            raise WorkflowInvalid(faults=faults, workflow=self.name)
        return definition

    def draft(self) -> tuple[WorkflowDef, tuple[str, ...]]:
        """The workflow as far as it can be bound, and the faults so far; the planner adds its own."""
        return self._wired()

    def replace(self, name: str, action: Action[Any] | Callable[..., Any]) -> Workflow[T]:
        """A copy in which that step does something else.

        Raises:
            KeyError: There is no such step.
        """
        return Workflow._open(edits.replaced(self._draft, name, action=placed(action).action))

    def with_block(self, block: Block) -> Workflow[T]:
        """A copy in which every block of that name is this one.

        Raises:
            KeyError: No payload has a block of that name.
        """
        return Workflow._open(edits.with_block(self._draft, block))

    def to_dict(self) -> dict[str, Any]:
        """The workflow as plain data, in its document form; implied inputs stand there as declared ones.

        Code stands there by its address (`module:qualname`). Code that only this process can find (lambdas, closures,
        functions of `__main__`) is written too: `from_dict(..., code=...)` reads it where it is at hand.
        """
        return workflow_files.to_dict(self.freeze())

    def to_yaml(self) -> str:
        """The same as YAML text, unless another process could not find its code: that is a `WorkflowInvalid`."""
        return workflow_files.to_yaml(self.freeze())

    def save(self, path: AnyPath) -> None:
        """Write it to a `.yaml`, `.yml` or `.json` file (ValueError for others), whole or not at all.

        Raises:
            WorkflowInvalid: As for `to_yaml`; nothing is written.
        """
        workflow_files.save(self.freeze(), path)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, code: Code | None = None) -> Workflow[Any]:
        """The workflow that `to_dict` wrote; nothing is imported, and no input is implied.

        Args:
            code: Functions and types it names: a list of them, or a mapping of address (`module:qualname`) -> object.

        Raises:
            WorkflowInvalid: Every fault of the document, with its place.
            CodeMissing: A function or type is not in `code`.
        """
        return Workflow._open(workflow_files.from_dict(document, code=code))

    @classmethod
    def from_yaml(
        cls, text: str, *, code: Code | None = None, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES
    ) -> Workflow[Any]:
        """The workflow that YAML text describes; see `load`."""
        return Workflow._open(workflow_files.from_yaml(text, code=code, max_steps=max_steps, max_bytes=max_bytes))

    @classmethod
    def load(
        cls, path: AnyPath, *, code: Code | None = None, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES
    ) -> Workflow[Any]:
        """The workflow of a `.yaml`, `.yml` or `.json` file (ValueError for others); see `from_dict`.

        Raises:
            WorkflowInvalid: It is not in its format (with line and column), describes no workflow, or has more than
                `max_steps` steps (nested ones included) or `max_bytes` bytes.
        """
        return Workflow._open(workflow_files.load(path, code=code, max_steps=max_steps, max_bytes=max_bytes))

    def to_mermaid(self) -> str:
        """The workflow as a mermaid flowchart."""
        from .planner.draw import to_mermaid

        return to_mermaid(self._wired()[0])

    def _repr_html_(self) -> str:
        from .planner.draw import to_svg

        return to_svg(self._wired()[0])

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, {len(self._draft.steps)} steps)"


def _fitting_default(name: str, kind: Any, default: Any) -> Any:
    """The default as an input of that type would be recorded; None is taken as it is, for "not given"."""
    try:
        value = default if default is None or kind is Any else validate(kind, default)
    except ValueError as error:
        raise WorkflowInvalid(f"The default of input {name!r} is no {describe(kind)}: {error}") from None
    return to_data(value, where=f"the default of input {name!r}")
