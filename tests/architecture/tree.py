"""The source tree as the architecture tests read it: files, modules, and which module imports which."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PACKAGE = "llmorch"


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is the dotted path as written, made absolute; `line` is where."""

    target: str
    line: int


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path
    root: Path

    @property
    def relative(self) -> str:
        """Such as `providers/offline.py`, seen from the package's folder."""
        return self.path.relative_to(self.root / PACKAGE).as_posix()

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def name(self) -> str:
        """Such as `llmorch.providers.offline`."""
        parts = self.path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if self.is_package else parts)

    @property
    def unit(self) -> str:
        """The top-level file or folder it belongs to, such as `providers`."""
        return Path(self.relative).parts[0].removesuffix(".py")

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Everything it imports when it runs: at the top, inside functions and lazily by name."""
        found = [found for node in walk_at_runtime(self.tree) for found in self._imported_by(node)]
        return tuple(found)

    def _imported_by(self, node: ast.AST) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = self._absolute(node.level, node.module)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno)
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "require", "__import__"}:
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield Import(node.args[0].value, node.lineno)
        elif self.is_package and isinstance(node, ast.Constant) and str(node.value).startswith(f"{PACKAGE}."):
            yield Import(str(node.value).replace(":", "."), node.lineno)  # the home of a lazy name (`_lazy.attach`)

    def _absolute(self, level: int, module: str | None) -> str:
        if level == 0:
            return module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        base = package[: len(package) - level + 1]
        return ".".join([*base, module] if module else base)


def walk_at_runtime(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those only a type checker sees."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))


def modules_in(root: Path) -> list[Module]:
    """Every file of the package under `root`."""
    return [Module(path, root) for path in sorted((root / PACKAGE).rglob("*.py"))]


@cache
def modules() -> list[Module]:
    """Every file of llmorch."""
    return modules_in(SOURCE)


def graph(files: Iterable[Module]) -> dict[str, dict[str, int]]:
    """Module -> the modules of the package it imports, each with the first line that does."""
    files = list(files)
    known = {module.name for module in files}
    edges: dict[str, dict[str, int]] = {}
    for module in files:
        targets = edges.setdefault(module.name, {})
        for found in sorted(module.imports, key=lambda found: found.line):
            target = _module_of(found.target, known)
            if target is not None and target != module.name:
                targets.setdefault(target, found.line)
    return edges


def _module_of(target: str, known: set[str]) -> str | None:
    """The module that an imported dotted path names or lives in; None for other packages."""
    parts = target.split(".")
    if parts[0] != PACKAGE:
        return None
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or PACKAGE


def dotted_uses(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every dotted name the file uses, with what it was imported as undone: `time.time`, `os.environ.get`."""
    nodes = list(walk_at_runtime(tree))
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}", node.lineno
    for node in nodes:
        dotted = _dotted(node)
        if dotted is not None:
            root, _, rest = dotted.partition(".")
            if root in names:
                yield f"{names[root]}.{rest}" if rest else names[root], getattr(node, "lineno", 0)


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def _called(node: ast.Call) -> str | None:
    dotted = _dotted(node.func)
    return None if dotted is None else dotted.rpartition(".")[2]


def _is_type_checking(test: ast.expr) -> bool:
    return (_dotted(test) or "").rpartition(".")[2] == "TYPE_CHECKING"
