"""Pictures of a workflow: a Mermaid flowchart, and an SVG that needs nothing from outside."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, assert_never

from ..definition.actions import ActionDef, FunctionAction, PayloadAction, WorkflowAction
from ..definition.node import refs_in
from ..definition.workflow import StepDef, WorkflowDef
from .compile import compiled
from .graph import edges_of, levels

__all__ = ["to_mermaid", "to_svg"]

_MOST_DRAWN: Final = 200  # steps of an SVG
_LONGEST: Final = 48  # characters of a Mermaid label's line
_ENTITIES: Final = {character: f"#{ord(character)};" for character in "\"#&<>`'{}[]()|\\;%"}


# Mermaid -------------------------------------------------------------------------------------------------------------


def to_mermaid(definition: WorkflowDef) -> str:
    """A Mermaid flowchart: payloads are rounded, functions boxes with bars, inputs slanted, nested workflows framed.

    A dashed arrow is `after`: order without a value. Arrows say `when` and `each` where that is what they are for.

    Source: https://mermaid.js.org/syntax/flowchart.html (read 2026-11-20).
    """
    return "\n".join(["flowchart TD", *_Mermaid().workflow(definition, "    ", is_inner=False)]) + "\n"


class _Mermaid:
    def __init__(self) -> None:
        self.count = 0

    def _id(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def workflow(self, definition: WorkflowDef, indent: str, *, is_inner: bool) -> Iterator[str]:
        """The lines of one workflow; inputs and output of an inner one are the edges of its frame."""
        ids: dict[str, str] = {}
        for name in () if is_inner else definition.inputs:
            ids[name] = self._id()
            yield f'{indent}{ids[name]}[/"{_label(name)}"/]'
        for step in definition.steps:
            ids[step.name] = self._id()
        for step in definition.steps:
            yield from self._step(step, ids[step.name], indent)
        for step in definition.steps:
            for source, why in dict.fromkeys(edges_of(step)):
                if source in ids:
                    yield f"{indent}{ids[source]} {_ARROWS[why]} {ids[step.name]}"
        if not is_inner:
            yield from self._output(definition, ids, indent)

    def _output(self, definition: WorkflowDef, ids: Mapping[str, str], indent: str) -> Iterator[str]:
        if definition.output is None:
            return
        end = self._id()
        yield f'{indent}{end}(["output"])'
        for source in dict.fromkeys(ref.source for ref in refs_in(definition.output)):
            if source in ids:
                yield f"{indent}{ids[source]} --> {end}"

    def _step(self, step: StepDef, name: str, indent: str) -> Iterator[str]:
        label = _step_label(step)
        match step.action:
            case PayloadAction():
                yield f'{indent}{name}("{label}")'
            case FunctionAction():
                yield f'{indent}{name}[["{label}"]]'
            case WorkflowAction(definition=inner):
                yield f'{indent}subgraph {name}["{label}"]'
                yield from self.workflow(inner, indent + "    ", is_inner=True)
                yield f"{indent}end"
            case _:
                assert_never(step.action)


_ARROWS: Final = {"value": "-->", "each": "-->|each|", "when": "-->|when|", "after": "-.->|after|"}


def _step_label(step: StepDef) -> str:
    lines = [step.name, *_details(step)]
    return "<br/>".join(_label(line) for line in lines)


def _details(step: StepDef) -> Iterator[str]:
    """What stands under a step's name."""
    match step.action:
        case PayloadAction(payload=payload):
            if payload.model is not None:
                yield payload.model
        case FunctionAction() | WorkflowAction():
            pass
        case _:
            assert_never(step.action)
    if step.map is not None:
        most = step.map.concurrency
        yield "for each item" + ("" if most is None else f", {most} at once")
    if step.when is not None and step.when.expression is not None:
        yield f"when {step.when.expression}"


def _label(text: str) -> str:
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return "".join(_ENTITIES.get(character, character) for character in line)


# SVG -----------------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 190, 50, 70, 18, 16
_WIDEST = 26  # characters of a box's line


class _Box(NamedTuple):
    x: int
    y: int
    kind: str
    lines: tuple[str, ...]


