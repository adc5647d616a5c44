"""What mypy and pyright, both strict, say about files of user code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.architecture.tree import ROOT

_MYPY_LINE = re.compile(r"^(?P<file>.+?):(?P<line>\d+): error: (?P<text>.*)$")


@dataclass(frozen=True, order=True)
class Complaint:
    """One error of a type checker."""

    file: str
    line: int
    text: str


def mypy(folder: Path) -> list[Complaint]:
    """What `mypy --strict` says, without any configuration of this project."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        "",
        "--no-error-summary",
        "--hide-error-context",
    ]
    command += [
        "--no-pretty",
        "--explicit-package-bases",
        "--cache-dir",
        str(ROOT / ".mypy_cache" / "cases"),
        str(folder),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    found = [match for line in answer.stdout.splitlines() if (match := _MYPY_LINE.match(line))]
    return sorted(Complaint(Path(match["file"]).name, int(match["line"]), match["text"]) for match in found)


def pyright(folder: Path) -> list[Complaint]:
    """What pyright says in strict mode."""
    settings = {
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
        "reportUnusedExpression": False,
        "reportUnusedVariable": False,
    }
    with TemporaryDirectory() as copy:  # pyright takes its settings only from beside the files
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        (Path(copy) / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", copy]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    return sorted(
        Complaint(Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["message"])
        for found in json.loads(answer.stdout)["generalDiagnostics"]
        if found["severity"] == "error"
    )
