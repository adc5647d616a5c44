"""Figures of the proofs, kept as lines of JSON for the report."""

from __future__ import annotations

import json
import os
import platform
import secrets
import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["IS_LONG", "RESULTS", "environment", "keep", "seed_from"]

# Read when this file is loaded: tests run without the variables of this project.
IS_LONG = os.environ.get("LLMORCH_LONG") == "1"
RESULTS = Path(os.environ.get("LLMORCH_RESULTS") or Path(tempfile.gettempdir()) / "llmorch-durability")
"""Where the figures are kept: `LLMORCH_RESULTS`, or a folder among the temporary files."""


def seed_from(variable: str) -> int:
    """The seed in an environment variable; unset, a new one."""
    given = os.environ.get(variable)
    return secrets.randbits(32) if given is None else int(given)


def keep(proof: str, **figures: object) -> None:
    """Add one line for a proof that was carried out in its long form; in the short one nothing is kept.

    Args:
        proof: What was proved, as the report names it.
        figures: Such as `store`, `seed`, `runs`, `kills`, `lost`, `changed`, `repeated`, `stuck`, `seconds`; `store` is
            `sqlite` or `postgres`, and `version` that of a server.
    """
    if not IS_LONG:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "results.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"proof": proof, **figures, **environment()}) + "\n")


def environment() -> Mapping[str, str]:
    """What the figures depend on, without a name or path of the machine."""
    return {
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "file_system": _file_system(Path(tempfile.gettempdir())),
    }


def _file_system(folder: Path) -> str:
    """The kind of file system a folder is on; empty where nothing tells."""
    found, longest = "", -1
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for mount in mounts:
        _, point, kind, *_ = mount.split(" ")
        if folder.resolve().is_relative_to(point) and len(point) > longest:
            found, longest = kind, len(point)
    return found
