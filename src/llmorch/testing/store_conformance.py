"""The conformance suite of run stores: one call that asks everything the engine relies on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from ..ports import RunStore
from . import _store_log as log
from . import _store_owners as owners
from . import _store_reopened as reopened
from . import _store_rows as rows
from . import _store_soon as soon
from ._adapter import checks_of
from ._store_rule import Reopen, StoreCase
from ._suite import Checked, ConformanceFailed, Report

__all__ = ["StoreConformance", "check_run_store"]

_RULES = (*log.RULES_BEFORE, *log.RULES, *soon.RULES, *rows.RULES, *owners.RULES, *reopened.RULES)


@dataclass(frozen=True, slots=True)
class StoreConformance(Report):
    """What came of the suite of run stores; `print` shows it.

    Attributes:
        store: The store's class.
        checks: Every rule on every backend, in order.

    Example:
        >>> one = Checked("survives", "Everything is there.", "asyncio", "skipped", "no reopen= was given")
        >>> print(StoreConformance("MyStore", (one,)))
        Store MyStore: 0 passed, 1 skipped, 0 broken
          skipped survives: no reopen= was given
    """

    store: str
    checks: tuple[Checked, ...]

    @property
    def title(self) -> str:
        """Which store."""
        return f"Store {self.store}"


def check_run_store(
    factory: Callable[[], RunStore | Awaitable[RunStore]],
    *,
    reopen: Reopen | None = None,
    waive: Mapping[str, str] | None = None,
    backends: Iterable[str] | None = None,
    limit_s: float = 10.0,
) -> StoreConformance:
    """What came of the whole conformance suite, when every rule holds.

    Every rule gets a fresh store on a fresh event loop in a thread of its own, and the store is closed afterwards, so
    the suite runs in any test runner. It returns when all is done.

    Args:
        factory: Makes an empty store, sync or async; called for every rule.
        reopen: Opens the data of the store it is given once more, sync or async: after that one was closed, and while
            it is still open. With it, the suite checks that everything lasts.
        waive: Name of a rule -> why it is not asked.
        backends: `asyncio` and `trio`; default those that are installed.
        limit_s: Seconds one method may take.

    Raises:
        ConformanceFailed: Rules are broken; the text lists all of them.
        ValueError: `waive` names no rule.

    Example:
        >>> from llmorch.stores import MemoryStore
        >>> report = check_run_store(MemoryStore, backends=["asyncio"])
        >>> "idempotent" in report.passed, report.skipped["survives"]
        (True, 'no reopen= was given')
    """
    name, checks = checks_of(_RULES, StoreCase, factory, reopen=reopen, waive=waive, backends=backends, limit_s=limit_s)
    report = StoreConformance(name, checks)
    if report.broken:
        raise ConformanceFailed(report=report)
    return report
