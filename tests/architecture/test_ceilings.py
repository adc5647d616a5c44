"""How big and how tangled anything may become. Exceeding a ceiling is a design question, not a reason to reformat."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import SOURCE, Module, modules

FILE_LINES = 400
CLASS_LINES = 250
FUNCTION_LINES = 50
COMPLEXITY = 10
INHERITANCE = 2
POSITIONAL = 2
POSITIONAL_INSIDE = 4
ADDRESSED = ("answer",)  # to a run and a step of it: answer(run_id, step, value)

# What no user or plugin imports from: files that begin with an underscore, and these.
INSIDE = {"definition", "engine", "inputs", "live", "observers", "planner", "pricing", "runid", "schema", "templates"}

# `**` in a public signature is for names only the user's templates, workflows or TypedDicts know.
OPEN_KEYWORDS = {"bindings", "changes", "inputs", "options", "values", "variables"}

# What an `__init__.py` may call: names get their lazy homes, and the door learns where the runner is.
NAMING = {"attach", "fill"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_long(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > FILE_LINES:
        yield f"{module.relative} has {lines} lines; {FILE_LINES} is the ceiling"
    for node in ast.walk(module.tree):
        limit = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
        if isinstance(node, ast.ClassDef | Function):
            length = lines_of(node) - sum(lines_of(overload) for overload in overloads_in(node))
            if length > limit:
                yield f"{module.relative}:{node.lineno} {node.name} has {length} lines; {limit} is the ceiling"


def public_functions(module: Module) -> Iterator[tuple[Function, bool]]:
    """Functions and methods a caller may name, and whether each is bound to an object or class."""
    yield from _functions_of(module.tree, in_class=False)


def _functions_of(scope: ast.Module | ast.ClassDef, *, in_class: bool) -> Iterator[tuple[Function, bool]]:
    for node in scope.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _functions_of(node, in_class=True)
        elif isinstance(node, Function) and (not node.name.startswith("_") or node.name == "__init__"):
            marks = marks_of(node)
            if not marks & {"overload", "override"}:  # `override`: the signature is the base class's
                yield node, in_class and "staticmethod" not in marks


def lines_of(node: ast.ClassDef | Function) -> int:
    return (node.end_lineno or 0) - min([node.lineno, *(mark.lineno for mark in node.decorator_list)]) + 1


def overloads_in(node: ast.AST) -> list[Function]:
    """Overloads are types without code: they do not count."""
    body: list[ast.stmt] = getattr(node, "body", [])
    return [part for part in body if isinstance(part, Function) and "overload" in marks_of(part)]


def marks_of(function: Function) -> set[str]:
    return {ast.unparse(mark).rpartition(".")[2] for mark in function.decorator_list}


def is_inside(module: Module) -> bool:
    parts = Path(module.relative).parts
    return module.unit in INSIDE or any(part.startswith("_") and not part.startswith("__") for part in parts)


def open_signatures(module: Module) -> Iterator[str]:
    for function, bound in public_functions(module):
        where = f"{module.relative}:{function.lineno} {function.name}()"
        positional = len(function.args.posonlyargs) + len(function.args.args) - bound
        limit = POSITIONAL_INSIDE if is_inside(module) else POSITIONAL + (function.name in ADDRESSED)
        if positional > limit:
            yield f"{where} takes {positional} arguments by position; keywords only after {limit}"
        kwarg = function.args.kwarg
        if kwarg is not None and kwarg.arg not in OPEN_KEYWORDS:
            yield f"{where} takes **{kwarg.arg}; name the keywords"


def depth_of_inheritance(files: list[Module]) -> Iterator[str]:
    """Classes with more than INHERITANCE ancestors of ours in a row; others' classes count nothing."""
    bases: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for module in files:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(_plain(base)).rpartition(".")[2] for base in node.bases]
                places[node.name] = f"{module.relative}:{node.lineno}"

    def depth(name: str) -> int:
        return max((1 + depth(base) for base in bases[name] if base in bases and base != name), default=0)

    for name, place in places.items():
        if depth(name) > INHERITANCE:
            yield f"{place} {name} inherits {depth(name)} deep; {INHERITANCE} is the ceiling"


def _plain(base: ast.expr) -> ast.expr:
    return base.value if isinstance(base, ast.Subscript) else base


def logic_in_init(module: Module) -> Iterator[str]:
    """What an `__init__.py` holds besides its docstring and names."""
    for node in module.tree.body if module.is_package else ():
        if not _is_name_or_text(node):
            yield f"{module.relative}:{node.lineno} holds logic; an __init__.py holds a docstring and names only"


def _is_naming(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].lstrip("_") in NAMING


def _is_name_or_text(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        guard = ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"
        return guard and all(_is_name_or_text(inner) for inner in node.body) and not node.orelse
    if isinstance(node, ast.Assign | ast.AnnAssign):
        acts = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call | ast.Lambda | ast.comprehension)]
        return all(_is_naming(act) for act in acts)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_naming(node.value)
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_nothing_is_longer_than_its_ceiling() -> None:
    assert not [fault for module in modules() for fault in too_long(module)]


def test_public_signatures_are_closed_and_keyword_only_after_the_second_parameter() -> None:
    assert not [fault for module in modules() for fault in open_signatures(module)]


