"""What the conformance suites share: rules, what came of them, the report, and a fresh loop for each rule."""

from __future__ import annotations

import difflib
import importlib.util
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Generic, Literal, NoReturn, Self, TypeVar, cast

import anyio

from .._clock import monotonic
from ..errors import LLMOrchError

__all__ = [
    "Broken",
    "Checked",
    "ConformanceFailed",
    "Passed",
    "Report",
    "SuiteRule",
    "broken",
    "checked",
    "installed_backends",
    "known",
    "name_of",
    "on_a_loop",
    "skipped",
]

C = TypeVar("C")


class Broken(Exception):
    """A rule does not hold; the text is what was seen."""


class Passed(Exception):
    """A rule cannot be asked here; the text is why."""


def broken(seen: str) -> NoReturn:
    """End a check: the rule is broken."""
    raise Broken(seen)


def skipped(reason: str) -> NoReturn:
    """End a check: the rule does not apply."""
    raise Passed(reason)


def name_of(error: BaseException) -> str:
    """Class and text of an error, on one line."""
    text = " ".join(str(error).split())
    kind = type(error)
    home = "" if kind.__module__ in ("builtins", "llmorch.errors") else f"{kind.__module__}."
    return f"{home}{kind.__qualname__}: {text}" if text else f"{home}{kind.__qualname__}"


@dataclass(frozen=True, slots=True)
class SuiteRule(Generic[C]):
    """One rule; `C` is what its check works with.

    Attributes:
        name: How reports and waivers name it.
        sentence: What holds.
        remedy: What to do when it does not.
        check: Ends quietly, or with `Broken` or `Passed`.
        after: Rules without which this one cannot be asked; None is what the suite says.
        cancels: It cancels calls.
        loops: On how many fresh loops, one after another, the same thing is checked.
    """

    name: str
    sentence: str
    remedy: str
    check: Callable[[C], Awaitable[None]]
    _: KW_ONLY
    after: tuple[str, ...] | None = None
    cancels: bool = False
    loops: int = 1


R = TypeVar("R", bound=SuiteRule[Any])  # Any: what its check works with
_GRACE_S = 5.0


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


class Report(ABC):
    """What came of a whole suite; `print` shows it.

    Attributes:
        checks: Every rule on every backend, in order.
    """

    __slots__ = ()

    checks: tuple[Checked, ...]

    def __await__(self) -> Generator[Any, Any, Self]:
        """So that `await check_...(...)` works in an async test, too; it blocks the loop like the plain call."""
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

    @property
    @abstractmethod
    def title(self) -> str:
        """What was checked."""

    def __str__(self) -> str:
        counts = f"{len(self.passed)} passed, {len(self.skipped)} skipped, {len(self.broken)} broken"
        lines = [f"  skipped {rule}: {reason}" for rule, reason in self.skipped.items()]
        return "\n".join([f"{self.title}: {counts}", *lines, *self._faults()])

    def _faults(self) -> Iterable[str]:
        for rule in self.broken:
            found = [one for one in self.checks if one.rule == rule and one.outcome == "broken"]
            yield f"  broken {rule}: {found[0].sentence}"
            for seen in dict.fromkeys(one.seen for one in found):
                where = ", ".join(one.backend for one in found if one.seen == seen)
                yield f"    seen ({where}): {seen}"
            yield f"    do: {found[0].remedy}"


class ConformanceFailed(LLMOrchError, AssertionError):
    """A provider or store breaks rules of its suite; the text has each with what was seen and what to do.

    Attributes:
        report: What came of every rule; None of an error that was made from its message alone.
    """

    def __init__(self, message: str = "", *, report: Report | None = None) -> None:
        super().__init__(message or str(report or ""))
        self.report = report


def known(waived: Mapping[str, str], names: Sequence[str]) -> Mapping[str, str]:
    """The waivers, each of which names a rule.

    Raises:
        ValueError: One does not; the text has the name that is most like it.
    """
    for name in waived:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise ValueError(f"waive names no rule {name!r}; {hint}")
    return waived


def installed_backends() -> tuple[str, ...]:
    """`asyncio`, and `trio` where it is installed."""
    return tuple(name for name in ("asyncio", "trio") if importlib.util.find_spec(name))


def checked(
    rules: Sequence[R],
    tried: Callable[[R], BaseException | None],
    *,
    backend: str,
    waived: Mapping[str, str],
    basics: tuple[str, ...],
    secret: str | None = None,
) -> tuple[Checked, ...]:
    """What came of every rule on one backend.

    Args:
        tried: Asks one rule, and gives what ended it.
        waived: Name of a rule -> why it is not asked.
        basics: Rules without which no other can be asked, unless it says so.
        secret: A text that the report must not show.
    """
    found: dict[str, Checked] = {}
    for rule in rules:
        one = Checked(rule.name, rule.sentence, backend, "passed", remedy=rule.remedy)
        needed = basics if rule.after is None else rule.after
        lost = next((name for name in needed if found[name].outcome == "broken"), None)
        if rule.name in waived:
            one = replace(one, outcome="skipped", seen=f"waived: {waived[rule.name]}")
        elif lost is not None:
            one = replace(one, outcome="skipped", seen=f"the rule {lost!r} is broken")
        else:
            one = _with_end(one, tried(rule), secret)
        found[rule.name] = one
    return tuple(found.values())


def _with_end(one: Checked, ended: BaseException | None, secret: str | None) -> Checked:
    if ended is None:
        return one
    seen = str(ended) if isinstance(ended, Broken | Passed) else f"it ended with {name_of(ended)}"
    if secret:
        seen = seen.replace(secret, "[secret]")
    return replace(one, outcome="skipped" if isinstance(ended, Passed) else "broken", seen=seen)


def on_a_loop(
    check: Callable[[], Coroutine[Any, Any, None]], backend: str, *, asked_at: Callable[[], float], limit_s: float
) -> BaseException | None:
    """What ended the check, run on a fresh loop in a fresh thread; None when all is well.

    What hangs costs the thread, not the suite.

    Args:
        asked_at: When the thing under test was last asked something, by the clock of `monotonic`.
        limit_s: Seconds it may take to answer.
    """
    ended: list[BaseException | None] = []

    def body() -> None:
        try:
            anyio.run(check, backend=backend)
        except BaseException as error:  # handed over to the caller's thread
            ended.append(_plain(error))
        else:
            ended.append(None)

    thread = threading.Thread(target=body, name="llmorch-conformance", daemon=True)
    thread.start()
    while thread.is_alive():
        left = asked_at() + limit_s + _GRACE_S - monotonic()
        if left <= 0:
            return Broken(f"it hangs: not even cancelling it after {limit_s:g} s ended it")
        thread.join(left)
    return ended[0]


def _plain(error: BaseException) -> BaseException:
    """The finding within a group of errors, else the first of them."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = next((one for one in inner if isinstance(one, Broken)), inner[0])
    return error
