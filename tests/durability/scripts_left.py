"""What a script left behind: processes that carry its mark in their environment, descriptors, zombies."""

from __future__ import annotations

import os
from pathlib import Path


def marked(mark: str) -> list[str]:
    """The processes with the mark in their environment, as number, state and command."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if mark.encode() in (process / "environ").read_bytes():
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"{process.name} {state} {command}")
        except OSError:
            continue  # it has ended meanwhile
    return found


def children() -> set[int]:
    """The processes whose parent this one is, zombies included."""
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == os.getpid():
                found.add(int(process.name))
    return found


def descriptors() -> dict[str, str]:
    """This process's open descriptors and what they are."""
    found: dict[str, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one of the listing itself
    return found
