"""The conformance suite of providers: one call that asks everything the engine relies on."""

from __future__ import annotations

import contextlib
import difflib
import gc
import importlib.util
import threading
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import anyio

from .._clock import monotonic
from ..errors import LLMOrchError
from ..ports import Provider
from . import _conformance_answers as answers
from . import _conformance_conduct as conduct
from . import _conformance_faults as faults
from . import _conformance_quiet as quiet
from . import _conformance_requests as requests
from ._conformance_rule import Broken, Case, Passed, Rule, method, name_of

__all__ = ["Checked", "Conformance", "ConformanceFailed", "check_provider"]

_RULES = (*conduct.RULES_BEFORE, *answers.RULES, *requests.RULES, *conduct.RULES, *quiet.RULES, *faults.RULES)
_GRACE_S = 5.0
_MODEL = "test-model"


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one rule on one backend.

    Attributes:
        rule: Its name.
        sentence: What holds when it is kept.
        backend: `asyncio` or `trio`.
        outcome: `passed`, `skipped` or `broken`.
        seen: Why it was skipped, or what was seen instead.
        remedy: What to do when it is broken.
    """

    rule: str
    sentence: str
    backend: str
    outcome: Literal["passed", "skipped", "broken"]
    seen: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Conformance:
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

    def __await__(self) -> Generator[Any, Any, Conformance]:
        """So that `await check_provider(...)` works in an async test, too; it blocks the loop like the plain call."""
        yield from ()
        return self

    @property
    def passed(self) -> tuple[str, ...]:
        """Names of the rules that hold on every backend asked."""
        return self._named("passed")

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of the rules that were not asked."""
        return {one.rule: one.seen for one in self.checks if one.outcome == "skipped"}

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the rules that are broken on any backend."""
        return self._named("broken")

    def _named(self, outcome: str) -> tuple[str, ...]:
        others = {one.rule for one in self.checks if one.outcome != "passed"} if outcome == "passed" else set[str]()
        found = [one.rule for one in self.checks if one.outcome == outcome and one.rule not in others]
        return tuple(dict.fromkeys(found))

    def __str__(self) -> str:
        counts = f"{len(self.passed)} passed, {len(self.skipped)} skipped, {len(self.broken)} broken"
        head = f"Provider {self.provider!r}, model {self.model!r}: {counts}"
        lines = [f"  skipped {rule}: {reason}" for rule, reason in self.skipped.items()]
        return "\n".join([head, *lines, *self._faults()])

    def _faults(self) -> Iterable[str]:
        for rule in self.broken:
            found = [one for one in self.checks if one.rule == rule and one.outcome == "broken"]
            yield f"  broken {rule}: {found[0].sentence}"
            for seen in dict.fromkeys(one.seen for one in found):
                where = ", ".join(one.backend for one in found if one.seen == seen)
                yield f"    seen ({where}): {seen}"
            yield f"    do: {found[0].remedy}"


class ConformanceFailed(LLMOrchError, AssertionError):
    """A provider breaks rules of the suite; the text has each with what was seen and what to do.

    Attributes:
        report: What came of every rule; None of an error that was made from its message alone.
    """

    def __init__(self, message: str = "", *, report: Conformance | None = None) -> None:
        super().__init__(message or str(report or ""))
        self.report = report


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
    waived = _known(waive or {})
    chosen = tuple(backends or (name for name in ("asyncio", "trio") if importlib.util.find_spec(name)))
    suite = _Suite(factory, model, secret, echoes, at, limit_s)
    checks = tuple(suite.checked(backend, waived) for backend in chosen)
    report = Conformance(suite.name, suite.model or _MODEL, tuple(one for found in checks for one in found))
    if report.broken:
        raise ConformanceFailed(report=report)
    return report


def _known(waived: Mapping[str, str]) -> Mapping[str, str]:
    names = [rule.name for rule in _RULES]
    for name in waived:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise ValueError(f"waive names no rule {name!r}; {hint}")
    return waived


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
        found: dict[str, Checked] = {}
        for rule in _RULES:
            one = Checked(rule.name, rule.sentence, backend, "passed", remedy=rule.remedy)
            lost = next((name for name in rule.after if found[name].outcome == "broken"), None)
            if rule.name in waived:
                one = replace(one, outcome="skipped", seen=f"waived: {waived[rule.name]}")
            elif lost is not None:
                one = replace(one, outcome="skipped", seen=f"the rule {lost!r} is broken")
            else:
                one = self._checked(one, self._tried(rule, backend))
            found[rule.name] = one
        return tuple(found.values())

    def _checked(self, one: Checked, ended: BaseException | None) -> Checked:
        if ended is None:
            return one
        seen = str(ended) if isinstance(ended, Broken | Passed) else f"it ended with {name_of(ended)}"
        if self.secret:
            seen = seen.replace(self.secret, "[secret]")
        return replace(one, outcome="skipped" if isinstance(ended, Passed) else "broken", seen=seen)

    def _tried(self, rule: Rule, backend: str) -> BaseException | None:
        """What ended the check, or None when all is well."""
        try:
            provider = self.factory()
        except Exception as error:  # a factory that fails is the finding
            return Broken(f"the factory raised {name_of(error)}")
        case = Case(provider, self.model or _MODEL, self.secret, self.echoes, self.at, self.limit_s)
        for case.loop in range(1, rule.loops + 1):
            with _without_cancellation_noise(rule):
                ended = _on_a_loop(lambda: self._check(rule, case), case, backend)
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


def _on_a_loop(check: Callable[[], Coroutine[Any, Any, None]], case: Case, backend: str) -> BaseException | None:
    """Run the check on a fresh loop in a fresh thread; a provider that hangs costs the thread, not the suite."""
    ended: list[BaseException | None] = []

    def body() -> None:
        try:
            anyio.run(check, backend=backend)
        except BaseException as error:  # handed over to the caller's thread
            ended.append(_plain(error))
        else:
            ended.append(None)

    thread = threading.Thread(target=body, name="llmorch-conformance", daemon=True)
    case.asked_at = monotonic()
    thread.start()
    while thread.is_alive():
        left = case.asked_at + case.limit_s + _GRACE_S - monotonic()
        if left <= 0:
            return Broken(f"it hangs: not even cancelling it after {case.limit_s:g} s ended it")
        thread.join(left)
    return ended[0]


def _plain(error: BaseException) -> BaseException:
    """The finding within a group of errors, else the first of them."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = next((one for one in inner if isinstance(one, Broken)), inner[0])
    return error