def to_svg(definition: WorkflowDef) -> str:
    """The steps as an SVG, one column for each generation, inputs at the left.

    It has no script, no style sheet and no address in it, and takes its colour from the page around it. Workflows of
    more than 200 steps are cut, and say so.
    """
    boxes, left_out = _boxes(definition)
    right = max((box.x for box in boxes.values()), default=0) + _WIDTH + _EDGE
    bottom = max((box.y for box in boxes.values()), default=0) + _HEIGHT + _EDGE
    note = f"{left_out} more steps are not drawn" if left_out else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom + 20 * bool(note)}" width="{right}" '
        f'role="img" font-family="sans-serif" font-size="12" style="max-width:100%;height:auto">',
        f"<title>{_text(definition.name)}</title>",
        *_lines(definition, boxes),
        *(_drawn(box) for box in boxes.values()),
        f'<text x="{_EDGE}" y="{bottom + 8}" fill="currentColor">{note}</text>' if note else "",
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def _boxes(definition: WorkflowDef) -> tuple[dict[str, _Box], int]:
    """A place for each input and step by name, and how many steps there was no room for."""
    found = levels(compiled(definition))
    last = max(found, default=0) + 1
    boxes: dict[str, _Box] = {}
    filled: dict[int, int] = {}

    def put(name: str, column: int, kind: str, lines: tuple[str, ...]) -> None:
        row = filled[column] = filled.get(column, -1) + 1
        x, y = _EDGE + column * (_WIDTH + _GAP_X), _EDGE + row * (_HEIGHT + _GAP_Y)
        boxes[name] = _Box(x, y, kind, lines)

    shift = 1 if definition.inputs else 0
    for name in list(definition.inputs)[:_MOST_DRAWN]:
        put(name, 0, "input", (name,))
    order = sorted(range(len(definition.steps)), key=lambda index: found[index] if found[index] >= 0 else last)
    for index in order[:_MOST_DRAWN]:
        step = definition.steps[index]
        column = found[index] if found[index] >= 0 else last  # in or behind a cycle
        put(step.name, column + shift, _kind(step.action), (step.name, *_details(step))[:2])
    return boxes, max(0, len(order) - _MOST_DRAWN)


def _kind(action: ActionDef) -> str:
    match action:
        case PayloadAction():
            return "payload"
        case FunctionAction():
            return "function"
        case WorkflowAction():
            return "workflow"
        case _:
            assert_never(action)


def _lines(definition: WorkflowDef, boxes: Mapping[str, _Box]) -> Iterator[str]:
    for step in definition.steps:
        end = boxes.get(step.name)
        for source, why in dict.fromkeys(edges_of(step)):
            start = boxes.get(source)
            if start is None or end is None:
                continue
            x1, y1, x2, y2 = start.x + _WIDTH, start.y + _HEIGHT // 2, end.x, end.y + _HEIGHT // 2
            bend = max(_GAP_X // 2, (x2 - x1) // 2)
            dashes = ' stroke-dasharray="4 4"' if why == "after" else ""
            yield (
                f'<path d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" '
                f'stroke="currentColor" stroke-opacity="0.45"{dashes}/>'
            )
            yield f'<circle cx="{x2}" cy="{y2}" r="3" fill="currentColor" fill-opacity="0.6"/>'


_CORNERS: Final = {"payload": 14, "function": 2, "workflow": 6, "input": 25}


def _drawn(box: _Box) -> str:
    rect = (
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{_CORNERS[box.kind]}" '
        f'fill="currentColor" fill-opacity="0.07" stroke="currentColor" stroke-opacity="0.6" '
        f'stroke-width="{3 if box.kind == "workflow" else 1}"/>'
    )
    middle = box.x + _WIDTH // 2
    top = box.y + _HEIGHT // 2 + (4 if len(box.lines) == 1 else -4)
    texts = [
        f'<text x="{middle}" y="{top + 17 * at}" text-anchor="middle" fill="currentColor" '
        f'fill-opacity="{0.7 if at else 1}">{_text(_cut(line))}</text>'
        for at, line in enumerate(box.lines)
    ]
    return "".join([f"<g><title>{_text(' '.join(box.lines))}</title>", rect, *texts, "</g>"])


def _cut(line: str) -> str:
    return line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…"


def _text(text: str) -> str:
    """Escaped, without characters that XML forbids."""
    return html.escape("".join(character if character >= " " else " " for character in text))
