"""What `import llmorch` loads: nothing from elsewhere, and HTTP, graphs and trio only when they are used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "httpcore", "httpx", "networkx", "tenacity", "trio", "genai_prices", "ruamel")


def loaded_by(code: str) -> list[str]:
    """Top-level packages that a fresh interpreter loads for `code`, without the standard library and llmorch."""
    program = f"""
import json, sys
before = set(sys.modules)
{code}
fresh = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(fresh - set(sys.stdlib_module_names) - {{"llmorch"}})))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    names: list[str] = json.loads(answer.stdout.splitlines()[-1])
    return names


def test_importing_llmorch_loads_no_third_party_module() -> None:
    assert loaded_by("import llmorch\nllmorch.__all__, dir(llmorch)") == []


def test_the_probe_sees_a_third_party_module() -> None:
    assert "anyio" in loaded_by("import anyio")


def test_no_name_of_the_face_loads_a_heavy_module_when_first_used() -> None:
    code = f"""
import llmorch
for name in llmorch.__all__:
    getattr(llmorch, name)
    found = sorted(set({HEAVY!r}) & set(sys.modules))
    assert not found, f"llmorch.{{name}} loads {{found}}"
"""
    assert "pydantic" in loaded_by(code)


@pytest.mark.parametrize(
    "code",
    [
        "llmorch.Workflow('w')",
        "llmorch.Workflow.of(llmorch.Payload('a', 'Say {{ x }}'), name='w')",
        "w = llmorch.Workflow('w'); w.add(llmorch.Payload('a', 'Say {{ x }}', model='offline:echo'))",
    ],
)
def test_building_a_workflow_loads_no_http_and_no_graph_library(code: str) -> None:
    assert not set(loaded_by(f"import llmorch\n{code}")) & set(HEAVY)
