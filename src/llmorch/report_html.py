"""A run in a notebook: figures, output, and steps whose prompts fold out."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from ._json import dumps
from .models.values import Data
from .report_view import StepView, chain, check_views, content_of, output_data, shortened, span, spent, step_views

if TYPE_CHECKING:
    from .run import Run

__all__ = ["html"]

_MOST_STEPS = 200
_MOST_CHARACTERS = 20_000
_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0.3em 0;padding:0.5em;border-left:3px solid currentColor"


def html(run: Run[Any]) -> str:
    """The run as a piece of HTML without script, style sheet or address; every text in it is escaped.

    Example:
        >>> run = Workflow.of(Payload("hi", "Say <hi>.", model="offline:echo"), name="greet").run_sync()
        >>> "Say &lt;hi&gt;." in html(run), "<hi>" in html(run)
        (True, False)
    """
    usage = run.usage
    figures = (
        f"{usage.requests:,} calls, {usage.input_tokens:,} + {usage.output_tokens:,} tokens, "
        f"cost {spent(run.cost)}, {span(run.duration)}"
    )
    views = list(step_views(run))
    left_out = len(views) - _MOST_STEPS
    parts = [
        '<div class="llmorch-run">',
        f"<p><strong>{escape(run.workflow)}: {run.status}</strong> <code>{escape(run.id)}</code><br>{figures}</p>",
        *_result(run),
        *(_step(view) for view in views[:_MOST_STEPS]),
        f"<p>{left_out:,} more steps are not shown.</p>" if left_out > 0 else "",
        *_checks(run),
        *(f"<p>Warning: {escape(found.text)}</p>" for found in run.warnings),
        "</div>",
    ]
    return "\n".join(part for part in parts if part)


def _result(run: Run[Any]) -> Iterator[str]:
    if run.error is not None:
        yield _pre("\n".join(chain(run.error)))
    elif run.finished_at is not None:
        yield _pre(_shown(output_data(run)))
    for asked in run.questions:
        yield f"<p>Open question of <code>{escape(asked.step)}</code>:</p>{_pre(asked.question)}"
    if run.inputs:
        inside = "".join(
            f"<p><code>{escape(name)}</code></p>{_pre(_shown(value))}" for name, value in run.inputs.items()
        )
        yield f"<details><summary>inputs</summary>{inside}</details>"


def _checks(run: Run[Any]) -> Iterator[str]:
    if run.checks:
        yield "<p>Checks:</p>"
    for found in run.checks.values():
        words = f"{'passed' if found.passed else 'failed'}: {found.name}"
        yield f"<p>{escape(words)}{escape(f' ({found.detail})') if found.detail else ''}</p>"
    yield from (_step(view) for view in check_views(run))


def _step(view: StepView) -> str:
    result = view.result
    cached = "answer from the cache" if result.cached else ""
    words = [view.kind, view.model, result.status, cached, span(result.duration), result.reason]
    title = f"<code>{escape(result.path)}</code> {escape(', '.join(word for word in words if word))}"
    inside = "".join(_inside(view))
    if not inside:
        return f'<p style="margin:0.2em 1em">{title}</p>'
    return f"<details><summary>{title}</summary>{inside}</details>"


def _inside(view: StepView) -> Iterator[str]:
    for message in view.messages:
        yield f"<p>Prompt, {escape(message.role)}:</p>{_pre(content_of(message))}"
    if view.question is not None:
        yield f"<p>Question:</p>{_pre(view.question)}"
    if view.text is not None:
        yield f"<p>Answer:</p>{_pre(view.text)}"
    if view.value is not None and view.text is None:
        yield f"<p>Value:</p>{_pre(_shown(view.value))}"
    if view.result.error is not None:
        yield f"<p>Error:</p>{_pre(chr(10).join(chain(view.result.error)))}"


def _pre(text: str) -> str:
    text, left_out = shortened(text, _MOST_CHARACTERS)
    note = f"<p>({left_out:,} more characters are left out.)</p>" if left_out else ""
    return f'<pre style="{_PRE}">{escape(text)}</pre>{note}'


def _shown(value: Data) -> str:
    return value if isinstance(value, str) else dumps(value)
