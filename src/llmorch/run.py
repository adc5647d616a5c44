"""One execution of a workflow, as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from ._clock import from_us, now_us
from .definition.names import did_you_mean
from .definition.node import Ref
from .definition.value_types import output_type, part_type, step_type
from .definition.workflow import plain_name
from .engine.state.frame import Frame
from .engine.state.run import RunState
from .engine.state.step import StepState
from .errors import LLMOrchError, RunFailed, RunNotFinished, StepNotRun
from .events import RunStatus, StepWaiting, Warned
from .models.usage import Usage
from .models.values import Data, copy_data
from .planner.compile import Compiled
from .planner.graph import levels
from .planner.resolve import Mark, follow
from .schema import validate
from .step_result import CallSummary, StepResult, step_result

if TYPE_CHECKING:
    from .run_checks import CheckResults

__all__ = ["CallSummary", "Run", "StepResult", "state_of"]

T = TypeVar("T")
U = TypeVar("U")
_ENDED = frozenset({"succeeded", "partial", "failed", "cancelled"})


class Run(Generic[T]):
    """What a run did: status, results, usage, cost. It shows the log as far as it is known and never sends anything.

    Example:
        >>> run = Workflow.of(Payload("hi", "Say hi.", model="offline:echo"), name="greet").run_sync()
        >>> run.status, run["hi"]
        ('succeeded', 'Say hi.')
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    @property
    def id(self) -> str:
        """26 characters that sort by time."""
        return self._state.run_id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._state.definition.name

    @property
    def status(self) -> RunStatus:
        """`running`, `waiting`, `interrupted`, `succeeded`, `partial`, `failed` or `cancelled`."""
        return self._state.status

    @property
    def inputs(self) -> dict[str, Data]:
        """The inputs as they were validated, defaults included."""
        return {name: copy_data(value) for name, value in self._state.inputs.items()}

    @property
    def output(self) -> T:
        """The output in its declared type; None when it was skipped though nothing failed.

        Raises:
            RunFailed: The run failed or was cancelled; its error is the cause.
            RunNotFinished: It has not ended.
        """
        self.raise_for_status()
        value = self._state.frame.result()
        if isinstance(value, Mark):
            return cast("T", None)
        kind = output_type(self._state.definition)
        return cast("T", value if kind in (None, Any, str) or value is None else validate(kind, value))

    def raise_for_status(self) -> None:
        """Nothing when the run gave its output.

        Raises:
            RunFailed: The run failed or was cancelled; its error is the cause.
            RunNotFinished: It has not ended.
        """
        if self.status not in _ENDED:
            todo = "nobody carries it out: resume it" if self.status == "interrupted" else "wait for its result"
            raise RunNotFinished(f"Run {self.id} of {self.workflow!r} is {self.status}; {todo}", run_id=self.id)
        if self.status in ("failed", "cancelled"):
            error = self.error
            text = f"Run {self.id} of {self.workflow!r} {'was cancelled' if self.status == 'cancelled' else 'failed'}"
            raise RunFailed(f"{text}: {error}" if error else text, run_id=self.id) from error

    @property
    def error(self) -> LLMOrchError | None:
        """What made the run fail."""
        return self._state.error.rebuild() if self._state.error is not None else None

    @property
    def failures(self) -> dict[str, LLMOrchError]:
        """Path -> error for every failed step at any depth, absorbed or not."""
        judges = self._state.judges
        failed = (
            state for state in self._state.steps.values() if state.status == "failed" and state.frame is not judges
        )
        return {state.path: state.error.rebuild() for state in failed if state.error is not None}

    @overload
    def __getitem__(self, step: Ref[U]) -> U: ...
    @overload
    def __getitem__(self, step: str) -> Any: ...
    def __getitem__(self, step: Ref[Any] | str) -> Any:
        """The value of a step, in its declared type.

        Raises:
            StepNotRun: It has none (and no default).
            KeyError: There is no such step.
        """
        name = step.source if isinstance(step, Ref) else step
        result = self.steps[name]
        if result.status == "succeeded" or (result.status == "failed" and result.has_default):
            if isinstance(step, Ref) and step.path and result.state is not None:
                part = follow(copy_data(result.state.value), step.path, name)
                kind = part_type(step_type(result.state.step.definition), step.path)
                return part if kind in (None, Any, str) or part is None else validate(kind, part)
            return result.value
        why = f": {result.error}" if result.error is not None else f" ({result.reason})" if result.reason else ""
        raise StepNotRun(
            f"Step {name!r} has no value, it is {result.status}{why}", step=name, run_id=self.id
        ) from result.error

    @cached_property
    def _steps(self) -> _Steps:
        return _Steps(self._state)

    @property
    def steps(self) -> Mapping[str, StepResult]:
        """Every step at every depth and every map item by path, in plan order."""
        return self._steps if self.status in _ENDED else _Steps(self._state)

    @property
    def usage(self) -> Usage:
        """Tokens and requests of all calls."""
        return self._state.usage

    @property
    def cost(self) -> Decimal | None:
        """US dollars of all calls; None when the price of one is unknown."""
        return self._state.cost

    @property
    def priced_cost(self) -> Decimal:
        """US dollars of the calls whose price is known."""
        return self._state.priced_cost

    @property
    def unpriced_calls(self) -> int:
        """Calls whose price is unknown."""
        return self._state.unpriced_calls

    @property
    def started_at(self) -> datetime:
        """When it began, UTC."""
        return from_us(self._state.started_us)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, UTC; None while it has not."""
        return from_us(self._state.finished_us) if self._state.finished_us is not None else None

    @property
    def duration(self) -> timedelta:
        """From begin to end, or to now."""
        return timedelta(microseconds=(self._state.finished_us or now_us()) - self._state.started_us)

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by."""
        return self._state.tags

    @property
    def metadata(self) -> dict[str, Data]:
        """What the caller noted on it."""
        return dict(self._state.metadata)

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """What a reader should know."""
        return tuple(self._state.warnings or ())

    @property
    def checks(self) -> CheckResults:
        """What the workflow's checks found, by their names; they change neither its status nor its output."""
        from .run_checks import CheckResults  # most workflows have none, and none of its cost

        return CheckResults(self._state)

    @property
    def questions(self) -> tuple[StepWaiting, ...]:
        """Open questions to people."""
        return tuple((self._state.questions or {}).values())

    def report(self) -> str:
        """The run as Markdown: inputs, diagram, steps with prompts and answers, tokens, cost, failures."""
        from .report import markdown

        return markdown(self)

    def to_dict(self) -> dict[str, Data]:
        """The run as plain data."""
        from .report import as_dict

        return as_dict(self)

    def _repr_html_(self) -> str:
        from .report import html

        return html(self)

    def __repr__(self) -> str:
        return f"Run({self.id!r}, workflow={self.workflow!r}, status={self.status!r})"


