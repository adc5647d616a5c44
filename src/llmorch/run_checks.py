"""What was found when the checks of a workflow were asked about a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .definition.checks import CHECKS
from .engine.state.judging import fill
from .engine.state.run import RunState
from .step_result import StepResult, step_result

__all__ = ["CheckResult", "CheckResults"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        passed: Whether the run is as the check wants it.
        detail: What was found, in words; for a judged check the model's reason. Often empty for a check that passed.
        asked: For a judged check the call that was made, with its prompt, usage and cost; else None.

    Example:
        >>> CheckResult("at most 60 s", passed=False, detail="the run took 61 s").passed
        False
    """

    name: str
    passed: bool
    detail: str = ""
    asked: StepResult | None = None


class CheckResults(Mapping[str, CheckResult]):
    """The results of a run's checks by name, in the order in which the workflow has them; empty until it has ended.

    Example:
        >>> from llmorch.checks import Assertion
        >>> hi = Workflow("greet", checks=[Assertion("output != ''", name="says something")])
        >>> node = hi.add(Payload("hi", "Say hi.", model="offline:echo"))
        >>> run = hi.run_sync()
        >>> run.checks.passed, run.checks["says something"].passed
        (True, True)
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    @property
    def passed(self) -> bool:
        """Every check of the workflow was asked and passed; also when it has none."""
        found = self._state.checks or {}
        return all(check.name in found and found[check.name].passed for check in self._state.definition.checks)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Those that did not pass."""
        return tuple(result for result in self.values() if not result.passed)

    def __getitem__(self, name: str) -> CheckResult:
        found = (self._state.checks or {})[name]
        return CheckResult(name, found.passed, found.detail, self._asked(name))

    def _asked(self, name: str) -> StepResult | None:
        state = self._state
        step = state.steps.get(CHECKS + name)
        if step is None or state.judges is None or step.status == "pending":
            return None
        fill(state, state.judges)
        return step_result(step, step.path, run=state, frame=state.judges)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.checks or ())

    def __len__(self) -> int:
        return len(self._state.checks or ())

    def __repr__(self) -> str:
        return f"CheckResults({', '.join(f'{name!r}: {found.passed}' for name, found in self.items())})"
