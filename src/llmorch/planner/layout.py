"""Where the boxes of a picture go: columns from left to right, and lines that never run through a box.

A line that passes a column gets a lane of its own there, as if it were a very low box; lines from one box share it.
Within a column boxes stand in the order of what they read, so that few lines cross.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["FONT", "LINE", "PAD", "Arrow", "Box", "Curve", "Picture", "cut", "lay_out", "text_width"]

FONT: Final = 12  # pixels; so are all lengths here
LINE: Final = 16
PAD: Final = 12
_NARROWEST: Final = 90
_WIDEST: Final = 260
_GAP_X: Final = 56
_GAP_Y: Final = 16
_LANE: Final = 6


class Arrow(NamedTuple):
    """A line that is wanted: from one box to another, solid or not."""

    source: str
    target: str
    is_dashed: bool = False


class Curve(NamedTuple):
    """A piece of a line, as the path of an SVG; the last piece has a head at its end."""

    path: str
    is_dashed: bool
    head: tuple[int, int] | None = None


@dataclass(slots=True)
class Picture:
    """Boxes with their places, and the lines between them.

    Attributes:
        boxes: By key, in the order of their columns.
    """

    width: int
    height: int
    boxes: dict[str, Box]
    curves: list[Curve]


@dataclass(slots=True)
class Box:
    """A rectangle with text, and perhaps a picture of its own below the text.

    Attributes:
        lines: What stands in it, whether it fits or not.
        column: Counted from 0; a box stands right of all that it reads.
    """

    kind: str
    lines: tuple[str, ...]
    column: int
    inner: Picture | None = None
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0

    def measure(self) -> None:
        """Make it as large as what is in it."""
        text = max((text_width(line) for line in self.lines), default=0)
        self.width = max(_NARROWEST, min(_WIDEST, text + 2 * PAD))
        self.height = len(self.lines) * LINE + 2 * PAD - 6
        if self.inner is not None:
            self.width = max(self.width, self.inner.width + 2 * PAD)
            self.height += self.inner.height + PAD

    @property
    def middle(self) -> int:
        """Where lines begin and end."""
        return self.y + self.height // 2


@dataclass(slots=True)
class _Lane:
    source: str
    y: int = 0
    height: int = _LANE

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


_Slot = Box | _Lane
_Trunk = tuple[str, bool]  # lines of one box that look alike share their lanes


def lay_out(boxes: dict[str, Box], arrows: Iterable[Arrow]) -> Picture:
    """The boxes with their places, and the arrows between them as curves; arrows to unknown boxes are left out."""
    return _Layout(boxes, [arrow for arrow in arrows if arrow.source in boxes and arrow.target in boxes]).picture


class _Layout:
    def __init__(self, boxes: dict[str, Box], arrows: Sequence[Arrow]) -> None:
        self.boxes = boxes
        self.targets: dict[_Trunk, list[str]] = defaultdict(list)
        self.back: list[Arrow] = []  # of a workflow with a cycle
        for arrow in dict.fromkeys(arrows):
            if boxes[arrow.target].column > boxes[arrow.source].column:
                self.targets[arrow.source, arrow.is_dashed].append(arrow.target)
            else:
                self.back.append(arrow)
        self.columns: dict[int, list[_Slot]] = defaultdict(list)
        self.lanes: dict[tuple[_Trunk, int], _Lane] = {}
        self.before: dict[int, list[_Slot]] = defaultdict(list)  # by id of a slot: what it is joined to on its left
        self._fill()
        self._stack()
        self.left, self.right = self._widths()
        self.picture = Picture(
            max(self.right.values(), default=0),
            max((slot.y + slot.height for slots in self.columns.values() for slot in slots), default=0),
            {key: boxes[key] for key in sorted(boxes, key=lambda key: boxes[key].column)},
            [*self._curves()],
        )

    def _fill(self) -> None:
        for box in self.boxes.values():
            box.measure()
            self.columns[box.column].append(box)
        for trunk, targets in self.targets.items():
            start = self.boxes[trunk[0]]
            slot: _Slot = start
            for column in range(start.column + 1, max(self.boxes[target].column for target in targets)):
                lane = self.lanes[trunk, column] = _Lane(trunk[0])
                self.before[id(lane)].append(slot)
                self.columns[column].append(lane)
                slot = lane
            for target in targets:
                self.before[id(self.boxes[target])].append(self._slot(trunk, self.boxes[target].column - 1))

    def _slot(self, trunk: _Trunk, column: int) -> _Slot:
        return self.lanes.get((trunk, column)) or self.boxes[trunk[0]]

    def _stack(self) -> None:
        """Give each column its order from left to right, and centre them on one line."""
        for _, slots in sorted(self.columns.items()):
            slots.sort(key=self._wanted)
            heights = sum(slot.height for slot in slots) + _GAP_Y * (len(slots) - 1)
            y = -heights // 2
            for slot in slots:
                slot.y = y
                y += slot.height + _GAP_Y
        top = min((slot.y for slots in self.columns.values() for slot in slots), default=0)
        for slots in self.columns.values():
            for slot in slots:
                slot.y -= top

    def _wanted(self, slot: _Slot) -> float:
        """As high as what it reads."""
        joined = self.before.get(id(slot), ())
        return sum(other.middle for other in joined) / len(joined) if joined else 0

    def _widths(self) -> tuple[dict[int, int], dict[int, int]]:
        """Where each column begins and ends; simple boxes of one column are equally wide."""
        left: dict[int, int] = {}
        right: dict[int, int] = {}
        x = 0
        for column, slots in sorted(self.columns.items()):
            boxes = [slot for slot in slots if isinstance(slot, Box)]
            simple = max((box.width for box in boxes if box.inner is None), default=0)
            width = max((box.width for box in boxes), default=0)
            for box in boxes:
                box.width = box.width if box.inner is not None else simple
                box.x = x + (width - box.width) // 2
            left[column], right[column] = x, x + width
            x += width + _GAP_X
        return left, right

    def _curves(self) -> Iterator[Curve]:
        for trunk, targets in self.targets.items():
            yield from self._trunk(trunk)
            for target in targets:
                box = self.boxes[target]
                before = self._slot(trunk, box.column - 1)
                bend = self._bend(before, box.column - 1, to=box.middle)
                yield Curve(f"{bend}H{box.x}", trunk[1], (box.x, box.middle))
        for arrow in self.back:
            start, end = self.boxes[arrow.source], self.boxes[arrow.target]
            x = start.x + start.width
            path = f"M{x} {start.middle}C{x + _GAP_X} {start.middle} {end.x - _GAP_X} {end.middle} {end.x} {end.middle}"
            yield Curve(path, arrow.is_dashed, (end.x, end.middle))

    def _trunk(self, trunk: _Trunk) -> Iterator[Curve]:
        """The way through the lanes."""
        column = self.boxes[trunk[0]].column + 1
        while (lane := self.lanes.get((trunk, column))) is not None:
            bend = self._bend(self._slot(trunk, column - 1), column - 1, to=lane.middle)
            yield Curve(f"{bend}H{self.right[column]}", trunk[1])
            column += 1

    def _bend(self, slot: _Slot, column: int, *, to: int) -> str:
        """From the right of a slot through the gap behind its column."""
        start, end = self.right[column], self.left.get(column + 1, self.right[column] + _GAP_X)
        half = (start + end) // 2
        origin = slot.x + slot.width if isinstance(slot, Box) else start
        return f"M{origin} {slot.middle}H{start}C{half} {slot.middle} {half} {to} {end} {to}"


def cut(line: str, *, width: int = _WIDEST - 2 * PAD) -> str:
    """As much of the line as fits, with an ellipsis where it does not."""
    if text_width(line) <= width:
        return line
    room = width - text_width("…")
    for end, character in enumerate(line):
        room -= text_width(character)
        if room < 0:
            return line[:end].rstrip() + "…"
    return line


_SLIM: Final = frozenset("iljtfrI.,:;'|!()[]{}/\\ -`\"")
_BROAD: Final = frozenset("mwMW@%")


def text_width(text: str) -> int:
    """About how wide the text is in a sans-serif font, rather too wide than too narrow."""
    total = 0.0
    for character in text:
        if character in _SLIM:
            total += 0.38
        elif character in _BROAD or unicodedata.east_asian_width(character) in "WF":
            total += 1.0
        else:
            total += 0.75 if character.isupper() else 0.59
    return int(total * FONT) + 1
