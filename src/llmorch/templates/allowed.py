"""What a template may say: a list of the syntax that is let through; everything else is refused with its line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from jinja2 import nodes

from ..errors import TemplateError
from .bounds import MAX_BITS, MAX_DEPTH, MAX_LOOPS, Data
from .filters import FILTERS, unknown
from .questions import QUESTIONS
from .values import quoted

__all__ = ["LOOP_FIELDS", "check_syntax", "fault"]

LOOP_FIELDS: Final = frozenset(
    ["depth", "depth0", "first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex", "revindex0"]
)

_ALLOWED: Final = frozenset(
    [
        "Add",
        "And",
        "Assign",
        "AssignBlock",
        "Compare",
        "Concat",
        "CondExpr",
        "Const",
        "Dict",
        "Div",
        "FilterBlock",
        "Filter",
        "FloorDiv",
        "For",
        "Getattr",
        "Getitem",
        "If",
        "Keyword",
        "List",
        "Mod",
        "Mul",
        "Name",
        "Neg",
        "Not",
        "Operand",
        "Or",
        "Output",
        "Pair",
        "Pos",
        "Pow",
        "Slice",
        "Sub",
        "Template",
        "TemplateData",
        "Test",
        "Tuple",
        "With",
    ]
)
_ONE_TEXT: Final = "a template is one text; put shared text into a Block of its own"
_REFUSED: Final = {
    "Include": f"{{% include %}} is not allowed: {_ONE_TEXT}",
    "Import": f"{{% import %}} is not allowed: {_ONE_TEXT}",
    "FromImport": f"{{% from %}} is not allowed: {_ONE_TEXT}",
    "Extends": f"{{% extends %}} is not allowed: {_ONE_TEXT}",
    "Block": f"{{% block %}} is not allowed: {_ONE_TEXT}",
    "Macro": "{% macro %} is not allowed: nothing can be called in a template; use {% set %} or {% for %}",
    "CallBlock": "{% call %} is not allowed: nothing can be called in a template",
    "NSRef": "a name with a dot cannot be set; set a plain name",
    "ScopedEvalContextModifier": "{% autoescape %} is not allowed: nothing is escaped; use the filter escape",
}


def fault(problem: str, line: int | None) -> TemplateError:
    """A TemplateError whose text begins with the line."""
    return TemplateError(f"line {line}: {problem}" if line else problem, line=line)


def check_syntax(tree: nodes.Node) -> None:
    """Refuse what a template may not say.

    Raises:
        TemplateError: It says it; with the line.
    """
    for node, depth, loops in _walk(tree):
        if depth > MAX_DEPTH:
            raise fault(f"nested more than {MAX_DEPTH} levels deep; split it with {{% set %}}", node.lineno)
        if len(loops) > MAX_LOOPS:
            raise fault(f"more than {MAX_LOOPS} loops inside one another; shape the data before", node.lineno)
        kind = type(node).__name__
        if kind == "Call":
            raise fault(_no_call(node), node.lineno)
        if kind not in _ALLOWED:
            raise fault(_REFUSED.get(kind, f"{kind} is not allowed in a template; use plain Jinja"), node.lineno)
        check = _CHECKS.get(kind)
        if check is not None:
            check(node, loops)


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int, tuple[int, ...]]]:
    """Every node with its depth and the loops whose body it stands in; without recursion, as depth is unchecked."""
    open_nodes: list[tuple[nodes.Node, int, tuple[int, ...]]] = [(tree, 0, ())]
    while open_nodes:
        node, depth, loops = open_nodes.pop()
        yield node, depth, loops
        body = {id(child) for child in node.body} if isinstance(node, nodes.For) else frozenset[int]()
        within = (*loops, id(node)) if body else loops
        open_nodes.extend(
            (child, depth + 1, within if id(child) in body else loops) for child in node.iter_child_nodes()
        )


def _no_call(node: nodes.Node) -> str:
    called = node.node if isinstance(node, nodes.Call) else None
    if isinstance(called, nodes.Getattr):
        hint = f"x | {called.attr}" if called.attr in FILTERS else "{{ x | upper }}"
        return (
            f".{called.attr}(...) is not allowed: values are data, nothing can be called; use a filter, such as {hint}"
        )
    name = called.name if isinstance(called, nodes.Name) else "(...)"
    remedy = f"use the filter: x | {name}" if name in FILTERS else "use a filter, such as {{ x | upper }}"
    return f"{name}(...) is not allowed: nothing can be called in a template; {remedy}"


def _check_filter(node: nodes.Node, loops: tuple[int, ...]) -> None:
    assert isinstance(node, nodes.Filter | nodes.Test)
    kind, known = ("filter", FILTERS) if isinstance(node, nodes.Filter) else ("test", QUESTIONS)
    if node.name not in known:
        raise fault(unknown(kind, node.name, known=known), node.lineno)
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise fault(f"the {kind} {node.name!r} takes its arguments one by one, not by * or **", node.lineno)
    signature = _signature(known[node.name])
    try:
        signature.bind(None, None, *node.args, **{str(pair.key): pair.value for pair in node.kwargs})
    except TypeError as error:
        takes = ", ".join(str(parameter).split(":")[0] for parameter in list(signature.parameters.values())[2:])
        raise fault(f"the {kind} {node.name!r}: {error}; it takes ({takes})", node.lineno) from None


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Data]) -> inspect.Signature:
    return inspect.signature(function)


def _check_name(node: nodes.Node, loops: tuple[int, ...]) -> None:
    assert isinstance(node, nodes.Name)
    if node.name == "self":
        raise fault("'self' is no name a value can have; name the value something else", node.lineno)
    if node.name == "loop" and loops and node.ctx == "load" and not getattr(node, "is_base", False):
        raise fault(f"'loop' is no value; use one of its fields: {quoted(sorted(LOOP_FIELDS))}", node.lineno)


def _check_getattr(node: nodes.Node, loops: tuple[int, ...]) -> None:
    """Parents come before children in the walk, so a checked `loop.index` can mark its `loop` as fine."""
    assert isinstance(node, nodes.Getattr)
    if isinstance(node.node, nodes.Name) and node.node.name == "loop" and loops:
        if node.attr not in LOOP_FIELDS:
            raise fault(f"'loop' has no {node.attr!r}; it has {quoted(sorted(LOOP_FIELDS))}", node.lineno)
        node.node.is_base = True  # type: ignore[attr-defined]  # a mark for _check_name


def _check_const(node: nodes.Node, loops: tuple[int, ...]) -> None:
    assert isinstance(node, nodes.Const)
    value = node.value
    if isinstance(value, float) and not math.isfinite(value):
        raise fault("a number too large for a float; write a smaller one", node.lineno)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise fault(f"a number of more than {MAX_BITS} bits; write a smaller one", node.lineno)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise fault("a text with a lone surrogate; write the character itself", node.lineno) from None


def _check_for(node: nodes.Node, loops: tuple[int, ...]) -> None:
    assert isinstance(node, nodes.For)
    if node.recursive:
        raise fault("a recursive loop is not allowed: nothing can be called in a template", node.lineno)


_CHECKS: Final[dict[str, Callable[[nodes.Node, tuple[int, ...]], None]]] = {
    "Const": _check_const,
    "Filter": _check_filter,
    "For": _check_for,
    "Getattr": _check_getattr,
    "Name": _check_name,
    "Test": _check_filter,
}
