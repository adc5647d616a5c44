"""One row of the table, and the table as text and as Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

__all__ = ["Machine", "Result", "Target", "load", "markdown", "spaced", "text"]

_HEAD = ("row", "measured", "floor", "which is", "ratio", "target", "met")
_VERSIONS = ("anyio", "aiohttp", "httpx", "httpx-aiohttp", "pydantic")


@dataclass(frozen=True, slots=True)
class Target:
    """An upper limit.

    Attributes:
        of: What is compared: the figure itself, its ratio to the floor, or what it exceeds the floor by.
    """

    limit: float
    of: Literal["measured", "ratio", "excess"] = "measured"


@dataclass(frozen=True, slots=True)
class Result:
    """A figure beside its floor.

    Attributes:
        unit: Of both figures.
        floor: None where nothing comparable exists.
        against: What the floor is.
        target: None for a row that is there to explain another.
    """

    row: str
    measured: float
    unit: str
    floor: float | None = None
    against: str = ""
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the floor; None without a floor above zero."""
        return self.measured / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one.

        Raises:
            ValueError: The target compares with a floor that is missing.
        """
        if self.target is None:
            return None
        return self._compared(self.target) <= self.target.limit

    def _compared(self, target: Target) -> float:
        if target.of == "measured":
            return self.measured
        if target.of == "ratio" and self.ratio is not None:
            return self.ratio
        if target.of == "excess" and self.floor is not None:
            return self.measured - self.floor
        raise ValueError(f"row {self.row!r} has a target on its {target.of}, but no floor to compare with")

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        ratio = self.ratio
        return (
            self.row,
            _figure(self.measured, self.unit),
            "" if self.floor is None else _figure(self.floor, self.unit),
            self.against,
            "" if ratio is None else f"{_rounded(ratio)}x",
            "" if self.target is None else _target(self.target, self.unit),
            "" if self.met is None else "yes" if self.met else "NO",
        )


def _figure(value: float, unit: str) -> str:
    if not unit and value != int(value):
        return f"{value:.3f}"
    return f"{_rounded(value)} {unit}".rstrip()


def _rounded(value: float) -> str:
    size = abs(value)
    if value == int(value) and size < 1000:
        return str(int(value))
    if size >= 100:
        return spaced(round(value))
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


def spaced(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}".replace(",", " ")


def _target(target: Target, unit: str) -> str:
    if target.of == "ratio":
        return f"<= {target.limit:g}x"
    return f"<= {'floor + ' if target.of == 'excess' else ''}{target.limit:g} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and with what the figures were made."""

    lines: tuple[str, ...]

    @classmethod
    def this(cls) -> Machine:
        """This process's machine and packages."""
        packages = ", ".join(f"{name} {found}" for name in _VERSIONS if (found := _version(name)))
        return cls(
            (
                f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                f"{platform.python_implementation()} {platform.python_version()}, asyncio's own loop",
                f"{packages}, SQLite {sqlite3.sqlite_version}",
            )
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def load() -> str:
    """How busy the machine is, as far as the system tells."""
    if sys.platform == "win32":
        return "unknown"
    return f"{os.getloadavg()[0]:.1f}"


def text(results: Sequence[Result]) -> str:
    """The table for a terminal."""
    rows = [_HEAD, *(result.cells() for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if column in (1, 2, 4) else cell.ljust(width)


def markdown(results: Sequence[Result]) -> str:
    """The table for a page."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|--:|--:|---|--:|---|---|"]
    lines += [f"| {' | '.join(result.cells())} |" for result in results]
    return "\n".join(lines)
