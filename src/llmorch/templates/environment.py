"""The hardened Jinja environment: reads templates, rewrites them to counted operations, and runs them.

Three walls stand behind one another. `allowed` lets listed syntax through and nothing else. `rewrite` turns every
lookup, operator, literal and loop into a function of ours, so that generated code never touches an attribute. What is
left of Jinja runs in its immutable sandbox with no globals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Final, NoReturn

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, Undefined, UndefinedError, nodes, pass_context
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import TemplateError
from .allowed import check_syntax, fault
from .bounds import MAX_DEPTH, MAX_SOURCE, MAX_TEXT, MAX_TOKENS, MAX_WORK, Data, Work, check_output, check_size
from .filters import FILTERS
from .operators import OPERATORS, arithmetic, negate
from .paths import Read, find_reads
from .plain import Joined, plain_parts
from .questions import QUESTIONS
from .rewrite import Rewrite
from .values import Missing, UnknownName, as_text, look_up, not_given, require_given

__all__ = ["Parsed", "Program", "parse_expression", "parse_template"]

_FILE: Final = "<llmorch template>"
_RESULT: Final = "result"
_TAKES_UNDEFINED: Final = frozenset(("default", "d", "defined", "undefined"))
_BRACES: Final = "; braces that are text stand between {% raw %} and {% endraw %}"


class _RenderContext(Context, Work):
    """Jinja's context, which every filter is handed, with the allowance of this render."""


