"""Templates and expressions as the rest of the library uses them; Jinja is loaded when the first one is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from .bounds import Data

if TYPE_CHECKING:
    from .environment import Parsed
    from .paths import Path

__all__ = ["Expression", "Template", "compile_expression", "compile_template"]

_CACHED: Final = 1024  # templates and expressions each


class _Readable:
    """What templates and expressions have in common."""

    def __init__(self, text: str, parsed: Parsed) -> None:
        self.text = text
        self._reads = parsed.reads

    @cached_property
    def names(self) -> frozenset[str]:
        """Root names it reads that it does not set itself."""
        return frozenset(str(read.path[0]) for read in self._reads)

    @cached_property
    def paths(self) -> frozenset[Path]:
        """Full static paths it reads: `facts.title` is `("facts", "title")`.

        A dynamic index ends a path, and `*` stands for any item: with `{% for c in facts.claims %}`, `c.x` is
        `("facts", "claims", "*", "x")`.
        """
        return frozenset(read.path for read in self._reads)

    def faults(self, schemas: Mapping[str, Mapping[str, Data]]) -> list[str]:
        """What cannot work on values of these types, one sentence each with its line.

        Args:
            schemas: Root name -> JSON schema of its value; names without one are not checked.
        """
        from .faults import find_faults

        return find_faults(self._reads, schemas)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class Template(_Readable):
    """A text with holes, compiled by `compile_template`.

    Example:
        >>> compile_template("Hello {{ who }}!").render({"who": "Ada"})
        'Hello Ada!'
    """

    def __init__(self, text: str, parsed: Parsed) -> None:
        super().__init__(text, parsed)
        self._program = parsed.joined() or parsed.compile()

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return compile_template, (self.text,)

    def render(self, values: Mapping[str, Data]) -> str:
        """The text with its holes filled in; what a value contains is never read as a template.

        Args:
            values: Root name -> plain data. Text renders as itself, everything else as JSON.

        Raises:
            TemplateError: A name or key is missing, a filter refuses its value, or a bound is passed; with the line.
        """
        return self._program.render(values)


class Expression(_Readable):
    """A condition or value over names, compiled by `compile_expression`; the same language without braces.

    Example:
        >>> compile_expression("score > 0.5 and not facts.done").evaluate({"score": 0.9, "facts": {"done": False}})
        True
    """

    def __init__(self, text: str, parsed: Parsed) -> None:
        super().__init__(text, parsed)
        self._program = parsed.compile()

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return compile_expression, (self.text,)

    def evaluate(self, values: Mapping[str, Data]) -> Data:
        """The value for these names, as plain data that may share parts with what was given.

        Raises:
            TemplateError: A name or key is missing (never None instead), or an operation is refused; with the line.
        """
        return self._program.evaluate(values)


@lru_cache(maxsize=_CACHED)
def compile_template(text: str) -> Template:
    """The template, read and checked; the same text gives the same object.

    Raises:
        TemplateError: It does not parse, or says what a template may not; with the line.
    """
    from .environment import parse_template

    return Template(text, parse_template(text))


@lru_cache(maxsize=_CACHED)
def compile_expression(text: str) -> Expression:
    """The expression, read and checked; the same text gives the same object.

    Raises:
        TemplateError: It does not parse, or says what an expression may not; with the line.
    """
    from .environment import parse_expression

    return Expression(text, parse_expression(text))
