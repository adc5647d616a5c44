"""YAML as llmorch reads and writes it: plain data, YAML 1.2 core scalars, one document, and no surprises.

Reading builds data from ruamel's event stream instead of its constructors, because a position is needed for every fault
and because scalars follow the 1.2 core schema only: `no`, `on`, `12:30` and `2024-05-01` stay text. Writing is done
here, so that the same data gives the same bytes whatever version of ruamel is installed.

Source: https://yaml.org/spec/1.2.2/#103-core-schema (2026-11)
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, cast

__all__ = ["dumps", "loads"]

Event = Any  # one of ruamel's event classes, which are not loaded before the first text is read

_MAX_DEPTH: Final = 64
_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


def loads(text: str, *, source: str = "<text>", max_bytes: int = 1 << 20) -> Any:  # Any: plain data
    """The text as plain data: None, bool, int, float, str, list and dict with str keys.

    Args:
        source: Names the text in errors, such as a path.
        max_bytes: Longer text (as UTF-8) is refused.

    Raises:
        ValueError: The text is no YAML, too long, nested over 64 levels, has a key twice, an alias, a tag, a second
            document or a number that is not finite; with source, line and column.
    """
    if len(text) > max_bytes or (4 * len(text) > max_bytes and len(text.encode("utf-8", "replace")) > max_bytes):
        raise ValueError(f"{source}: more than {max_bytes} bytes of YAML; split the file, or raise the bound")
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        parser: Any = YAML(typ="safe", pure=True)  # Any: ruamel leaves its streams and marks untyped
        return _Reader(source, iter(parser.parse(text))).document()
    except MarkedYAMLError as error:
        raise ValueError(_syntax_fault(source, error)) from error
    except ReaderError as error:
        raise ValueError(_character_fault(source, text, error)) from error
    except YAMLError as error:
        raise ValueError(f"{source}: not valid YAML ({error}); correct it") from error


def _syntax_fault(source: str, error: Any) -> str:  # Any: see the parser
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context or "not valid YAML")
    place = _place(source, mark.line, mark.column) if mark else source
    return f"{place}: {problem}; {_remedy(problem)}"


def _character_fault(source: str, text: str, error: Any) -> str:  # Any: see the parser
    before = text[: error.position]
    place = _place(source, before.count("\n"), len(before) - before.rfind("\n") - 1)
    return f"{place}: a character YAML does not allow ({error.reason}); remove it"


def _place(source: str, line: int, column: int) -> str:
    return f"{source}, line {line + 1}, column {column + 1}"


def _remedy(problem: str) -> str:
    if "\\t" in problem or "tab" in problem:
        return "indent with spaces"
    if "mapping values" in problem:
        return "put text that holds ': ' in quotes, and check the indentation"
    return "check the indentation and the quotes near there"


class _Reader:
    """Builds data from parser events; recursion is bounded by the depth that is allowed."""

    def __init__(self, source: str, events: Iterator[Event]) -> None:
        self.source = source
        self.events = events

    def document(self) -> Any:  # Any: plain data
        value = None
        documents = 0
        for event in self.events:
            name = type(event).__name__
            if name == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    self.refuse(event, "a second document begins here", "keep one document a file")
                value = self.value(next(self.events), 1)
        return value

    def refuse(self, event: Event, problem: str, remedy: str) -> NoReturn:
        mark = event.start_mark
        raise ValueError(f"{_place(self.source, mark.line, mark.column)}: {problem}; {remedy}")

    def value(self, event: Event, depth: int) -> Any:  # Any: plain data
        name = type(event).__name__
        if name == "AliasEvent" or getattr(event, "anchor", None) is not None:
            self.refuse(event, "anchors and aliases (&x, *x) are not read", "write the value out, or put it in quotes")
        if name == "ScalarEvent":
            return self.scalar(event)
        if depth > _MAX_DEPTH:
            self.refuse(event, f"nested more than {_MAX_DEPTH} levels deep", "flatten the data")
        if name == "SequenceStartEvent":
            self.expect_tag(event, "seq")
            return self.sequence(depth)
        self.expect_tag(event, "map")
        return self.mapping(depth)

    def sequence(self, depth: int) -> list[Any]:  # Any: plain data
        items: list[Any] = []  # Any: plain data
        while type(event := next(self.events)).__name__ != "SequenceEndEvent":
            items.append(self.value(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, Any]:  # Any: plain data
        fields: dict[str, Any] = {}  # Any: plain data
        while type(event := next(self.events)).__name__ != "MappingEndEvent":
            key = self.key(event)
            if key in fields:
                self.refuse(event, f"the key {key!r} is there twice", "keep one of them")
            fields[key] = self.value(next(self.events), depth + 1)
        return fields

    def key(self, event: Event) -> str:
        """Keys are text, as in JSON: `1:` is "1" and `no:` is "no"."""
        if type(event).__name__ != "ScalarEvent" or event.anchor is not None:
            self.refuse(event, "a key must be plain text, without anchors", "write key: value")
        if event.tag is not None:
            self.expect_tag(event, "str")
        return str(event.value)

    def expect_tag(self, event: Event, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            self.refuse(event, f"the tag {event.tag!r} is not read", "leave it out")

    def scalar(self, event: Event) -> Any:  # Any: plain data
        text = str(event.value)
        if event.tag in ("!", _TAG + "str") or (event.tag is None and event.style):
            return text
        if event.tag is not None:
            self.refuse(event, f"the tag {event.tag!r} is not read", "leave it out; quotes make text")
        try:
            value = _core(text)
        except ValueError:
            self.refuse(event, "a number of too many digits", "put it in quotes to make it text")
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(event, f"{text} is no finite number", "put it in quotes to make it text")
        return value


def _core(text: str) -> bool | int | float | str | None:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.match(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.match(text):
        return float(text)
    return math.nan if _NOT_FINITE.match(text) else text


_INDENT: Final = "  "
_PLAIN: Final = re.compile(r"[A-Za-z_./][^\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]*\Z")
_ENDS_PLAIN: Final = re.compile(r": |:\Z| #| \Z")
_NEVER_PLAIN: Final = frozenset(  # what any YAML reader, old ones too, would take for something else
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".inf", ".nan", "."]
)
_NO_BLOCK: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_ESCAPED: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def dumps(value: Any) -> str:  # Any: plain data
    """The data as YAML in block style, keys in their order, texts of several lines as literal blocks.

    `loads` gives the same data back.

    Raises:
        ValueError: A number that is not finite, or nesting over 64 levels.
        TypeError: Something that is no data.
    """
    lines: list[str] = []
    _write(value, "", "", lines, 1)
    return "\n".join(lines) + "\n"


def _write(value: Any, lead: str, indent: str, lines: list[str], depth: int) -> None:  # Any: plain data
    """Add the lines of a value.

    Args:
        lead: What stands before it on its first line: the indentation with `key:` or `-`.
        indent: What stands before its further lines.
    """
    if not isinstance(value, Mapping | list | tuple) or not value:
        lines.append(f"{lead} {_scalar(value, indent)}" if lead else _scalar(value, indent or _INDENT))
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"data nested more than {_MAX_DEPTH} levels deep cannot be written as YAML; flatten it")
    is_item = lead.endswith("-")
    if lead and not is_item:
        lines.append(lead)
    first = f"{lead} " if is_item else indent
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, Any]", value).items():
            _write(item, f"{first}{_key(key)}:", indent + _INDENT, lines, depth + 1)
            first = indent
    else:
        for item in cast("list[Any]", value):
            _write(item, f"{first}-", indent + _INDENT, lines, depth + 1)
            first = indent


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be text, not {type(key).__name__}")
    if len(key) > 1000:  # YAML 1.2 lets a key on one line have 1024
        raise ValueError("a key of more than 1000 characters cannot be written as YAML; shorten it")
    return _text(key)


def _scalar(value: Any, indent: str) -> str:  # Any: plain data
    if isinstance(value, str):
        return _block(value, indent) or _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written as YAML data; use a finite number, null or text")
        return float.__repr__(value)
    if isinstance(value, Mapping | list | tuple):
        return "{}" if isinstance(value, Mapping) else "[]"
    raise TypeError(f"a {type(value).__name__} is no data; use str, int, float, bool, None, list and dict")


def _text(text: str) -> str:
    """The text on one line: plain where no reader could take it for anything else, else in double quotes."""
    is_plain = _PLAIN.match(text) and not _ENDS_PLAIN.search(text) and text.lower() not in _NEVER_PLAIN
    if is_plain and not _FLOAT.match(text) and not text.startswith(("---", "...")):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)


def _block(text: str, indent: str) -> str | None:
    """The text as a literal block, or None where a block would not give it back."""
    if "\n" not in text or _NO_BLOCK.search(text):
        return None
    body = text.rstrip("\n")
    if not body or body.startswith((" ", "\n", "\t")):  # a block's indentation is told from its first line
        return None
    ends = len(text) - len(body)
    lines = [f"{indent}{line}" if line else "" for line in body.split("\n")] + [""] * (ends - 1)
    return "|" + ("-", "")[ends] + "\n" + "\n".join(lines) if ends < 2 else "|+\n" + "\n".join(lines)
