"""What an import and the first workflow cost a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from .table import Result, Target

__all__ = ["first_use", "importing"]

_REPEATS = 15
_STRANGERS = """
import json, sys
before = set(sys.modules)
import llmorch
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if name not in before}
strangers = [name for name, file in files.items() if "site-packages" in file and name.partition(".")[0] != "llmorch"]
print(json.dumps([len(files), len(strangers)]))
"""
_MODEL = """
from pydantic import BaseModel
class Model(BaseModel):
    name: str
"""
_WORKFLOW = """
from llmorch import Payload, Workflow
wf = Workflow.of(Payload("hello", "Say hello to {{ who }}."), name="hello")
assert list(wf.inputs) == ["who"]
"""


def importing() -> list[Result]:
    """`import llmorch` over bare Python."""
    output = subprocess.run([sys.executable, "-c", _STRANGERS], capture_output=True, check=True, text=True).stdout
    loaded, strangers = json.loads(output)
    bare, ours = _fastest("pass", "import llmorch")
    return [
        Result("import llmorch", ours * 1e3, "ms", bare * 1e3, "bare Python", Target(25, "excess")),
        Result("import llmorch: modules loaded", loaded, ""),
        Result("import llmorch: third-party modules", strangers, "", target=Target(0)),
    ]


def first_use() -> list[Result]:
    """A first workflow of one payload, built and bound, in a fresh process."""
    pydantic, ours = _fastest(_MODEL, _WORKFLOW)
    against = "pydantic, a model of one field"
    return [Result("first Workflow built", ours * 1e3, "ms", pydantic * 1e3, against, Target(60, "excess"))]


def _fastest(*programs: str) -> list[float]:
    """Seconds of a whole process for each program, all of its modules compiled before."""
    found = [float("inf")] * len(programs)
    with tempfile.TemporaryDirectory() as compiled:
        # Where the environment forbids bytecode files, or nobody has written them yet, compiling would be most of it.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(_REPEATS + 1):
            for index, program in enumerate(programs):
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", program], check=True, env=environment)
                if turn > 0:
                    found[index] = min(found[index], time.perf_counter() - began)
    return found
