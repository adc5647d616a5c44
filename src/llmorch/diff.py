"""What a workflow would ask again, compared with a run: which results are kept, which not, why, and what that takes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from .definition.actions import (
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
    nested_of,
)
from .definition.node import refs_in
from .definition.workflow import StepDef, WorkflowDef
from .engine.adoption import Adoption
from .engine.state.run import RunState
from .engine.state.step import StepState
from .planner.planned import PlannedStep
from .planner.ranges import NO_COST, NOTHING, Range, usd

__all__ = ["Diff", "diff_of"]

_INDEX = re.compile(r"\[\d+\]")
_TURN = re.compile(r"@\d+")
_MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Diff:
    """What going on from a run with a workflow means; `print(diff)` shows it, and nothing was sent.

    Attributes:
        changed: Path of each step that runs again -> why.
        kept: Paths of the steps whose results are adopted.
        new: Path of each step that the run does not have -> why it runs.
        calls: Provider requests of what runs.
        cost: US dollars of what runs; None when a price is unknown.

    Example:
        >>> wf = Workflow.of(Payload("hi", "Say hi to {{ who }}.", model="offline:echo"), name="greet")
        >>> print(wf.diff(wf.run_sync(who="Ada")))
        greet: everything is kept (1 step), nothing is asked again
    """

    workflow: str
    changed: Mapping[str, str] = field(default_factory=dict[str, str])
    kept: tuple[str, ...] = ()
    new: Mapping[str, str] = field(default_factory=dict[str, str])
    calls: Range[int] = NOTHING
    cost: Range[Decimal] | None = NO_COST

    @property
    def is_empty(self) -> bool:
        """Nothing would run."""
        return not self.changed and not self.new

    def __str__(self) -> str:
        kept = f"{len(self.kept)} step{'' if len(self.kept) == 1 else 's'}"
        if self.is_empty:
            return f"{self.workflow}: everything is kept ({kept}), nothing is asked again"
        cost = "a cost that is not known" if self.cost is None else f"{_usd(self.cost)} US dollars"
        lines = [f"{self.workflow}: {kept} kept; what runs takes {self.calls} calls and {cost}"]
        rows = [("changed", path, why) for path, why in self.changed.items()]
        rows += [("new", path, why) for path, why in self.new.items()]
        width = max(len(path) for _, path, _ in rows[:_MOST_SHOWN])
        lines += [f"  {kind:<7}  {path:<{width}}  {why}" for kind, path, why in rows[:_MOST_SHOWN]]
        if len(rows) > _MOST_SHOWN:
            lines.append(f"  and {len(rows) - _MOST_SHOWN} more")
        return "\n".join(lines)


def diff_of(made: Adoption, former: RunState, *, planned: Iterable[PlannedStep] | None) -> Diff:
    """The difference between a run and what would go on from it.

    Args:
        made: What would be adopted.
        former: The run.
        planned: The workflow's plan, for what runs takes; None when it cannot be planned here.
    """
    changed, new = dict[str, str](), dict[str, str]()
    for path, why in _running(made, former):
        (changed if _at(former, path) is not None else new)[path] = why
    calls, cost = _price(made, planned)
    return Diff(made.state.definition.name, changed, tuple(made.kept), new, calls, cost)


def _running(made: Adoption, former: RunState) -> Iterator[tuple[str, str]]:
    """Path of each step that has no result yet, and why; of a container that is not reached, its own."""
    for path in made.asked:
        yield path, _why(made.state.steps[path], _at(former, path))
    yield from _unreached(made.state.frame.compiled.definition, made, "")


def _unreached(definition: WorkflowDef, made: Adoption, prefix: str) -> Iterator[tuple[str, str]]:
    steps = made.state.steps
    for step in definition.steps:
        state = steps.get(prefix + step.name)
        if state is None or (state.status == "pending" and state.path not in made.asked):
            yield prefix + step.name, _because(step, made, definition=definition, prefix=prefix)
            continue
        nested = nested_of(step.action.body if isinstance(step.action, LoopAction) else step.action)
        if nested is not None:
            for inner in _open_frames(state):
                yield from _unreached(nested, made, f"{inner}/")


def _open_frames(state: StepState) -> Iterator[str]:
    """Paths of the workflow instances inside a container that was opened and has not ended."""
    if state.child is not None and state.finished_us is None:
        yield state.path
    items = state.map.items if state.map is not None else state.loop.items if state.loop is not None else ()
    for item in items:
        if item is not None and item.child is not None and item.finished_us is None:
            yield item.path


def _because(step: StepDef, made: Adoption, *, definition: WorkflowDef, prefix: str) -> str:
    bindings = [*step.bindings.values(), *(step.when.bindings.values() if step.when is not None else ())]
    sources = [ref.source for binding in bindings for ref in refs_in(binding)]
    for source in (*sources, *step.after):
        state = made.state.steps.get(prefix + source)
        if source not in definition.inputs and (state is None or state.finished_us is None):
            return f"it waits for {source!r}, which runs"
    return "its turn has not come yet"


def _at(former: RunState, path: str) -> StepState | None:
    found = former.steps.get(path)
    return None if found is None or found.status == "pending" else found


def _why(now: StepState, then: StepState | None) -> str:
    """Why a step that is due has no result to adopt."""
    if then is None:
        return "the run has no such step"
    if then.status != "succeeded":
        return f"it {'was ' if then.status in ('skipped', 'cancelled', 'running', 'waiting') else ''}{then.status}"
    what = _difference(then.step.definition.action, now.step.definition.action)
    return what or "what it reads is different"


def _difference(then: ActionDef, now: ActionDef) -> str | None:
    """In what two actions differ, in words; None when in nothing."""
    match then, now:
        case PayloadAction(payload=old), PayloadAction(payload=new):
            if old == new:
                return None
            names = [name for name in type(new).model_fields if getattr(old, name) != getattr(new, name)]
            told = [name for name in names if name not in ("name", "description", "tags")] or names
            return f"its {', '.join(told)} changed"
        case FunctionAction(), FunctionAction():
            return None if _glance(then) == _glance(now) else "its code changed"
        case WorkflowAction(), WorkflowAction():
            return None
        case QuestionAction(question=old), QuestionAction(question=new):
            return None if old == new else "its question changed"
        case ScriptAction(script=old), ScriptAction(script=new):
            return None if old == new else "its script changed"
        case LoopAction(body=old), LoopAction(body=new):
            return _difference(old, new)
        case DispatchAction(), DispatchAction():
            return None
        case _:
            return "it is another kind of step"


def _glance(action: FunctionAction) -> tuple[object, ...]:
    """What tells two functions apart at a glance."""
    code = getattr(action.function, "__code__", None)
    return action.address, action.version, getattr(code, "co_code", None), getattr(code, "co_consts", None)


def _price(made: Adoption, planned: Iterable[PlannedStep] | None) -> tuple[Range[int], Range[Decimal] | None]:
    """Calls and US dollars of what runs: the plan's, less the share of each step that is kept."""
    due = Counter(_row_of(path) for path in made.asked)
    done = Counter(_row_of(path) for path, step in made.state.steps.items() if step.finished_us is not None)
    calls, cost = NOTHING, None if planned is None else NO_COST
    for row in planned or ():
        if row.kind not in ("payload", "judged") and not (row.kind == "loop" and row.model is not None):
            continue
        share = Fraction(due[row.path], done[row.path] + due[row.path]) if done[row.path] else Fraction(1)
        calls += Range(
            math.floor(row.calls.low * share), round(row.calls.likely * share), math.ceil(row.calls.high * share)
        )
        if share and cost is not None:
            cost = None if row.cost is None else cost + _part(row.cost, share)
    return calls, cost


def _part(cost: Range[Decimal], share: Fraction) -> Range[Decimal]:
    low, likely, high = (amount * share.numerator / share.denominator for amount in (cost.low, cost.likely, cost.high))
    return Range(low, likely, high)


def _row_of(path: str) -> str:
    """The plan's row that a path belongs to: items stand together, those of a payload under the map itself."""
    return _INDEX.sub("[*]", _TURN.sub("@*", path)).removesuffix("[*]").removesuffix("@*")


def _usd(cost: Range[Decimal]) -> str:
    return usd(cost.low) if cost.low == cost.high else f"{usd(cost.low)} to {usd(cost.high)}"
