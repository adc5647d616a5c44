"""A file imports only from lower floors or its own; nothing goes round in circles; each tool has one home."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGE, Module, dotted_uses, graph, modules, modules_in

FLOORS: dict[int, tuple[str, ...]] = {
    0: ("errors", "door", "_lazy", "_redact", "_clock", "_wake", "_json", "_yaml"),
    1: ("templates", "pricing", "schema", "_schema_*"),
    2: ("models",),
    3: ("ports", "requests", "events", "event_*", "documents"),
    4: ("definition",),
    5: ("planner",),
    6: ("providers", "stores", "hooks", "tools", "policies", "credentials", "scripts"),
    7: ("engine",),
    8: (
        "checks", "run_checks",
        "workflow", "workflow_files", "workflow_verbs", "edits", "launch", "one_step", "orchestrator", "handle",
        "run", "queries", "batch", "recover", "sync", "config", "report", "report_*", "catalog", "defaults", "stream",
        "inputs", "run_options", "run_reader", "step_result", "live", "observers", "runid", "fork", "diff", "lookout",
        "library", "library_*", "retention", "claims", "run_keeper", "answers", "script_roots", "workflow_control",
        "items",
    ),
    9: ("patterns", "testing", "interop", "cli", "server", "mcp", "distributed"),
    10: ("__init__", "__main__", "demo", "script_commands"),
}  # fmt: skip

# What is imported only there; a trailing slash is a folder, a trailing star a beginning.
HOMES: dict[str, tuple[str, ...]] = {
    "aiohttp": ("providers/_http*",),
    "asyncio": ("_wake.py", "testing/", "cli/", "server/", "mcp/", "distributed/", "__main__.py"),
    "httpcore": ("providers/_http*",),
    "httpx": ("providers/_http*",),
    "httpx_aiohttp": ("providers/_http*",),
    "jinja2": ("templates/",),
    "networkx": (
        "planner/graph.py",
        "providers/offline.py",
        "providers/_offline*",
        "scripts/primitives/generate_topology.py",
    ),
    "fcntl": ("stores/sqlite/",),
    "psycopg": ("stores/sqlalchemy/",),
    "ruamel": ("_yaml.py",),
    "scipy": ("scripts/samples.py",),
    "sqlalchemy": ("stores/sqlalchemy/",),
    "sqlite3": ("stores/sqlite/",),
    "subprocess": ("engine/steps/script*",),
    "tenacity": ("policies/retry.py",),
    "trio": ("_wake.py", "testing/"),
}

_CLOCK = ("_clock.py", "testing/", "__main__.py")
_SCRIPT = ("engine/steps/script*",)
_SETTINGS = ("config/", "credentials/", "config.py", "credentials.py")

# What is used only there.
USES: dict[str, tuple[str, ...]] = {
    "anyio.open_process": _SCRIPT,
    "anyio.run_process": _SCRIPT,
    "anyio.sleep": _CLOCK,
    "anyio.sleep_until": _CLOCK,
    "asyncio.sleep": _CLOCK,
    "datetime.date.today": _CLOCK,
    "datetime.datetime.now": _CLOCK,
    "datetime.datetime.today": _CLOCK,
    "datetime.datetime.utcnow": _CLOCK,
    "os.environ": _SETTINGS,
    "os.execvp": _SCRIPT,
    "os.fork": _SCRIPT,
    "os.getenv": _SETTINGS,
    "os.putenv": _SETTINGS,
    "os.system": _SCRIPT,
    "time.sleep": _CLOCK,
    "time.time": _CLOCK,
    "time.time_ns": _CLOCK,
    "trio.sleep": _CLOCK,
}


def floor_of(module: Module) -> int | None:
    for floor, units in FLOORS.items():
        if any(module.unit == unit or (unit.endswith("*") and module.unit.startswith(unit[:-1])) for unit in units):
            return floor
    return None


def misplaced(files: list[Module]) -> list[str]:
    """Every import that goes up, or sideways between the folders of floor 6."""
    by_name = {module.name: module for module in files}
    faults: list[str] = []
    for source, targets in graph(files).items():
        for target, line in targets.items():
            if target not in by_name:
                continue
            here, there = by_name[source], by_name[target]
            low, high = floor_of(here), floor_of(there)
            if low is None or high is None or here.unit == there.unit:
                continue
            if high > low:
                faults.append(f"{here.relative}:{line} (floor {low}) imports {target} (floor {high}); turn it round")
            elif low == high == 6:
                faults.append(f"{here.relative}:{line} imports {target}: folders of floor 6 do not know each other")
    return faults


def circles(files: list[Module]) -> list[str]:
    """Every import circle, as `a -> b -> a`."""
    edges = graph(files)
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
            return
        if name in done:
            return
        for target in sorted(edges.get(name, ())):
            visit(target, [*path, name])
        done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def strangers(files: list[Module]) -> list[str]:
    """Every import or use of something outside its one home."""
    faults: list[str] = []
    for module in files:
        for found in module.imports:
            root = found.target.partition(".")[0]
            if root in HOMES and not _lives_in(module, HOMES[root]):
                faults.append(f"{module.relative}:{found.line} imports {root}; its home is {', '.join(HOMES[root])}")
        for name, line in dotted_uses(module.tree):
            for use, homes in USES.items():
                if (name == use or name.startswith(f"{use}.")) and not _lives_in(module, homes):
                    faults.append(f"{module.relative}:{line} uses {use}; its home is {', '.join(homes)}")
    return sorted(set(faults))


def _lives_in(module: Module, homes: tuple[str, ...]) -> bool:
    return any(
        module.relative == home or (home[-1] in "*/" and module.relative.startswith(home.removesuffix("*")))
        for home in homes
    )


def test_every_file_has_a_floor() -> None:
    unknown = sorted({module.unit for module in modules() if floor_of(module) is None})
    assert not unknown, f"put {unknown} on a floor: FLOORS in {Path(__file__).name}"


def test_no_file_imports_from_a_higher_floor_or_a_sibling_adapter() -> None:
    faults = misplaced(modules())
    assert not faults


def test_no_import_goes_in_a_circle() -> None:
    faults = circles(modules())
    assert not faults


def test_each_tool_is_used_only_in_its_home() -> None:
    faults = strangers(modules())
    assert not faults


# The rules themselves, on small trees: a rule that cannot fail would prove nothing.

Write = Callable[..., list[Module]]


@pytest.fixture
def package(tmp_path: Path) -> Write:
    """Writes files of a small package and reads them back."""

    def write(**files: str) -> list[Module]:
        for name, text in {"__init__": "", **files}.items():
            path = tmp_path / PACKAGE / f"{name.replace('__SLASH__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return modules_in(tmp_path)

    return write


@pytest.mark.parametrize(
    "line",
    [
        "from .engine import executor",
        "from llmorch.engine.executor import run",
        "import llmorch.engine.executor",
        "def f():\n    from .engine.executor import run",
        "import importlib\nimportlib.import_module('llmorch.engine.executor')",
        "from . import workflow",
        "import llmorch",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(package: Write, line: str) -> None:
    files = package(errors=line, engine__SLASH____init__="", engine__SLASH__executor="", workflow="")
    (fault,) = misplaced(files)
    assert re.match(r"errors\.py:\d+ \(floor 0\) imports", fault)


def test_an_import_for_type_checkers_only_is_free(package: Write) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import httpx\n    from .engine import executor\n"
    files = package(errors=text, engine__SLASH____init__="", engine__SLASH__executor="")
    assert not misplaced(files)
    assert not strangers(files)


def test_adapter_folders_may_not_know_each_other(package: Write) -> None:
    files = package(
        stores__SLASH____init__="", stores__SLASH__memory="from ..hooks import log",
        hooks__SLASH____init__="", hooks__SLASH__log="from . import _text", hooks__SLASH___text="",
    )  # fmt: skip
    assert misplaced(files) == [
        "stores/memory.py:1 imports llmorch.hooks.log: folders of floor 6 do not know each other"
    ]


def test_a_circle_is_found_even_through_a_lazy_import_or_a_lazy_name(package: Write) -> None:
    through_function = package(errors="def f():\n    from . import _json", _json="from . import errors")
    assert circles(through_function) == ["llmorch._json -> llmorch.errors -> llmorch._json"]
    through_name = package(
        errors="", _json="", models__SLASH____init__="H = {'A': 'llmorch.models.a'}", models__SLASH__a="from . import b"
    )
    assert circles(through_name) == ["llmorch.models -> llmorch.models.a -> llmorch.models"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import networkx as nx", "run.py:1 imports networkx"),
        ("from jinja2.sandbox import SandboxedEnvironment", "run.py:1 imports jinja2"),
        ("from ._lazy import require\nrequire('httpx', extra='x', purpose='y')", "run.py:2 imports httpx"),
        ("import time\nnow = time.time()", "run.py:2 uses time.time"),
        ("from time import time as t", "run.py:1 uses time.time"),
        ("from datetime import datetime as d\nd.now()", "run.py:2 uses datetime.datetime.now"),
        ("import anyio\nasync def f(): await anyio.sleep(1)", "run.py:2 uses anyio.sleep"),
        ("import os\nos.environ.get('X')", "run.py:2 uses os.environ"),
        ("from os import environ", "run.py:1 uses os.environ"),
        ("import subprocess", "run.py:1 imports subprocess"),
    ],
)
def test_a_tool_away_from_its_home_is_found(package: Write, text: str, fault: str) -> None:
    (found, *rest) = strangers(package(run=text, _lazy=""))
    assert found.startswith(fault)
    assert all(other.split()[:1] == found.split()[:1] or fault.split()[-1] in other for other in rest)


def test_a_tool_in_its_home_is_fine(package: Write) -> None:
    files = package(
        _clock="import time\nimport anyio\ntime.time_ns()\nasync def f(): await anyio.sleep(1)",
        providers__SLASH___http="import httpx", providers__SLASH___http_sse="import httpx",
        planner__SLASH__graph="import networkx", config__SLASH__env="import os\nos.environ['X']",
        run="import time\ntime.perf_counter()\nfrom datetime import datetime\ndatetime.fromisoformat('2026-01-01')",
    )  # fmt: skip
    assert not strangers(files)
