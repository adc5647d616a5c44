"""The conformance suite of providers: one call that asks everything the engine relies on."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from .._clock import monotonic
from ..ports import Provider
from . import _conformance_answers as answers
from . import _conformance_conduct as conduct
from . import _conformance_faults as faults
from . import _conformance_quiet as quiet
from . import _conformance_requests as requests
from ._conformance_rule import Case, Rule, method
from ._suite import Broken, Checked, ConformanceFailed, Report, checked, installed_backends, known, name_of, on_a_loop

__all__ = ["Checked", "Conformance", "ConformanceFailed", "check_provider"]

_RULES = (*conduct.RULES_BEFORE, *answers.RULES, *requests.RULES, *conduct.RULES, *quiet.RULES, *faults.RULES)
_MODEL = "test-model"


@dataclass(frozen=True, slots=True)
class Conformance(Report):
    """What came of a whole suite; `print` shows it.

    Attributes:
        provider: The provider's name.
        model: The model that was asked.
        checks: Every rule on every backend, in order.

    Example:
        >>> one = Checked("usage", "Counts are whole numbers.", "asyncio", "skipped", "no server")
        >>> print(Conformance("mine", "small", (one,)))
        Provider 'mine', model 'small': 0 passed, 1 skipped, 0 broken
          skipped usage: no server
    """

    provider: str
    model: str
    checks: tuple[Checked, ...]

    @property
    def title(self) -> str:
        """Which provider and model."""
        return f"Provider {self.provider!r}, model {self.model!r}"


def check_provider(
    factory: Callable[[], Provider],
    *,
    model: str | None = None,
    secret: str | None = None,
    echoes: bool = False,
    at: Callable[[str], Provider] | None = None,
    waive: Mapping[str, str] | None = None,
    backends: Iterable[str] | None = None,
    limit_s: float = 10.0,
) -> Conformance:
    """What came of the whole conformance suite, when every rule holds.

    The provider is asked for real, some 100 small calls on each backend: point it at a fake server, or at a real
    one you may use. Every rule gets a fresh provider on a fresh event loop in a thread of its own, so the suite runs
    in any test runner. It returns when all is done; a server that lives on the caller's own event loop cannot answer
    meanwhile, so call it there with `await anyio.to_thread.run_sync`.

    Args:
        factory: Makes the provider; called for every rule.
        model: The model to ask, the part after the colon. Default: the first of `models()`, else `test-model`.
        secret: The key that the factory gives the provider: a text that must not show anywhere.
        echoes: The model answers with the last user message as it is, so that what comes back can be compared.
        at: Makes the provider for another base address such as `http://127.0.0.1:40123`, with the same key. With it,
            servers that fail are tried too.
        waive: Name of a rule -> why it is not asked.
        backends: `asyncio` and `trio`; default those that are installed.
        limit_s: Seconds one call may take.

    Raises:
        ConformanceFailed: Rules are broken; the text lists all of them.
        ValueError: `waive` names no rule.

    Example:
        >>> from llmorch.providers import Offline
        >>> report = check_provider(Offline, model="summary", backends=["asyncio"])
        >>> "pieces" in report.passed, report.skipped["tools"]
        (True, 'tools=False is declared')
    """
    waived = known(waive or {}, [rule.name for rule in _RULES])
    chosen = tuple(backends or installed_backends())
    suite = _Suite(factory, model, secret, echoes, at, limit_s)
    checks = tuple(suite.checked(backend, waived) for backend in chosen)
    report = Conformance(suite.name, suite.model or _MODEL, tuple(one for found in checks for one in found))
    if report.broken:
        raise ConformanceFailed(report=report)
    return report


@dataclass
class _Suite:
    factory: Callable[[], Provider]
    model: str | None
    secret: str | None
    echoes: bool
    at: Callable[[str], Provider] | None
    limit_s: float
    name: str = ""

    def checked(self, backend: str, waived: Mapping[str, str]) -> tuple[Checked, ...]:
        """Every rule on one backend."""

        def tried(rule: Rule) -> BaseException | None:
            return self._tried(rule, backend)

        return checked(_RULES, tried, backend=backend, waived=waived, basics=("made", "answers"), secret=self.secret)

    def _tried(self, rule: Rule, backend: str) -> BaseException | None:
        """What ended the check, or None when all is well."""
        try:
            provider = self.factory()
        except Exception as error:  # a factory that fails is the finding
            return Broken(f"the factory raised {name_of(error)}")
        case = Case(provider, self.model or _MODEL, self.secret, self.echoes, self.at, self.limit_s)
        for case.loop in range(1, rule.loops + 1):
            with _without_cancellation_noise(rule):
                case.asked_at = monotonic()
                ended = on_a_loop(
                    lambda: self._check(rule, case), backend, asked_at=lambda: case.asked_at, limit_s=case.limit_s
                )
            if ended is not None:
                return ended
        return None

    async def _check(self, rule: Rule, case: Case) -> None:
        try:
            if rule.name != "made":
                await self._choose_model(case)
            await rule.check(case)
        finally:
            await case.close()
        self.name = case.provider.name

    async def _choose_model(self, case: Case) -> None:
        if self.model is None:
            models = method(case.provider, "models")
            names: Any = ()  # Any: whatever the provider gives
            if models is not None:
                with anyio.move_on_after(self.limit_s):
                    try:
                        names = await models()
                    except Exception:  # the rule `optional-methods` reports it
                        names = ()
            self.model = next((name for name in names or () if isinstance(name, str) and name), _MODEL)
        case.model = self.model


@contextlib.contextmanager
def _without_cancellation_noise(rule: Rule) -> Generator[None]:
    """Keeps one warning back: trio complains of the generators that a cancelled call leaves open inside of httpx."""
    if not rule.cancels:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Async generator .* was garbage collected", ResourceWarning)
        yield
        gc.collect()
