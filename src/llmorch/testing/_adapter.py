"""What the suites of stores and libraries share: an adapter under a limit, handles on its data, and the runner."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import anyio

from .._clock import monotonic
from ._suite import Broken, Checked, Passed, SuiteRule, broken, checked, installed_backends, known, name_of, on_a_loop

__all__ = ["AdapterCase", "checks_of"]

_CLOSE_S = 5.0
_BASICS = ("made", "created")


class _Closes(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=_Closes)


@dataclass
class AdapterCase(Generic[T]):
    """One empty store or library under test, on one loop.

    Attributes:
        raw: The adapter as the factory made it, without a limit on its calls.
        again: Opens the same data once more, or None for an adapter that keeps nothing.
        limit_s: Seconds a call may take.
        asked_at: When the adapter was last asked something, by the clock of `monotonic`.
        asking: The method that was asked last.
        handles: What is closed when the rule ends, each as it was made.
    """

    raw: T
    again: Callable[[T], T | Awaitable[T]] | None
    limit_s: float
    asked_at: float = field(default_factory=monotonic)
    asking: str = "the factory"
    handles: list[T] = field(default_factory=list[T])

    def bounded(self, raw: T) -> T:
        """The adapter with a limit on each call; closed when the rule ends."""
        self.handles.append(raw)
        return cast("T", _Bounded(raw, self))

    async def opened(self) -> T:
        """Another handle on the same data."""
        assert self.again is not None
        self.asking = "reopen"
        return self.bounded(await _made(self.again(self.raw)))

    async def close(self) -> None:
        """Let go of every handle; what that raises is the business of the rule `closing`."""
        for handle in self.handles:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                try:
                    await handle.aclose()
                except Exception:  # as above
                    continue


C = TypeVar("C", bound=AdapterCase[Any])  # Any: whichever adapter; a bound cannot name another variable


def checks_of(
    rules: Sequence[SuiteRule[C]],
    case: Callable[[T, Callable[[T], T | Awaitable[T]] | None, float], C],
    factory: Callable[[], T | Awaitable[T]],
    *,
    reopen: Callable[[T], T | Awaitable[T]] | None,
    waive: Mapping[str, str] | None,
    backends: Iterable[str] | None,
    limit_s: float,
) -> tuple[str, tuple[Checked, ...]]:
    """The class of what the factory makes, `?` where it made nothing, and what came of every rule on every backend.

    Args:
        rules: All of the suite, in order.
        case: Makes what a rule works with from an adapter, `reopen` and `limit_s`.
        factory: Makes an empty adapter, sync or async; called for every rule.
        reopen: Opens the data of the adapter it is given once more; None for one that keeps nothing.
        waive: Name of a rule -> why it is not asked.
        backends: `asyncio` and `trio`; None for those that are installed.
        limit_s: Seconds one method may take.

    Raises:
        ValueError: `waive` names no rule.
    """
    waived = known(waive or {}, [rule.name for rule in rules])
    suite = _Suite(case, factory, reopen, limit_s)
    found = [suite.checked(rules, backend, waived) for backend in backends or installed_backends()]
    return suite.name, tuple(one for checks in found for one in checks)


@dataclass
class _Suite(Generic[T, C]):
    new_case: Callable[[T, Callable[[T], T | Awaitable[T]] | None, float], C]
    factory: Callable[[], T | Awaitable[T]]
    reopen: Callable[[T], T | Awaitable[T]] | None
    limit_s: float
    name: str = "?"
    case: C | None = None
    asked_at: float = 0.0

    def checked(self, rules: Sequence[SuiteRule[C]], backend: str, waived: Mapping[str, str]) -> tuple[Checked, ...]:
        """Every rule on one backend."""

        def tried(rule: SuiteRule[C]) -> BaseException | None:
            return self._tried(rule, backend)

        return checked(rules, tried, backend=backend, waived=waived, basics=_BASICS)

    def _tried(self, rule: SuiteRule[C], backend: str) -> BaseException | None:
        """What ended the check, or None when all is well."""
        self.case, self.asked_at = None, monotonic()
        ended = on_a_loop(lambda: self._check(rule), backend, asked_at=self._asked_at, limit_s=self.limit_s)
        if ended is None or isinstance(ended, Broken | Passed):
            return ended
        asked = "the factory" if self.case is None else self.case.asking
        return Broken(f"{asked} raised {name_of(ended)}")

    def _asked_at(self) -> float:
        return self.asked_at if self.case is None else self.case.asked_at

    async def _check(self, rule: SuiteRule[C]) -> None:
        adapter = await _made(self.factory())
        self.name = type(adapter).__name__
        self.case = case = self.new_case(adapter, self.reopen, self.limit_s)
        try:
            await rule.check(case)
        finally:
            await case.close()


class _Bounded:
    """Any adapter, with a limit on each of its methods."""

    def __init__(self, raw: object, case: AdapterCase[Any]) -> None:  # Any: whichever adapter
        self._raw, self._case = raw, case

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:  # Any: whatever the method gives
        method = getattr(self._raw, name)
        case = self._case

        async def asked(*given: Any, **named: Any) -> Any:  # Any: handed on as they are
            case.asked_at, case.asking = monotonic(), f"{name}()"
            with anyio.move_on_after(case.limit_s):
                return await method(*given, **named)
            broken(f"{name}() did not end within {case.limit_s:g} s")

        return asked


async def _made(made: T | Awaitable[T]) -> T:
    """The adapter, waited for where its maker is async."""
    return await made if inspect.isawaitable(made) else made
