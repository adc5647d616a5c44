"""What a template reads, found without rendering it: every static path, with its line and the filter it goes into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

__all__ = ["Path", "Read", "find_reads"]

Path = tuple[str | int, ...]

_SAME_ITEMS: Final = frozenset(["list", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "unique"])
_ONE_ITEM: Final = frozenset(("first", "last"))


@dataclass(frozen=True, slots=True)
class Read:
    """One read of a value.

    Attributes:
        path: Root name, then keys and indices; `*` is any item.
        line: Line of the template, from 1.
        filter: The filter it is passed to, if it is.
    """

    path: Path
    line: int
    filter: str | None = None


def find_reads(tree: nodes.Node) -> tuple[Read, ...]:
    """Every read of a name that is not set in the template itself, in order.

    A dynamic key ends a path; a loop variable stands for `path.*`; a name that is set to a path follows it. A name that
    is set on some branches only counts as read from outside too.
    """
    reader = _Reader()
    reader.visit(tree)
    return tuple(dict.fromkeys(reader.reads))


class _Reader(NodeVisitor):
    """Visits give the path an expression stands for, or None; a path nobody extends is recorded by `_read`."""

    def __init__(self) -> None:
        self.reads: list[Read] = []
        self.scopes: list[dict[str, Path | None]] = [{}]

    def _read(self, node: nodes.Node, *, filter: str | None = None) -> Path | None:
        path: Path | None = self.visit(node)
        if path is not None:
            self.reads.append(Read(path, node.lineno, filter))
        return path

    def _read_all(self, nodes_: Iterable[nodes.Node | None]) -> None:
        for node in nodes_:
            if node is not None:
                self._read(node)

    def _bind(self, target: nodes.Node, path: Path | None) -> None:
        if isinstance(target, nodes.Name):
            self.scopes[-1][target.name] = path
        elif isinstance(target, nodes.Tuple):
            for item in target.items:
                self._bind(item, None)

    def generic_visit(self, node: nodes.Node, *args: object, **kwargs: object) -> None:
        self._read_all(node.iter_child_nodes())

    def visit_Name(self, node: nodes.Name) -> Path | None:
        for scope in reversed(self.scopes):
            if node.name in scope:
                return scope[node.name]
        return (node.name,)

    def visit_Getattr(self, node: nodes.Getattr) -> Path | None:
        base: Path | None = self.visit(node.node)
        return None if base is None else (*base, node.attr)

    def visit_Getitem(self, node: nodes.Getitem) -> Path | None:
        key = _static_key(node.arg)
        if key is None:
            self._read(node.node)
            self._read(node.arg)
            return None
        base: Path | None = self.visit(node.node)
        return None if base is None else (*base, key)

    def visit_Filter(self, node: nodes.Filter) -> Path | None:
        path = self._read(node.node, filter=node.name) if node.node is not None else None
        self._read_all([*node.args, *(pair.value for pair in node.kwargs)])
        if path is None or node.name not in _SAME_ITEMS | _ONE_ITEM:
            return None
        if node.name in _ONE_ITEM:
            return (*path, "*")
        return path

    def visit_For(self, node: nodes.For) -> None:
        path = self._read(node.iter)
        self.scopes.append({})
        self._bind(node.target, None if path is None else (*path, "*"))
        if node.test is not None:
            self._read(node.test)
        self.scopes[-1]["loop"] = None
        self._read_all(node.body)
        self.scopes[-1] = {}
        self._read_all(node.else_)
        self.scopes.pop()

    def visit_With(self, node: nodes.With) -> None:
        paths = [self._read(value) for value in node.values]
        self.scopes.append({})
        for target, path in zip(node.targets, paths, strict=True):
            self._bind(target, path)
        self._read_all(node.body)
        self.scopes.pop()

    def visit_Assign(self, node: nodes.Assign) -> None:
        self._bind(node.target, self._read(node.node))

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> None:
        self._inner(node.body, node.filter)
        self._bind(node.target, None)

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> None:
        self._inner(node.body, node.filter)

    def _inner(self, body: list[nodes.Node], applied: nodes.Node | None) -> None:
        self.scopes.append({})
        self._read_all(body)
        self.scopes.pop()
        self._read_all([applied])

    def visit_If(self, node: nodes.If) -> None:
        self._read(node.test)
        outcomes = [self._branch(node.body)]
        for other in node.elif_:
            self._read(other.test)
            outcomes.append(self._branch(other.body))
        outcomes.append(self._branch(node.else_))
        for name in {name for outcome in outcomes for name in outcome}:
            paths = [outcome.get(name, _UNSET) for outcome in outcomes]
            bound = any(name in scope for scope in self.scopes)
            if bound or _UNSET not in paths:
                same = len(set(paths)) == 1
                self.scopes[-1][name] = paths[0] if same else None

    def _branch(self, body: list[nodes.Node]) -> dict[str, Path | None]:
        """What one branch sets; it sees what was set before."""
        self.scopes.append({})
        self._read_all(body)
        return self.scopes.pop()


_UNSET: Final[Path] = ("",)


def _static_key(node: nodes.Node) -> str | int | None:
    if isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const):
        value = node.node.value
        return -value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(node, nodes.Const) and isinstance(node.value, str | int) and not isinstance(node.value, bool):
        return node.value
    return None
