"""The conformance suite of libraries: one call that asks everything the typed face relies on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from ..documents import Library
from . import _library_finding as finding
from . import _library_links as links
from . import _library_reopened as reopened
from . import _library_versions as versions
from ._adapter import checks_of
from ._library_rule import LibraryCase, Reopen
from ._suite import Checked, ConformanceFailed, Report

__all__ = ["LibraryConformance", "check_library"]

_RULES = (*versions.RULES_BEFORE, *versions.RULES, *finding.RULES, *links.RULES, *reopened.RULES)


@dataclass(frozen=True, slots=True)
class LibraryConformance(Report):
    """What came of the suite of libraries; `print` shows it.

    Attributes:
        library: The library's class.
        checks: Every rule on every backend, in order.

    Example:
        >>> one = Checked("survives", "Everything is there.", "asyncio", "skipped", "no reopen= was given")
        >>> print(LibraryConformance("MyLibrary", (one,)))
        Library MyLibrary: 0 passed, 1 skipped, 0 broken
          skipped survives: no reopen= was given
    """

    library: str
    checks: tuple[Checked, ...]

    @property
    def title(self) -> str:
        """Which library."""
        return f"Library {self.library}"


def check_library(
    factory: Callable[[], Library | Awaitable[Library]],
    *,
    reopen: Reopen | None = None,
    waive: Mapping[str, str] | None = None,
    backends: Iterable[str] | None = None,
    limit_s: float = 10.0,
) -> LibraryConformance:
    """What came of the whole conformance suite, when every rule holds.

    Every rule gets a fresh library on a fresh event loop in a thread of its own, and the library is closed afterwards,
    so the suite runs in any test runner. It returns when all is done.

    Args:
        factory: Makes an empty library, sync or async; called for every rule.
        reopen: Opens the data of the library it is given once more, sync or async: after that one was closed, and
            while it is still open. With it, the suite checks that everything lasts.
        waive: Name of a rule -> why it is not asked.
        backends: `asyncio` and `trio`; default those that are installed.
        limit_s: Seconds one method may take.

    Raises:
        ConformanceFailed: Rules are broken; the text lists all of them.
        ValueError: `waive` names no rule.

    Example:
        >>> from llmorch.stores.memory_library import MemoryLibrary
        >>> report = check_library(MemoryLibrary, backends=["asyncio"])
        >>> "one-wins" in report.passed, report.skipped["survives"]
        (True, 'no reopen= was given')
    """
    name, checks = checks_of(
        _RULES, LibraryCase, factory, reopen=reopen, waive=waive, backends=backends, limit_s=limit_s
    )
    report = LibraryConformance(name, checks)
    if report.broken:
        raise ConformanceFailed(report=report)
    return report
