"""The template of a store package: installed for real, found by its entry point, and passing its own tests."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT
from tests.faces.test_plugins import run

TEMPLATE = ROOT / "examples" / "plugins" / "llmorch-store-template"

DISCOVER = """
import sys
from importlib.metadata import entry_points

import llmorch
from llmorch.testing import ScriptedProvider

(entry,) = [one for one in entry_points(group="llmorch.stores") if one.name == "lines"]
assert "llmorch_store_template" not in sys.modules
make = entry.load()
wf = llmorch.Workflow.of(llmorch.Payload("draft", "x"), llmorch.Payload("final", "Better: {{ draft }}"), name="w")
with llmorch.Orchestrator(
    "lines:///runs.jsonl", providers=[ScriptedProvider({"draft": "A", "final": "B"})], model="scripted:m"
) as orchestrator:
    first = orchestrator.run_sync(wf)
print(first.status, first.output)

import anyio

async def read():
    store = make("runs.jsonl")
    row = await store.load(first.id)
    print(row.status, [type(event).__name__ for event in await store.events(first.id)][-1], row.owner)
    await store.aclose()

anyio.run(read)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because building leaves files behind."""
    copy = tmp_path_factory.mktemp("source") / TEMPLATE.name
    shutil.copytree(TEMPLATE, copy, ignore=shutil.ignore_patterns("__pycache__", "dist", "build"))
    return copy


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the package, put there by pip without any index."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(target))
    run("-m", "pip", "install", *options, str(source), cwd=source, path=source)
    return target


def test_the_installed_template_holds_the_package_and_its_entry_point(installed: Path) -> None:
    assert (installed / "llmorch_store_template" / "py.typed").exists()
    (entries,) = installed.glob("*.dist-info/entry_points.txt")
    assert "[llmorch.stores]\nlines = llmorch_store_template:LinesStore" in entries.read_text(encoding="utf-8")


def test_a_run_is_kept_by_a_store_found_by_its_entry_point(installed: Path) -> None:
    printed = run("-W", "error", "-c", DISCOVER, cwd=installed, path=installed)
    assert printed == "succeeded B\nsucceeded RunFinished None\n"


def test_the_template_passes_its_own_tests(source: Path) -> None:
    printed = run("-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", cwd=source, path=source)
    assert re.search(r"Store LinesStore: \d\d passed, 3 skipped, 0 broken", printed)
    assert re.search(r"Library LinesLibrary: \d\d passed, 0 skipped, 0 broken", printed)


@pytest.mark.parametrize("file", sorted(TEMPLATE.rglob("*.py")), ids=lambda file: file.name)
def test_the_template_uses_only_what_is_public(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    imported = re.findall(r"^\s*(?:from|import) (llmorch(?:\.[\w.]+)?)(?: import (.*))?$", text, re.MULTILINE)
    modules = {"documents", "errors", "event_late", "event_lines", "event_totals", "events", "ports", "testing"}
    assert {module for module, _ in imported} <= {"llmorch", *(f"llmorch.{name}" for name in modules)}
    assert not [names for _, names in imported if re.search(r"\b_", names)]
