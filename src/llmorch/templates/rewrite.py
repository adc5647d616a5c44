"""Rewrites the syntax tree: lookups, operators, literals and loops become functions that count and refuse."""

from __future__ import annotations

from typing import Any, Final

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from .bounds import TURN

__all__ = ["Rewrite"]


_CALL: Final = 6  # units
_LOOP_OBJECT: Final = 12
_BECOME_CALLS: Final = (
    nodes.BinExpr,
    nodes.Compare,
    nodes.Concat,
    nodes.Dict,
    nodes.Filter,
    nodes.Getattr,
    nodes.Getitem,
    nodes.List,
    nodes.Test,
    nodes.Tuple,
)


class Rewrite(NodeTransformer):
    """Puts calls of the functions in `operators` into a checked tree, which it changes."""

    @staticmethod
    def _apply(name: str, node: Any, line: int, *args: nodes.Expr) -> nodes.Filter:  # Any: what `visit` gives
        return nodes.Filter(node, name, list(args), [], None, None, lineno=line)

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        if isinstance(node.node, nodes.Name) and getattr(node.node, "is_base", False):
            return self._apply(".loop", node.node, node.lineno, nodes.Const(node.attr))
        return self._look_up(node.node, nodes.Const(node.attr), node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        if not isinstance(node.arg, nodes.Slice):
            return self._look_up(node.node, self.visit(node.arg), node.lineno)
        bounds = [node.arg.start, node.arg.stop, node.arg.step]
        args = [nodes.Const(None) if bound is None else self.visit(bound) for bound in bounds]
        return self._apply("[:]", self.visit(node.node), node.lineno, *args)

    def _look_up(self, base: nodes.Node, key: nodes.Expr, line: int) -> nodes.Node:
        return self._apply(".", self.visit(base), line, key, nodes.Const(_written(base)))

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        head, *tail = [self.visit(part) for part in node.nodes]
        return self._apply("~", head, node.lineno, *tail)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        args = [part for operand in node.ops for part in (nodes.Const(operand.op), self.visit(operand.expr))]
        return self._apply("<>", self.visit(node.expr), node.lineno, *args)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return node if node.ctx == "store" else self.visit_List(nodes.List(node.items, lineno=node.lineno))

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return self._apply("[]", node, node.lineno)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return self._apply("{}", node, node.lineno)

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:
        self.generic_visit(node)
        if node.expr2 is None:  # `{{ ', ' if more }}`: nothing otherwise
            node.expr2 = nodes.Const("", lineno=node.lineno)
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        body = [*node.body, *([node.test] if node.test else [])]
        reads_loop = any(name.name == "loop" for part in body for name in part.find_all(nodes.Name))
        cost = TURN + _LOOP_OBJECT * reads_loop + sum(map(_size, body))
        self.generic_visit(node)
        node.iter = self._apply("for", node.iter, node.iter.lineno, nodes.Const(cost))
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = self._captured(node.filter, node.lineno)
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = self._captured(node.filter, node.lineno)
        return node

    def _captured(self, applied: nodes.Filter | None, line: int) -> nodes.Filter:
        """The filter chain with the charge for the captured text put in innermost."""
        charge = self._apply("<<", None, line)
        if applied is None:
            return charge
        inner = applied
        while isinstance(inner.node, nodes.Filter):
            inner = inner.node
        inner.node = charge
        return applied


def _size(node: nodes.Node) -> int:
    """What one turn costs: a unit for a syntax node, more for those that become calls; an inner loop counts its own."""
    if isinstance(node, nodes.For):
        return TURN + _size(node.iter)
    own = _CALL if isinstance(node, _BECOME_CALLS) else 1
    return own + sum(map(_size, node.iter_child_nodes()))


def _written(node: nodes.Node) -> str:
    """An expression as its author would call it, for errors."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_written(node.node)}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return f"{_written(node.node)}[{node.arg.value!r}]"
    if isinstance(node, nodes.Filter) and node.node is not None:
        return f"{_written(node.node)} | {node.name}"
    return "the value"
