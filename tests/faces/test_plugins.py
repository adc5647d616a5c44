"""The template of a provider package: installed for real, found by its entry point, and passing its own tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

TEMPLATE = ROOT / "examples" / "plugins" / "llmorch-provider-template"
LIMIT_S = 120

DISCOVER = """
import llmorch
from fake_server import fake_server
from llmorch.providers import registry
import os

assert "llmorch_provider_template" not in __import__("sys").modules
assert "llamacpp" in registry.names(), registry.names()
with fake_server() as url:
    os.environ["LLAMACPP_BASE_URL"] = url
    with llmorch.Orchestrator(model="llamacpp:tiny") as orchestrator:
        workflow = llmorch.Workflow.of(
            llmorch.Payload("greet", "Hello {{ name }}."),
            llmorch.Payload("reply", "They said: {{ greet }}"),
            name="greeting",
        )
        run = orchestrator.run_sync(workflow, name="Ada")
print(run.status, "|", run.output, "|", run.usage.total_tokens)
"""


def run(*command: str, cwd: Path, path: Path) -> str:
    """What the command prints, with this folder on the path of modules."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LLAMACPP"))}
    environment |= {"PYTHONPATH": f"{path}", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    assert (installed / "llmorch_provider_template" / "py.typed").exists()
    (entries,) = installed.glob("*.dist-info/entry_points.txt")
    assert "[llmorch.providers]\nllamacpp = llmorch_provider_template:LlamaCpp" in entries.read_text(encoding="utf-8")


def test_a_workflow_runs_through_a_provider_found_by_its_entry_point(installed: Path, source: Path) -> None:
    shutil.copy(source / "tests" / "fake_server.py", installed)
    printed = run("-W", "error", "-c", DISCOVER, cwd=installed, path=installed)
    assert printed == "succeeded | They said: Hello Ada. | 30\n"


def test_the_template_passes_its_own_tests(source: Path) -> None:
    printed = run("-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", cwd=source, path=source)
    assert re.search(r"Provider 'llamacpp', model 'tiny': \d\d passed, 3 skipped, 0 broken", printed)


@pytest.mark.parametrize("file", sorted(TEMPLATE.rglob("*.py")), ids=lambda file: file.name)
def test_the_template_uses_only_what_is_public(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    imported = re.findall(r"^\s*(?:from|import) (llmorch(?:\.[\w.]+)?)(?: import (.*))?$", text, re.MULTILINE)
    public = {"llmorch", "llmorch.errors", "llmorch.ports", "llmorch.testing"}
    assert {module for module, _ in imported} <= public
    assert not [names for _, names in imported if re.search(r"\b_", names)]
