"""The fast way: a template of text and bare names is joined without Jinja, whose context alone costs more than that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jinja2 import nodes

from ..errors import TemplateError
from .allowed import fault
from .bounds import MAX_TEXT, MAX_WORK, Data, Work, check_output, check_size
from .values import as_text, not_given

__all__ = ["Joined", "plain_parts"]

_ABSENT: Final = object()

Part = tuple[str, bool, int]


def plain_parts(tree: nodes.Template) -> tuple[Part, ...] | None:
    """(text or name, is it a name, line) of a template that is only text and bare names, else None."""
    parts: list[Part] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append((node.data, False, node.lineno))
            elif isinstance(node, nodes.Name):
                parts.append((node.name, True, node.lineno))
            else:
                return None
    return tuple(parts)


class Joined:
    """A template of text and bare names; renders what `Program` would, within the same bounds."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts

    def render(self, values: Mapping[str, Data]) -> str:
        """The text for these values.

        Raises:
            TemplateError: A name is not given, or a bound is passed; with the line.
        """
        work = None
        texts: list[str] = []
        size = 0
        for part, is_name, line in self._parts:
            text = part
            if is_name:
                value = values.get(part, _ABSENT)
                if type(value) is str:
                    text = value
                else:
                    work = work or _allowance()
                    text = _other_text(work, value, part, line, values)
            size += len(text)
            if size > MAX_TEXT:
                check_size(size)
            texts.append(text)
        made = "".join(texts)
        return made if made.isascii() else check_output(made)


def _allowance() -> Work:
    work = Work()
    work.left = MAX_WORK
    return work


def _other_text(work: Work, value: Data, name: str, line: int, values: Mapping[str, Data]) -> str:
    if value is _ABSENT:
        raise fault(not_given(name, values), line)
    try:
        return as_text(work, value)
    except TemplateError as error:
        raise fault(error.message, line) from None
    except (RecursionError, MemoryError):
        raise fault(f"{name!r} is too deep or too large to render; pass less in", line) from None
