"""Filters for prompts: lists, JSON, YAML, tags and fences as models read them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from ..errors import TemplateError
from .bounds import Data, Work, check_size, is_list, is_object
from .text_filters import as_plain_text
from .values import as_items, as_text, json_text, require_given, whole_number

__all__ = ["PROMPT_FILTERS"]

_TAG_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,99}\Z")
_FENCE = re.compile(r"`{3,}")
_CHARACTERS_A_TOKEN: Final = 4
_NOTHING: Final = object()


def _bullets(work: Work, value: Data) -> str:
    """`- a`, one line an item; further lines of an item are indented below it."""
    return _listed(work, value, "bullets", lambda index: "- ")


def _numbered(work: Work, value: Data) -> str:
    """`1. a`, one line an item; further lines of an item are indented below it."""
    return _listed(work, value, "numbered", lambda index: f"{index}. ")


def _listed(work: Work, value: Data, name: str, mark: Callable[[int], str]) -> str:
    items = as_items(value, what=repr(name))
    work.spend(1 + 15 * len(items))
    lines: list[str] = []
    size = 0
    for index, item in enumerate(items, 1):
        text = as_text(work, item)
        lead = mark(index)
        if "\n" in text:
            check_size(len(text) + text.count("\n") * len(lead))
            work.transformed(len(text))
            indent = "\n" + " " * len(lead)
            text = indent.join(text.split("\n"))
        lines.append(lead + text)
        size += len(lines[-1]) + 1
        check_size(size)
    work.copied(size)
    return "\n".join(lines)


@cache
def _encoder(indent: int | None) -> Callable[[Any], str]:  # Any: JSON data
    separators = (",", ":") if indent is None else (",", ": ")
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=indent, separators=separators).encode


def _to_json(work: Work, value: Data, indent: int | None = None) -> str:
    """The value as JSON on one line without spaces, or indented."""
    if indent is not None:
        indent = whole_number(indent, what="the indent of json", high=8)
        _check_indented(work, value, indent)
    return json_text(work, value, encode=_encoder(indent))


def _check_indented(work: Work, value: Data, width: int) -> None:
    """Charge for a text with one line an item; deep data in many lines is mostly indentation."""
    check_size(work.weigh(value))
    size = 0
    open_containers: list[tuple[Data, int]] = [(value, 1)]
    while open_containers:
        container, depth = open_containers.pop()
        if is_list(container) or is_object(container):
            size += len(container) * depth * width
            check_size(size)
            work.spend(40 * len(container))  # both writers are Python code: about 2 us an item
            children = container.values() if is_object(container) else container
            open_containers.extend((child, depth + 1) for child in children)


def _to_yaml(work: Work, value: Data) -> str:
    """The value as YAML in block style, without the last line break."""
    from .._yaml import dumps

    _check_indented(work, value, 2)
    try:
        text = dumps(value)
    except (ValueError, TypeError) as error:
        raise TemplateError(f"this value cannot be written as YAML: {error}") from error
    check_size(len(text))
    return text.removesuffix("\n")


def _tag(work: Work, value: Data, name: str) -> str:
    """The text between `<name>` and `</name>` on lines of their own."""
    return _between_lines(work, as_text(work, value), f"<{_tag_name(name)}>", f"</{name}>")


def _tag_name(name: Data) -> str:
    require_given(name)
    if not isinstance(name, str) or not _TAG_NAME.match(name):
        raise TemplateError("a tag's name is letters, digits, '_', '-', '.' and ':', such as 'facts'")
    return name


def _between_lines(work: Work, text: str, above: str, below: str) -> str:
    check_size(len(text) + len(above) + len(below) + 2)
    work.copied(len(text))
    return f"{above}\n{text}\n{below}"


def _truncate_tokens(work: Work, value: Data, n: int) -> str:
    """The first `n` tokens of the text, estimated at 4 characters a token whatever the model."""
    text = as_plain_text(work, value, name="truncate_tokens")
    size = whole_number(n, what="the count of truncate_tokens", high=2**31) * _CHARACTERS_A_TOKEN
    work.copied(min(size, len(text)))
    return text[:size]


def _fenced(work: Work, value: Data, lang: Data = "") -> str:
    """The text as a Markdown code block, whose fence is longer than any run of backticks in it."""
    text = as_text(work, value)
    require_given(lang)
    if not isinstance(lang, str) or len(lang) > 100 or "\n" in lang or "`" in lang:
        raise TemplateError("the language of fenced is one word, such as 'python'")
    work.transformed(4 * len(text))
    longest = max((len(run) for run in _FENCE.findall(text)), default=2)
    check_size(len(text) + 2 * longest + 2)
    fence = "`" * (longest + 1)
    return _between_lines(work, text, fence + lang, fence)


def _between(work: Work, value: Data, tag: str, default: Data = _NOTHING) -> Data:
    """What stands between the first `<tag>` and the next `</tag>`, without white space around it.

    Args:
        default: Given instead when there is no such pair; without it that is an error.
    """
    text = as_plain_text(work, value, name="between")
    name = _tag_name(tag)
    work.copied(len(text))
    start = text.find(f"<{name}>")
    stop = text.find(f"</{name}>", start + len(name) + 2) if start >= 0 else -1
    if stop < 0:
        if default is not _NOTHING:
            require_given(default)
            return default
        what = f"opens <{name}> but never closes it" if start >= 0 else f"has no <{name}> ... </{name}>"
        raise TemplateError(f"the text {what}; ask for the tag in the prompt, or write between({name!r}, default='')")
    return text[start + len(name) + 2 : stop].strip()


PROMPT_FILTERS: Final[dict[str, Callable[..., Data]]] = {
    "between": _between,
    "bullets": _bullets,
    "fenced": _fenced,
    "json": _to_json,
    "numbered": _numbered,
    "tag": _tag,
    "tojson": _to_json,
    "truncate_tokens": _truncate_tokens,
    "yaml": _to_yaml,
}
