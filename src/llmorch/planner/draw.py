"""Pictures of a workflow: a Mermaid flowchart, and an SVG that needs nothing from outside."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from ..definition.actions import (
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
from ..definition.document_binding import binding_to
from ..definition.node import refs_in
from ..definition.workflow import Condition, StepDef, WorkflowDef
from .compile import compiled
from .graph import edges_of, levels
from .layout import FONT, LINE, PAD, Arrow, Box, Picture, cut, lay_out

__all__ = ["picture_of", "to_mermaid", "to_svg"]

_MOST_DRAWN: Final = 200  # steps of an SVG
_LONGEST: Final = 48  # characters of a Mermaid label's line
_ENTITIES: Final = {character: f"#{ord(character)};" for character in "\"#&<>`'{}[]()|\\;%"}


def to_mermaid(definition: WorkflowDef) -> str:
    """A Mermaid flowchart: payloads are rounded, functions and scripts boxes with bars, questions
    six-sided, inputs slanted; nested workflows, loops over them and the branches of a dispatch are framed.

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
            case ScriptAction():
                yield f'{indent}{name}[["{label}"]]'
            case QuestionAction():
                yield f'{indent}{name}{{{{"{label}"}}}}'
            case WorkflowAction() | LoopAction() | DispatchAction():
                inner = _inside(step.action)
                if inner is None:
                    yield f'{indent}{name}("{label}")'
                    return
                yield f'{indent}subgraph {name}["{label}"]'
                yield from self.workflow(inner, indent + "    ", is_inner=True)
                yield f"{indent}end"
            case _:
                assert_never(step.action)


def _inside(action: ActionDef) -> WorkflowDef | None:
    """The workflow that is drawn inside a step's frame."""
    return nested_of(action.body if isinstance(action, LoopAction) else action)


_ARROWS: Final = {"value": "-->", "each": "-->|each|", "when": "-->|when|", "after": "-.->|after|"}


def _step_label(step: StepDef) -> str:
    lines = [step.name, *_details(step)]
    return "<br/>".join(_label(line) for line in lines)


def _details(step: StepDef) -> Iterator[str]:
    """What stands under a step's name."""
    yield from _of_action(step.action)
    if step.map is not None:
        most = step.map.concurrency
        yield "for each item" + ("" if most is None else f", {most} at once")
    if step.when is not None:
        yield f"when {step.when.expression or _condition(step.when)}"


def _of_action(action: ActionDef) -> Iterator[str]:
    match action:
        case PayloadAction(payload=payload):
            if payload.model is not None:
                yield payload.model
        case ScriptAction(script=script):
            yield script.path_or_name
        case QuestionAction(question=question):
            yield question.text
        case LoopAction(body=body):
            yield from _of_action(body)
            yield f"until {action.until if isinstance(action.until, str) else action.until.address.partition(':')[2]}"
            yield f"at most {action.max_iterations} times"
        case DispatchAction():
            yield "one of these"
        case FunctionAction() | WorkflowAction():
            pass
        case _:
            assert_never(action)


def _condition(when: Condition) -> str:
    """The reference that decides, as documents write it; none where the expression has a fault."""
    return ", ".join(binding_to(binding)["from"] for binding in when.bindings.values())


def _label(text: str) -> str:
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return "".join(_ENTITIES.get(character, character) for character in line)


_EDGE: Final = 12
_DEEPEST: Final = 3  # nested workflows further in are drawn closed


def to_svg(definition: WorkflowDef) -> str:
    """The steps as an SVG from left to right, one column for each generation, between inputs and output.

    It has no script, no style sheet and no address in it, and takes its colour from the page around it. Workflows of
    more than 200 steps are cut, and say so; nested workflows that there is no room for are drawn closed.
    """
    picture, left_out = picture_of(definition)
    width, height = picture.width + 2 * _EDGE, picture.height + 2 * _EDGE
    note = f"{left_out} more steps are not drawn" if left_out else ""
    least = width * 3 // 4  # smaller text cannot be read; a notebook scrolls instead
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 20 * bool(note)}" width="{width}" '
        f'role="img" font-family="sans-serif" font-size="{FONT}" '
        f'style="max-width:100%;min-width:{least}px;height:auto">',
        f"<title>{_text(definition.name)}</title>",
        *_placed(picture, _EDGE, _EDGE),
        f'<text x="{_EDGE}" y="{height + 8}" fill="currentColor">{note}</text>' if note else "",
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def picture_of(definition: WorkflowDef) -> tuple[Picture, int]:
    """Where boxes and lines go, and how many steps there was no room for."""
    drawing = _Svg()
    return drawing.picture(definition, depth=0), drawing.left_out