def test_no_class_inherits_deeper_than_the_ceiling() -> None:
    assert not list(depth_of_inheritance(modules()))


def test_init_files_hold_a_docstring_and_names_only() -> None:
    assert not [fault for module in modules() for fault in logic_in_init(module)]


def test_every_file_begins_with_what_it_is_for() -> None:
    assert not [module.relative for module in modules() if not ast.get_docstring(module.tree)]


def test_no_function_is_more_complex_than_the_ceiling() -> None:
    faults = complexity_faults(SOURCE)
    assert not faults


def complexity_faults(path: Path) -> list[str]:
    """What ruff says with every `noqa` ignored."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--ignore-noqa", "--select", "C901"]
    command += ["--config", f"lint.mccabe.max-complexity={COMPLEXITY}", "--output-format", "json", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode in (0, 1), answer.stderr
    return [
        f"{Path(found['filename']).name}:{found['location']['row']} {found['message']}"
        for found in json.loads(answer.stdout)
    ]


# Each rule on a text that breaks it.


def read(tmp_path: Path, text: str, name: str = "run.py") -> Module:
    path = tmp_path / "llmorch" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return Module(path, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n" * (FILE_LINES + 1),
        "class A:\n" + "    x = 1\n" * CLASS_LINES,
        "def f():\n" + "    x = 1\n" * FUNCTION_LINES,
        "class A:\n    async def f(self):\n" + "        x = 1\n" * FUNCTION_LINES,
    ],
)
def test_what_is_one_line_too_long_is_found(tmp_path: Path, text: str) -> None:
    assert len(list(too_long(read(tmp_path, text)))) == 1


def test_overloads_do_not_make_a_class_longer(tmp_path: Path) -> None:
    overload = "    @overload\n    def f(self): ...\n"
    text = f"class A:\n{overload * CLASS_LINES}" + "    x = 1\n" * (CLASS_LINES - 1)
    assert [fault for fault in too_long(read(tmp_path, text)) if " A " in fault] == []


def test_what_just_fits_is_fine(tmp_path: Path) -> None:
    text = "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1) + "class A:\n" + "    x = 1\n" * (CLASS_LINES - 1)
    assert not list(too_long(read(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("def f(a, b, c): ...", 1),
        ("def f(a, b, /, c=1): ...", 1),
        ("class A:\n    def f(self, a, b, c): ...", 1),
        ("class A:\n    def __init__(self, a, b, c): ...", 1),
        ("class A:\n    @staticmethod\n    def f(a, b, c): ...", 1),
        ("def f(**kwargs): ...", 1),
        ("def f(a, b, *, c): ...", 0),
        ("def f(a, *blocks, c=None, **values): ...", 0),
        ("class A:\n    @classmethod\n    def f(cls, a, b): ...", 0),
        ("class A:\n    def __exit__(self, a, b, c): ...", 0),
        ("class A:\n    @override\n    def f(self, a, b, c): ...", 0),
        ("class A:\n    @typing.overload\n    def f(self, a, b, c): ...", 0),
        ("def _f(a, b, c, **kwargs): ...", 0),
    ],
)
def test_open_signatures_are_told_from_closed_ones(tmp_path: Path, text: str, faults: int) -> None:
    assert len(list(open_signatures(read(tmp_path, text)))) == faults


@pytest.mark.parametrize("name", ["_text.py", "schema.py"])
def test_inside_a_little_more_may_go_by_position(tmp_path: Path, name: str) -> None:
    module = read(tmp_path, "def f(a, b, c, d): ...\ndef g(a, b, c, d, e): ...", name)
    (fault,) = open_signatures(module)
    assert "g() takes 5" in fault


def test_a_third_ancestor_is_one_too_many(tmp_path: Path) -> None:
    text = "class A(BaseModel): ...\nclass B(A): ...\nclass C(B, Generic[T]): ...\nclass D(C[int]): ..."
    (fault,) = depth_of_inheritance([read(tmp_path, text)])
    assert "run.py:4 D inherits 3 deep" in fault


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            '"""Doc."""\nfrom .a import b\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import d\n',
            0,
        ),
        ("_HOMES = {'A': 'llmorch.a'}\n__all__ = ['A']\n__getattr__, __dir__ = attach(__name__, _HOMES)\n", 0),
        ("_door.fill('llmorch.defaults:runner')\n", 0),
        ("def f(): ...\n", 1),
        ("class A: ...\n", 1),
        ("print('hello')\n", 1),
        ("x = open('f')\n", 1),
        ("x = [y for y in z]\n", 1),
        ("try:\n    import a\nexcept ImportError:\n    a = None\n", 1),
    ],
)
def test_logic_in_an_init_file_is_found(tmp_path: Path, text: str, faults: int) -> None:
    assert len(list(logic_in_init(read(tmp_path, text, "__init__.py")))) == faults


def test_a_tangled_function_is_found_even_under_noqa(tmp_path: Path) -> None:
    branches = "".join(f"    if a == {n}:\n        return {n}\n" for n in range(COMPLEXITY))
    file = tmp_path / "tangled.py"
    file.write_text(f"def f(a):  # noqa: C901\n{branches}", encoding="utf-8")
    assert len(complexity_faults(file)) == 1