class _CountTokens(Extension):
    """Refuses code that is too long or too deep before it is parsed."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        depth = 0
        for count, token in enumerate(stream):
            depth += (token.type in _OPENING) - (token.type in _CLOSING)
            if depth > MAX_DEPTH:
                raise TemplateSyntaxError(f"more than {MAX_DEPTH} brackets inside one another", token.lineno)
            if count > MAX_TOKENS:
                raise TemplateSyntaxError(f"more than {MAX_TOKENS} words and signs of code", token.lineno)
            yield token


_OPENING: Final = frozenset(("lparen", "lbracket", "lbrace"))
_CLOSING: Final = frozenset(("rparen", "rbracket", "rbrace"))


class _Environment(ImmutableSandboxedEnvironment):
    """Data only: no globals, no attributes, no calls."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    intercepted_unops = frozenset(("+", "-"))
    context_class = _RenderContext

    def __init__(self) -> None:
        super().__init__(
            undefined=Missing,
            finalize=_finalize,
            keep_trailing_newline=True,
            autoescape=False,
            optimized=False,  # folding constants would run filters before any work is counted
            extensions=[_CountTokens],
            cache_size=0,
        )
        self.globals.clear()
        self.filters = {name: _counted(name, function) for name, function in {**FILTERS, **OPERATORS}.items()}
        self.tests = {name: _counted(name, function) for name, function in QUESTIONS.items()}

    def call_binop(self, context: Context, operator: str, left: Data, right: Data) -> Data:
        assert isinstance(context, _RenderContext)
        return arithmetic(context, operator, left=left, right=right)

    def call_unop(self, context: Context, operator: str, arg: Data) -> Data:
        return negate(operator, arg)

    def getattr(self, obj: Data, attribute: str) -> Data:
        return look_up(obj, attribute)

    def getitem(self, obj: Data, argument: Data) -> Data:
        return look_up(obj, argument)

    def call(self, *args: object, **kwargs: object) -> NoReturn:  # never reached: calls are refused when read
        raise TemplateError("nothing can be called in a template; use a filter")

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Joins what a `{% set %}` or `{% filter %}` block captured."""
        kept = list(parts)
        check_size(sum(map(len, kept)))
        return "".join(kept)


@pass_context
def _finalize(context: _RenderContext, value: Data) -> str:
    return value if type(value) is str else as_text(context, value)


def _counted(name: str, function: Callable[..., Data]) -> Callable[..., Data]:
    """The function as Jinja calls filters and tests: with the context, and never on something undefined."""
    if name in _TAKES_UNDEFINED or name in OPERATORS:
        return pass_context(lambda *args, **kwargs: function(*args, **kwargs))  # pass_context marks what it is given

    @pass_context
    def apply(context: _RenderContext, value: Data, *args: Data, **kwargs: Data) -> Data:
        for given in (value, *args, *kwargs.values()):
            if isinstance(given, Undefined):
                require_given(given)
        return function(context, value, *args, **kwargs)

    return apply


_ENVIRONMENT: Final = _Environment()


class Parsed:
    """A template or expression that was read and checked, and what it reads."""

    def __init__(self, tree: nodes.Template) -> None:
        self.reads: tuple[Read, ...] = find_reads(tree)
        self._tree = tree

    def joined(self) -> Joined | None:
        """The fast way to render it, where there is one."""
        parts = plain_parts(self._tree)
        return None if parts is None else Joined(parts)

    def compile(self) -> Program:
        """The program that renders it.

        Raises:
            TemplateError: Python refuses the generated code, as for too many nested blocks.
        """
        tree = Rewrite().visit(self._tree)
        tree.set_environment(_ENVIRONMENT)
        try:
            code = _ENVIRONMENT.compile(tree, filename=_FILE)
            return Program(JinjaTemplate.from_code(_ENVIRONMENT, code, {}))
        except TemplateSyntaxError as error:
            raise fault(error.message or "it cannot be compiled", error.lineno) from None
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise TemplateError(f"the template is nested too deeply ({error}); split it with {{% set %}}") from None


def parse_template(text: str) -> Parsed:
    """Read and check a template.

    Raises:
        TemplateError: It does not parse, or says what a template may not; with the line.
    """
    return _parsed(text, lambda: Parser(_ENVIRONMENT, text).parse(), _BRACES)


def parse_expression(text: str) -> Parsed:
    """Read and check an expression, such as `score > 0.5 and facts.ok`.

    Raises:
        TemplateError: It does not parse, or says what an expression may not; with the line.
    """

    def read() -> nodes.Template:
        if text.lstrip().startswith(("{{", "{%")):
            raise TemplateSyntaxError("an expression stands without {{ }}", 1)
        if not text.strip():
            raise TemplateSyntaxError("an expression is empty", 1)
        parser = Parser(_ENVIRONMENT, text, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            found = parser.stream.current
            raise TemplateSyntaxError(f"the expression goes on with {found.value!r} after its end", found.lineno)
        tree = nodes.Template([nodes.Assign(nodes.Name(_RESULT, "store"), expression, lineno=1)], lineno=1)
        for half in tree.find_all(nodes.CondExpr):
            if half.expr2 is None:
                raise TemplateSyntaxError("'a if b' needs an else: a if b else c", half.lineno)
        return tree

    return _parsed(text, read, "; write it like: score > 0.5 and facts.ok")


def _parsed(text: str, read: Callable[[], nodes.Template], remedy: str) -> Parsed:
    if len(text) > MAX_SOURCE:
        raise TemplateError(f"a template has at most {MAX_SOURCE} characters; pass long texts in as values")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            line = text.count("\n", 0, error.start) + 1
            raise fault("a lone surrogate, which is no character; decode the text correctly", line) from None
    try:
        tree = read()
        check_syntax(tree)
        return Parsed(tree)
    except TemplateSyntaxError as error:
        raise fault(f"{(error.message or '').rstrip('.')}{remedy}", error.lineno) from None
    except (RecursionError, MemoryError):
        raise TemplateError("the template is nested too deeply; split it with {% set %}") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise TemplateError(f"the template holds a literal that cannot be read ({error})") from None


class Program:
    """A compiled template; runs in any number of threads at once."""

    def __init__(self, template: JinjaTemplate) -> None:
        self._template = template
        self._run = template.root_render_func

    def render(self, values: Mapping[str, Data]) -> str:
        """The text for these values.

        Raises:
            TemplateError: It cannot be rendered; with the line.
        """
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._run(_context(values)):
                size += len(piece)
                if size > MAX_TEXT:
                    check_size(size)
                pieces.append(piece)
            return check_output("".join(pieces))
        except Exception as error:  # whatever Python raises on odd data is the template's fault, and gets its line
            raise self._failure(error, values) from (None if isinstance(error, TemplateError) else error)

    def evaluate(self, values: Mapping[str, Data]) -> Data:
        """The value of an expression.

        Raises:
            TemplateError: It has none; with the line.
        """
        context = _context(values)
        try:
            for _ in islice(self._run(context), 1):  # an expression yields nothing; asking once runs it
                pass
            value = context.vars[_RESULT]
            require_given(value)
            return value
        except Exception as error:  # as above
            raise self._failure(error, values) from (None if isinstance(error, TemplateError) else error)

    def _failure(self, error: Exception, values: Mapping[str, Data]) -> TemplateError:
        return fault(_problem(error, values), self._line(error.__traceback__))

    def _line(self, traceback: TracebackType | None) -> int | None:
        line = None
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == _FILE:
                line = self._template.get_corresponding_lineno(traceback.tb_lineno)
            traceback = traceback.tb_next
        return line


def _context(values: Mapping[str, Data]) -> _RenderContext:
    parent: dict[str, Any] = values if isinstance(values, dict) else dict(values)  # Any: data; Jinja only reads it
    context = _RenderContext(_ENVIRONMENT, parent, None, {})
    context.left = MAX_WORK
    return context


def _problem(error: Exception, values: Mapping[str, Data]) -> str:
    if isinstance(error, TemplateError):
        return error.message
    if isinstance(error, UnknownName):
        return not_given(error.message or "", values)
    if isinstance(error, UndefinedError):
        return error.message or "a value is missing; give it, or test it with 'is defined'"
    if isinstance(error, RecursionError | MemoryError):
        return "the values are too deep or too large to render; pass less in"
    return f"{error or type(error).__name__}; check the kinds of the values this line uses"
