"""What a docstring says about a function and its arguments, in Google, numpy or reST style."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["argument_texts", "first_paragraph"]

_HEADINGS = frozenset(
    ("args", "arguments", "parameters", "params", "other parameters", "keyword args", "keyword arguments")
)
_OTHERS = frozenset(
    (
        *("attributes", "example", "examples", "note", "notes", "raises", "references", "return", "returns"),
        *("see also", "todo", "warning", "warnings", "warns", "yield", "yields", "source"),
    )
)
_GOOGLE = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:(?:\s+(?P<text>.*))?$")
_NUMPY = re.compile(r"(?P<names>\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_FIELD = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(?P<name>\w+)\s*:\s*(?P<text>.*)$"
)
_UNDERLINE = re.compile(r"-{3,}\s*$")


def first_paragraph(text: str) -> str:
    """The words before the first empty line, section or field, on one line."""
    kept: list[str] = []
    lines = text.strip().splitlines()
    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or stripped.startswith(":") or _heading(stripped) or _is_underlined(lines, number):
            break
        kept.append(stripped)
    return " ".join(kept)


def argument_texts(text: str, names: Iterable[str]) -> dict[str, str]:
    """What the docstring (as `inspect.cleandoc` gives it) says about each of these arguments, on one line each."""
    known = set(names)
    found: dict[str, str] = {}
    lines = text.splitlines()
    for name, words in (*_fields(lines), *_sections(lines)):
        if name in known and words:
            found.setdefault(name, words)
    return found


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    """reST: `:param name: text`, or with the type before the name."""
    for number, line in enumerate(lines):
        match = _FIELD.match(line.strip())
        if match:
            yield match["name"], _joined(match["text"], _deeper(lines, number + 1, _indent(line)))


def _sections(lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        heading = line.strip()
        if _is_underlined(lines, number) and heading.lower() in _HEADINGS:
            yield from _numpy(lines, number + 2)
        elif _heading(heading) in _HEADINGS:
            yield from _google(_deeper(lines, number + 1, _indent(line)))


def _google(lines: list[str]) -> Iterator[tuple[str, str]]:
    margin = min((_indent(line) for line in lines if line.strip()), default=0)
    for number, line in enumerate(lines):
        match = _GOOGLE.match(line.strip()) if _indent(line) == margin else None
        if match:
            yield match["name"], _joined(match["text"] or "", _deeper(lines, number + 1, margin))


def _numpy(lines: list[str], start: int) -> Iterator[tuple[str, str]]:
    margin = _indent(lines[start]) if start < len(lines) else 0
    for number in range(start, len(lines)):
        line = lines[number]
        if _is_underlined(lines, number):
            return
        match = _NUMPY.match(line.strip()) if line.strip() and _indent(line) == margin else None
        if match:
            words = _joined("", _deeper(lines, number + 1, margin))
            for name in match["names"].split(","):
                yield name.strip().lstrip("*"), words


def _deeper(lines: list[str], start: int, margin: int) -> list[str]:
    """The lines from a place on that are empty or indented more than the margin."""
    end = start
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > margin):
        end += 1
    return lines[start:end]


def _joined(first: str, more: list[str]) -> str:
    return " ".join(part for line in (first, *more) if (part := line.strip()))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _heading(line: str) -> str | None:
    """The Google section a line opens, in small letters."""
    name = line[:-1].lower() if line.endswith(":") else ""
    return name if name in _HEADINGS or name in _OTHERS else None


def _is_underlined(lines: list[str], number: int) -> bool:
    return number + 1 < len(lines) and bool(lines[number].strip()) and bool(_UNDERLINE.match(lines[number + 1].strip()))