class _Steps(Mapping[str, StepResult]):
    """Results by path, made when asked for."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._results: dict[str, StepResult] = {}

    @cached_property
    def _paths(self) -> dict[str, Frame | None]:
        return dict(_Paths(self._state.steps).walk(self._state.frame, self._state.frame.compiled, ""))

    def __getitem__(self, path: str) -> StepResult:
        found = self._results.get(path)
        if found is None:
            found = self._results[path] = self._made(path)
        return found

    def _made(self, path: str) -> StepResult:
        state = self._state.steps.get(path)
        if path not in self._paths:
            plain = next((known for known in self._paths if plain_name(known) == path), None)
            if plain is None:
                raise KeyError(f"no step has the path {path!r}{did_you_mean(path, self._paths)}")
            return self[plain]
        return step_result(state, path, run=self._state, frame=self._paths[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _plan_order(compiled: Compiled) -> list[int]:
    """Step indexes generation by generation; worked out once for a definition."""
    memo = compiled.definition.memo
    if "plan order" not in memo:
        memo["plan order"] = sorted(compiled.order, key=levels(compiled).__getitem__)
    return cast("list[int]", memo["plan order"])


class _Paths:
    """Paths of all steps in plan order, each with the workflow instance it belongs to, if that was opened."""

    def __init__(self, steps: Mapping[str, StepState]) -> None:
        self.steps = steps

    def walk(self, frame: Frame | None, compiled: Compiled, prefix: str) -> Iterator[tuple[str, Frame | None]]:
        """Those of one workflow."""
        for index in _plan_order(compiled):
            step = compiled.steps[index]
            path = prefix + step.name
            yield path, frame
            state = self.steps.get(path) if frame is not None else None
            if state is not None:
                yield from self._below(state)
            elif step.child is not None and step.definition.map is None:
                yield from self.walk(None, step.child, f"{path}/")

    def _below(self, state: StepState) -> Iterator[tuple[str, Frame | None]]:
        if state.map is not None:
            for index, item in enumerate(state.map.items):
                yield f"{state.path}[{index}]", state.frame
                if item is not None:
                    yield from self._below(item)
        elif state.loop is not None:
            for iteration in state.loop.items:
                yield iteration.path, state.frame
                yield from self._below(iteration)
        elif state.child is not None:
            yield from self.walk(state.child, state.child.compiled, f"{state.path}/")
        elif state.step.child is not None and state.step.definition.map is None:
            yield from self.walk(None, state.step.child, f"{state.path}/")


def state_of(run: Run[Any]) -> RunState:
    """What a run reads from."""
    return run._state  # pyright: ignore[reportPrivateUsage]  # of this file's own class
