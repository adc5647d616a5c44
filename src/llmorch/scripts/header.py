"""What a script says of itself, read from the docstring or comment it begins with. Nothing of it is run."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ScriptHeader", "ScriptParameter", "parse_header", "read_header"]

_MOST_BYTES = 1_000_000
_PYTHON = (".py", ".python")
_COMMENT = re.compile(r"^\s*(?:#+|//+)\s?(.*)$")
_BLOCKS = {"/*": "*/", "=begin": "=end"}
_STARRED = re.compile(r"^\s*\* ?")
_CODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")

_SECTION = re.compile(
    r"^(?P<title>args|arguments|parameters|params|returns?|outputs?|input|description|purpose|primitive|script|usage"
    r"|examples?|depends|dependencies|raises|notes?)\s*:\s*(?P<rest>.*)$",
    re.IGNORECASE,
)
_PARAMETERS = {"args", "arguments", "parameters", "params"}
_RETURNS = {"return", "returns", "output", "outputs"}
_ABOUT = {"description", "purpose", "primitive", "script"}
_PARAMETER = re.compile(
    r"^[-*]?\s*`?(?P<name>[A-Za-z_][\w-]*)`?\s*(?:\((?P<type>[^()]*(?:\([^()]*\))?[^()]*)\))?\s*(?::|\s-{1,2}\s)\s*(?P<text>.*)$"
)
_TAG = re.compile(r"^@(?P<tag>param|arg|returns?)\s+(?:\{(?P<type>[^}]*)\}\s*)?(?P<rest>.*)$")
_FILE_NAME = re.compile(r"^[\w./-]+\.\w+\s+-{1,2}\s+")


@dataclass(frozen=True, slots=True)
class ScriptParameter:
    """A parameter as the header has it.

    Attributes:
        type: The words between parentheses, such as `list of str, optional`; None when there are none.
    """

    name: str
    description: str = ""
    type: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptHeader:
    """What a script's header says; everything is empty where it says nothing."""

    description: str = ""
    parameters: tuple[ScriptParameter, ...] = ()
    returns: str = ""


def read_header(file: Path) -> ScriptHeader:
    """The description, parameters and returns of a script.

    A Python file's docstring is read, of any other file the comment it begins with (`#`, `//`, `/* */`, `=begin`). The
    description is its first paragraph, or what follows `Description:`; parameters stand one a line, indented under
    `Parameters:` (or `Args:`), as `name (type): text`, or as `@param {type} name text`; what comes back stands after
    `Returns:` or `Output:`. A file that cannot be read as text has an empty header.

    Raises:
        OSError: The file cannot be read.
    """
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES)
    text = _decoded(content)
    if file.suffix.lower() in _PYTHON or re.match(r"#!.*\bpython", text):
        return parse_header(_docstring(text) or _comment(text))
    return parse_header(_comment(text))


def parse_header(text: str) -> ScriptHeader:
    """The same for the text of a docstring or comment."""
    parts = _Parts()
    for line in text.expandtabs(4).splitlines():
        parts.take(line)
    return parts.header()


class _Parts:
    """The parts of a header, filled line by line."""

    def __init__(self) -> None:
        self._section = "about"
        self._indent = 0  # of the section's title
        self._first: int | None = None  # indentation of the section's entries
        self._about: list[str] = []
        self._returns: list[str] = []
        self._parameters: list[tuple[str, str | None, list[str]]] = []
        self._ended = False  # the first paragraph is over

    def take(self, line: str) -> None:
        """Put one line where it belongs."""
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        if not words:
            self._ended = self._ended or bool(self._about)
            return
        tag = _TAG.match(words)
        section = None if tag else _SECTION.match(words)
        if tag is not None:
            self._take_tag(tag)
        elif section is not None and not self._is_entry(indent):
            self._open(section["title"].lower(), section["rest"], indent)
        elif self._section == "about":
            if not self._ended:
                self._about.append(words)
        elif self._section == "returns" and indent > self._indent:
            self._returns.append(words)
        elif self._section == "parameters":
            self._take_entry(words, indent)

    def header(self) -> ScriptHeader:
        """Everything that was taken."""
        about = _FILE_NAME.sub("", " ".join(self._about))
        found = (ScriptParameter(name, " ".join(text).strip(), kind) for name, kind, text in self._parameters)
        return ScriptHeader(about, tuple(found), " ".join(self._returns))

    def _is_entry(self, indent: int) -> bool:
        """Whether a line that reads like a title is a parameter of that name."""
        return self._section == "parameters" and indent > self._indent

    def _open(self, title: str, rest: str, indent: int) -> None:
        self._indent, self._first = indent, None
        if title in _PARAMETERS:
            self._section = "parameters"
        elif title in _RETURNS:
            self._section = "returns"
            self._returns += [rest] if rest else []
        elif title in _ABOUT:
            self._section = "about"
            if not self._about:
                self._about, self._ended = ([rest] if rest else []), False
        else:
            self._section = "other"

    def _take_entry(self, words: str, indent: int) -> None:
        if indent <= self._indent:
            self._section = "other"
            return
        self._first = indent if self._first is None else self._first
        entry = _PARAMETER.match(words) if indent <= self._first else None
        if entry is not None:
            self._parameters.append((entry["name"], entry["type"], [entry["text"]]))
        elif self._parameters and indent > self._first:
            self._parameters[-1][2].append(words)

    def _take_tag(self, tag: re.Match[str]) -> None:
        if tag["tag"].startswith("return"):
            self._returns.append(tag["rest"])
        else:
            name, _, text = tag["rest"].strip().partition(" ")
            name = name.strip("[]").partition("=")[0]
            self._parameters.append((name, tag["type"], [text.strip().removeprefix("-").strip()]))
        self._section = "other"


def _decoded(content: bytes) -> str:
    """The text; in a Python file's own encoding, when it names one."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return content.decode("utf-8", "replace")


def _docstring(text: str) -> str | None:
    """None when there is none, or when the file is no valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the script's own literals
            return ast.get_docstring(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _comment(text: str) -> str:
    """The comment a file begins with, without its marks."""
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        del lines[0]
    while lines and (not lines[0].strip() or _CODING.match(lines[0])):
        del lines[0]
    return "\n".join(_uncommented(lines))


def _uncommented(lines: list[str]) -> Iterator[str]:
    opening = next((mark for mark in _BLOCKS if lines and lines[0].lstrip().startswith(mark)), None)
    if opening is None:
        for line in lines:
            comment = _COMMENT.match(line)
            if comment is None:
                return
            yield comment[1]
        return
    closing = _BLOCKS[opening]
    for position, line in enumerate(lines):
        inside = line.lstrip().removeprefix(opening).lstrip("*") if position == 0 else line
        before, end, _ = inside.partition(closing)
        yield _STARRED.sub("", before) if opening == "/*" else before
        if end:
            return
