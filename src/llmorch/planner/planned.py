"""A plan as a value and as an aligned plain-text table."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from .._json import dumps
from ..definition.workflow import InputSpec
from .ranges import Range

__all__ = ["Plan", "PlannedStep"]

_MOST_ROWS: Final = 60
_TAIL: Final = 5  # rows shown after the gap of a long plan
_WIDEST: Final = 40  # characters of a cell
_PAGE: Final = 110
_CHECK_HEAD = ("check", "kind", "model", "calls", "tokens", "USD")
_HEAD = ("#", "step", "kind", "model", "reads", "calls", "tokens", "USD")


class PlannedStep(NamedTuple):
    """One step of a plan. A named tuple, because a plan may have ten thousand.

    Attributes:
        path: Its name; inside a nested workflow `outer/inner`, inside a map of one `outer[*]/inner`, inside a
            loop of one `outer@*/inner`.
        kind: `payload`, `function`, `workflow`, `script`, `question`, `loop` or `dispatch`;
            of a check `judged`, `assertion`, `time bound` and so on.
        model: Id of the model it asks first; None where it asks none or none is known.
        reads: Steps and inputs it waits for.
        generation: From 1: one more than the latest of those it waits for, inside its own workflow.
        calls: Provider requests.
        tokens: Input and output together.
        cost: US dollars; None when a price is unknown.
        when: Its condition as text, if it has one.
        map: How many items, for a map.
    """

    path: str
    kind: str
    model: str | None
    reads: tuple[str, ...]
    generation: int
    calls: Range[int]
    tokens: Range[int]
    cost: Range[Decimal] | None
    when: str | None = None
    map: Range[int] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What running a workflow will do and take; nothing was sent. `print(plan)` shows it as a table.

    Attributes:
        steps: In running order; those of a nested workflow follow it.
        generations: Names of the steps that can run side by side, in order.
        critical_path: The chain of steps that decides how long it takes.
        calls: Provider requests, all steps together.
        tokens: Input and output tokens together.
        cost: US dollars; None when a price is unknown.
        inputs: What a run must or may be given.
        warnings: What a reader should know though nothing is wrong.
        portable: Whether another process can run it from its document: no lambdas, closures or local types.
        name: The workflow's.
        given: Names of the inputs this plan was made with.
        checks: What is asked about a run; those that ask a model take a call. Their paths are not those of steps.

    Example:
        >>> plan = Workflow.of(Payload("hello", "Say hello to {{ who }}.", model="offline:echo"), name="w").plan()
        >>> plan.generations, plan.calls.likely
        ((('hello',),), 1)
    """

    steps: tuple[PlannedStep, ...]
    generations: tuple[tuple[str, ...], ...]
    critical_path: tuple[str, ...]
    calls: Range[int]
    tokens: Range[int]
    cost: Range[Decimal] | None
    inputs: Mapping[str, InputSpec]
    warnings: tuple[str, ...] = ()
    portable: bool = True
    name: str = ""
    given: frozenset[str] = frozenset()
    checks: tuple[PlannedStep, ...] = ()

    def __str__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return f'<pre style="line-height:1.3">{html.escape(str(self))}</pre>'


def _text(plan: Plan) -> str:
    """The table of a plan."""
    steps, generations = _count(len(plan.steps), "step"), _count(len(plan.generations), "generation")
    lines = [f"Workflow {plan.name!r}: {steps} in {generations}"]
    if plan.inputs:
        lines += ["", "Inputs", *_table([_input(plan, name, spec) for name, spec in plan.inputs.items()])]
    if plan.steps:
        lines += ["", "Steps", *_table([_HEAD, *map(_row, plan.steps)], right=(0,))]
        lines += _wrapped("Critical path: ", " -> ".join(_middle_out(plan.critical_path)))
    if plan.checks:
        lines += ["", "Checks", *_table([_CHECK_HEAD, *map(_check_row, plan.checks)])]
    lines += ["", f"Total: {plan.calls} calls, {plan.tokens} tokens, {_total_cost(plan.cost)}"]
    if not plan.portable:
        lines.append(
            "Not portable: it holds lambdas, closures, or functions and types of a script; it cannot be saved."
        )
    for warning in plan.warnings:
        lines += _wrapped("Warning: ", warning)
    lines.append("Nothing was sent.")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _input(plan: Plan, name: str, spec: InputSpec) -> tuple[str, ...]:
    if name in plan.given:
        need = "given"
    else:
        need = "required" if spec.is_required else f"default {_short(dumps(spec.default))}"
    origin = "implied by the steps that read it" if spec.implied else "declared"
    return (name, need, origin + (", untrusted" if spec.untrusted else ""), _short(spec.description))


def _row(step: PlannedStep) -> tuple[str, ...]:
    kind = step.kind if step.map is None else f"{step.kind} x {step.map}"
    reads = ", ".join(step.reads[:6]) + (f", {len(step.reads) - 6} more" if len(step.reads) > 6 else "")
    if step.when is not None:
        reads += f"; when {step.when}"
    place = str(step.generation) if step.generation > 0 else "-"
    return (place, step.path, kind, step.model or "", _short(reads), *_taken(step))


def _check_row(check: PlannedStep) -> tuple[str, ...]:
    return (_short(check.path.partition("/")[2]), check.kind, check.model or "", *_taken(check))


def _taken(step: PlannedStep) -> tuple[str, str, str]:
    """What a step asks of models; nothing for one that asks none."""
    return ("", "", "") if step.calls.high == 0 else (str(step.calls), str(step.tokens), _cost(step.cost))


def _cost(cost: Range[Decimal] | None) -> str:
    return "unknown" if cost is None else str(cost)


def _total_cost(cost: Range[Decimal] | None) -> str:
    return "cost unknown (a price is missing)" if cost is None else f"{cost} USD"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else line[: _WIDEST - 3] + "..."


def _table(rows: Sequence[Sequence[str]], *, right: tuple[int, ...] = ()) -> Iterator[str]:
    """The rows with aligned columns; a long table without its middle."""
    shown = list(rows)
    gap = len(shown) - _MOST_ROWS
    if gap > 1:
        shown = [*shown[: _MOST_ROWS - _TAIL], *shown[-_TAIL:]]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for index, row in enumerate(shown):
        if gap > 1 and index == _MOST_ROWS - _TAIL:
            yield f"  ... {gap:,} more ..."
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ]
        yield "  " + "  ".join(cells).rstrip()


def _middle_out(names: Sequence[str]) -> list[str]:
    return list(names) if len(names) <= 20 else [*names[:10], f"({len(names) - 15:,} more)", *names[-5:]]


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        label + text, _PAGE, subsequent_indent=" " * len(label), break_long_words=False, break_on_hyphens=False
    )