class _Svg:
    """What is drawn of a workflow, as far as there is room."""

    def __init__(self) -> None:
        self.room = _MOST_DRAWN
        self.left_out = 0

    def picture(self, definition: WorkflowDef, *, depth: int) -> Picture:
        """The steps; around the outermost ones the inputs and the output."""
        found = levels(compiled(definition))
        last = max(found, default=0) + 1
        boxes: dict[str, Box] = {}
        inputs = [] if depth else list(definition.inputs)[:_MOST_DRAWN]
        for name in inputs:
            boxes[name] = Box("input", (name,), 0)
        order = sorted(range(len(definition.steps)), key=lambda index: found[index] if found[index] >= 0 else last)
        shown = order[: self.room]
        self.room -= len(shown)
        self.left_out += len(order) - len(shown)
        for index in shown:
            column = found[index] if found[index] >= 0 else last  # in or behind a cycle
            boxes[definition.steps[index].name] = self._box(definition.steps[index], column + bool(inputs), depth)
        arrows = [
            Arrow(source, step.name, why == "after") for step in definition.steps for source, why in edges_of(step)
        ]
        if not depth and definition.output is not None and shown:
            boxes[_OUTPUT] = Box("output", ("output",), 1 + max(box.column for box in boxes.values()))
            arrows += [Arrow(ref.source, _OUTPUT) for ref in refs_in(definition.output)]
        return lay_out(boxes, arrows)

    def _box(self, step: StepDef, column: int, depth: int) -> Box:
        lines = [step.name, *_details(step)]
        inner = None
        match step.action:
            case PayloadAction():
                kind = "payload"
            case FunctionAction() | ScriptAction():
                kind = "function"
            case QuestionAction():
                kind = "question"
            case WorkflowAction() | LoopAction() | DispatchAction():
                kind, nested = "workflow", _inside(step.action)
                count = 0 if nested is None else _count(nested)
                if nested is None:
                    kind = "payload"
                elif count <= self.room and depth < _DEEPEST:
                    inner = self.picture(nested, depth=depth + 1)
                else:
                    lines.insert(1, f"workflow of {count} steps")
            case _:
                assert_never(step.action)
        return Box(kind, tuple(lines), column, inner)


_OUTPUT: Final = ""  # no step has this name


def _count(definition: WorkflowDef) -> int:
    inside = (_inside(step.action) for step in definition.steps)
    return len(definition.steps) + sum(_count(inner) for inner in inside if inner is not None)


def _placed(picture: Picture, x: int, y: int) -> Iterator[str]:
    yield f'<g transform="translate({x} {y})">'
    for is_dashed, dashes in ((False, ""), (True, ' stroke-dasharray="4 4"')):
        path = "".join(curve.path for curve in picture.curves if curve.is_dashed is is_dashed)
        if path:  # one path for all: where lines meet they are no darker
            yield f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity="0.5"{dashes}/>'
    heads = "".join(f"M{curve.head[0]} {curve.head[1]}l-8 -4v8z" for curve in picture.curves if curve.head is not None)
    if heads:
        yield f'<path d="{heads}" fill="currentColor" fill-opacity="0.7"/>'
    for box in picture.boxes.values():
        yield from _drawn(box)
    yield "</g>"


_CORNERS: Final = {"payload": 12, "function": 0, "workflow": 4, "question": 24, "input": 17, "output": 17}


def _drawn(box: Box) -> Iterator[str]:
    yield f"<g><title>{_text(' | '.join(box.lines))}</title>"
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="{_CORNERS[box.kind]}" '
        f'fill="currentColor" fill-opacity="0.06" stroke="currentColor" stroke-opacity="0.6" '
        f'stroke-width="{2 if box.kind == "workflow" else 1}"/>'
    )
    middle = box.x + box.width // 2
    for at, line in enumerate(box.lines):
        look = 'fill-opacity="0.75"' if at else 'font-weight="600"'
        y = box.y + PAD + 9 + LINE * at
        yield f'<text x="{middle}" y="{y}" text-anchor="middle" fill="currentColor" {look}>{_text(cut(line))}</text>'
    if box.inner is not None:
        top = box.y + box.height - box.inner.height - PAD
        yield from _placed(box.inner, box.x + (box.width - box.inner.width) // 2, top)
    yield "</g>"


def _text(text: str) -> str:
    """Escaped, without characters that XML forbids."""
    return html.escape("".join(character if character >= " " else " " for character in text))
