"""A run as people and programs read it afterwards: Markdown here, plain data and HTML beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ._clock import from_us
from ._json import dumps
from .errors import LLMOrchError
from .models.values import Data
from .report_data import as_dict
from .report_html import html
from .report_view import (
    StepView,
    chain,
    check_views,
    clock_time,
    content_of,
    diagram,
    output_data,
    shortened,
    span,
    spent,
    step_views,
    tokens,
)

if TYPE_CHECKING:
    from .run import Run

__all__ = ["as_dict", "html", "markdown"]

_MOST_STEPS = 200
_TICKS = re.compile(r"`+")
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|])")


def markdown(run: Run[Any], *, max_characters: int | None = 4000) -> str:
    """The run as a Markdown page: figures, output, inputs, diagram, table of steps, each step, failures, warnings.

    Args:
        max_characters: Bound of each text; what is left out is counted where it is missing. None for no bound. Of
            more than 200 steps the rest are counted.

    Example:
        >>> run = Workflow.of(Payload("hi", "Say hi.", model="offline:echo"), name="greet").run_sync()
        >>> print(markdown(run).splitlines()[0])
        # greet: succeeded
    """
    views = list(step_views(run))
    shown, left_out = views[:_MOST_STEPS], len(views) - _MOST_STEPS
    more = [f"{left_out:,} more steps are not shown.", ""] if left_out > 0 else []
    parts = [
        f"# {_plain(run.workflow)}: {run.status}",
        "",
        *_figures(run),
        *_output(run, max_characters),
        *_questions(run, max_characters),
        *_checks(run),
        *_inputs(run, max_characters),
        "## Diagram",
        "",
        *_fenced(diagram(run).rstrip(), None, language="mermaid"),
        "## Steps",
        "",
        *_table(run, shown),
        *more,
        *(line for view in shown for line in _step(view, max_characters)),
        *more,
        *(line for view in check_views(run) for line in _step(view, max_characters)),
        *_failures(run),
        *_warnings(run),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _figures(run: Run[Any]) -> Iterator[str]:
    usage = run.usage
    cost = spent(run.cost)
    if run.cost is None:
        calls = "call" if run.unpriced_calls == 1 else "calls"
        cost += f" ({run.unpriced_calls:,} {calls} without a known price; the others {spent(run.priced_cost)})"
    rows = {
        "Run": f"`{run.id}`",
        "Status": f"**{run.status}**",
        "Started": clock_time(run.started_at),
        "Finished": clock_time(run.finished_at),
        "Duration": span(run.duration),
        "Calls": f"{usage.requests:,}",
        "Tokens": f"{usage.input_tokens:,} in, {usage.output_tokens:,} out",
        "Cost": cost,
        "Tags": ", ".join(map(_cell, run.tags)),
        "Metadata": ", ".join(f"{_cell(name)}: {_cell(_shown(value))}" for name, value in run.metadata.items()),
    }
    if usage.cached_tokens or usage.reasoning_tokens:
        rows["Tokens"] += f" ({usage.cached_tokens:,} of the input cached, {usage.reasoning_tokens:,} spent reasoning)"
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in rows.items() if value)
    yield ""


def _output(run: Run[Any], most: int | None) -> Iterator[str]:
    if run.error is not None:
        yield from ("## Error", "", *_fenced("\n".join(_causes(run.error)), most), "")
    elif run.finished_at is not None:
        value = output_data(run)
        nothing = "There is none: the step that gives it was skipped."
        yield from ("## Output", "", *([nothing, ""] if value is None else _fenced(_shown(value), most)))


def _questions(run: Run[Any], most: int | None) -> Iterator[str]:
    if run.questions:
        yield from ("## Open questions", "")
    for asked in run.questions:
        until = "" if asked.deadline is None else f", to be answered until {clock_time(from_us(asked.deadline))}"
        yield from (f"`{asked.step}`{until}:", "", *_fenced(asked.question, most))


def _checks(run: Run[Any]) -> Iterator[str]:
    if run.checks:
        yield from ("## Checks", "", "| check | | detail | calls | cost |", "|---|---|---|---:|---:|")
        for found in run.checks.values():
            asked = found.asked
            paid = (str(asked.usage.requests), spent(asked.cost)) if asked is not None else ("", "")
            words = "passed" if found.passed else "**failed**"
            yield f"| {_cell(found.name)} | {words} | {_cell(found.detail)} | {paid[0]} | {paid[1]} |"
        yield ""


def _inputs(run: Run[Any], most: int | None) -> Iterator[str]:
    if run.inputs:
        yield from ("## Inputs", "")
    for name, value in run.inputs.items():
        yield from (f"`{name}`", "", *_fenced(_shown(value), most))


def _table(run: Run[Any], views: Iterable[StepView]) -> Iterator[str]:
    yield "| step | kind | status | duration | calls | tokens in + out | cost |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for view in views:
        result, used = view.result, view.result.usage
        calls = "cached" if result.cached else used.requests or len(result.calls)
        money = spent(result.cost) if result.cached or calls else ""
        yield (
            f"| `{result.path}` | {view.kind} | {result.status} | {span(result.duration)} | {calls or ''} "
            f"| {tokens(used.input_tokens, used.output_tokens)} | {money} |"
        )
    used = run.usage
    yield (
        f"| **total** | | {run.status} | {span(run.duration)} | {used.requests:,} "
        f"| {used.input_tokens:,} + {used.output_tokens:,} | {spent(run.cost)} |"
    )
    yield ""


def _step(view: StepView, most: int | None) -> Iterator[str]:
    result = view.result
    cached = "answer from the cache" if result.cached else ""
    words = [view.kind, view.model and f"`{view.model}`", f"**{result.status}**", cached, span(result.duration)]
    yield from (f"### `{result.path}`", "", ", ".join(word for word in words if word), "")
    if result.reason:
        yield from (f"Why: {_plain(result.reason)}", "")
    for number, call in enumerate(result.calls, 1):
        if call.error is not None:
            yield from (f"Call {number} failed:", "", *_fenced("\n".join(_causes(call.error)), most))
    for message in view.messages:
        yield from (f"Prompt, {message.role}:", "", *_fenced(content_of(message), most))
    if view.question is not None:
        yield from ("Question:", "", *_fenced(view.question, most))
    if view.text is not None:
        yield from ("Answer:", "", *_fenced(view.text, most))
    elif view.value is not None:
        yield from ("Value:", "", *_fenced(_shown(view.value), most))
    for index, error in result.failures.items():
        yield from (f"Item {index} failed: {_plain(chain(error)[0])}", "")
    if result.error is not None:
        yield from ("Error:", "", *_fenced("\n".join(_causes(result.error)), most))


def _failures(run: Run[Any]) -> Iterator[str]:
    failures = run.failures
    if failures:
        yield from ("## Failures", "")
        yield from (f"- `{path}`: {_why(path, error)}" for path, error in failures.items())
        yield ""


def _why(path: str, error: LLMOrchError) -> str:
    inside = error.step if error.step not in (None, path) else None
    return f"because of `{inside}`" if inside else _plain(", caused by ".join(chain(error)))


def _warnings(run: Run[Any]) -> Iterator[str]:
    if run.warnings:
        yield from ("## Warnings", "")
        yield from (
            f"- {f'`{warning.step}`: ' if warning.step else ''}{_plain(warning.text)}" for warning in run.warnings
        )
        yield ""


def _causes(error: BaseException) -> list[str]:
    first, *causes = chain(error)
    return [first, *(f"caused by {cause}" for cause in causes)]


def _fenced(text: str, most: int | None, *, language: str = "text") -> Iterator[str]:
    """The text in a fence that nothing inside can close, and a note of what is left out."""
    text, left_out = shortened(text, most)
    longest = max((len(ticks) for ticks in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}{language}", text, fence, "")
    if left_out:
        yield from (f"({left_out:,} more characters are left out.)", "")


def _shown(value: Data) -> str:
    """Text as it is, other data as JSON with one item to a line where that helps."""
    if isinstance(value, str):
        return value
    import json

    compact = dumps(value)
    return compact if len(compact) <= 80 else json.dumps(value, indent=2, ensure_ascii=False)


def _plain(text: str) -> str:
    """The text on one line without any meaning in Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _plain(text)[:200]
