"""The conformance suite of libraries: one call that asks everything the typed face relies on."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._clock import monotonic
from ..documents import Library
from . import _library_finding as finding
from . import _library_links as links
from . import _library_reopened as reopened
from . import _library_versions as versions
from ._library_rule import LibraryCase, Reopen, Rule
from ._suite import (
    Broken,
    Checked,
    ConformanceFailed,
    Passed,
    Report,
    checked,
    installed_backends,
    known,
    name_of,
    on_a_loop,
)

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
    waived = known(waive or {}, [rule.name for rule in _RULES])
    suite = _Suite(factory, reopen, limit_s)
    found = [suite.checked(backend, waived) for backend in backends or installed_backends()]
    report = LibraryConformance(suite.name, tuple(one for checks in found for one in checks))
    if report.broken:
        raise ConformanceFailed(report=report)
    return report


@dataclass
class _Suite:
    factory: Callable[[], Library | Awaitable[Library]]
    reopen: Reopen | None
    limit_s: float
    name: str = "?"
    case: LibraryCase | None = None
    asked_at: float = 0.0

    def checked(self, backend: str, waived: Mapping[str, str]) -> tuple[Checked, ...]:
        """Every rule on one backend."""

        def tried(rule: Rule) -> BaseException | None:
            return self._tried(rule, backend)

        return checked(_RULES, tried, backend=backend, waived=waived, basics=("made", "created"))

    def _tried(self, rule: Rule, backend: str) -> BaseException | None:
        """What ended the check, or None when all is well."""
        self.case, self.asked_at = None, monotonic()
        ended = on_a_loop(lambda: self._check(rule), backend, asked_at=self._asked_at, limit_s=self.limit_s)
        if ended is None or isinstance(ended, Broken | Passed):
            return ended
        asked = "the factory" if self.case is None else self.case.asking
        return Broken(f"{asked} raised {name_of(ended)}")

    def _asked_at(self) -> float:
        return self.asked_at if self.case is None else self.case.asked_at

    async def _check(self, rule: Rule) -> None:
        made: Any = self.factory()  # Any: a library, or what one waits for to get it
        library: Library = await made if inspect.isawaitable(made) else made
        self.name = type(library).__name__
        self.case = case = LibraryCase(library, self.reopen, self.limit_s)
        try:
            await rule.check(case)
        finally:
            await case.close()
