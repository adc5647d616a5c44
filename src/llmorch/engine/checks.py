"""What the checks of a workflow find in a run whose steps have ended: plain functions of its state.

What a model thought of the run is read from the step that asked it, so nothing here waits or sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import assert_never

from .._json import dumps
from ..definition.checks import CHECKS
from ..errors import TemplateError
from ..events import CheckFinished
from ..models.check import AnyCheck, Assertion, Judged, RequiredFields, RequiredSteps, TimeBound
from ..models.values import Data
from ..planner.resolve import Mark
from ..templates import Expression, compile_expression
from ..templates.bounds import is_list, is_object
from .services import Ending
from .state.judging import values_of
from .state.run import RunState
from .state.step import StepState

__all__ = ["findings"]

_LONGEST = 80  # characters of a value that is shown
_MOST_SHOWN = 4  # values behind an assertion
_ABSENT = object()
Found = tuple[bool, str]


def findings(run: RunState, ending: Ending) -> list[CheckFinished]:
    """An event for each check that has none yet, in order; none of a run that was cancelled."""
    if ending == "cancelled":
        return []
    known, asking = run.checks or {}, _Asking(run, ending)
    return [CheckFinished(check.name, *asking.ask(check)) for check in run.definition.checks if check.name not in known]


class _Asking:
    """One run, and what of it is looked at more than once."""

    def __init__(self, run: RunState, ending: Ending) -> None:
        self.run = run
        self.ending = ending

    def ask(self, check: AnyCheck) -> Found:
        """Whether it passed, and why."""
        match check:
            case RequiredSteps(steps=steps):
                return self._steps(steps)
            case TimeBound(seconds=most_s, step=step):
                return self._time(most_s, step)
            case RequiredFields(fields=fields, step=step):
                return self._fields(fields, step)
            case Assertion(expression=text):
                return self._assertion(text)
            case Judged():
                return self._judgement(check)
            case _:
                assert_never(check)

    def _step(self, name: str) -> StepState | None:
        return self.run.steps.get(name)

    def _steps(self, names: Sequence[str]) -> Found:
        lacking = [
            f"{name!r} is {state.status}" if (state := self._step(name)) is not None else f"{name!r} did not run"
            for name in names
            if (state := self._step(name)) is None or state.status != "succeeded"
        ]
        return not lacking, ", ".join(lacking)

    def _time(self, most_s: float, step: str | None) -> Found:
        what, took_s = "the run", self._duration_s
        if step is not None:
            what, state = repr(step), self._step(step)
            if state is None or state.started_us is None:
                return True, f"{what} did not run"
            took_s = ((state.finished_us or state.started_us) - state.started_us) / 1e6
        return took_s <= most_s, f"{what} took {took_s:,.3f} s"

    @cached_property
    def _duration_s(self) -> float:
        """From the run's begin to the end of its last step: what is thought of it afterwards takes none of its time."""
        ends = [state.finished_us or 0 for state in self.run.frame.inside(self.run.steps)]
        return max(0, max(ends, default=0) - self.run.started_us) / 1e6

    def _fields(self, fields: Sequence[str], step: str | None) -> Found:
        what = "the output" if step is None else repr(step)
        value = self._output if step is None else self._results.get(step, _ABSENT)
        if value is _ABSENT:
            return False, f"{what} has no value"
        empty = [field for field in fields if not _has_content(_part(value, field))]
        return not empty, f"{what} has no {', '.join(map(repr, empty))}" if empty else ""

    @cached_property
    def _results(self) -> dict[str, Data]:
        return values_of(self.run.frame)

    @cached_property
    def _output(self) -> object:
        """The output as data, None when it was skipped; absent when there is none because the run failed."""
        if self.ending == "failed":
            return _ABSENT
        value = self.run.frame.result()
        return None if isinstance(value, Mark) else value

    @cached_property
    def _names(self) -> dict[str, Data]:
        """What an assertion may read."""
        states = list(self.run.frame.inside(self.run.steps))
        ended = [state for state in states if state.status in ("succeeded", "failed")]
        ended.sort(key=lambda state: state.ended)
        names: dict[str, Data] = {
            "results": self._results,
            "execution_order": [state.path for state in ended],
            "inputs": dict(self.run.inputs),
            "status": self.ending,
            "duration": self._duration_s,
        }
        if self._output is not _ABSENT:
            names["output"] = self._output
        return names

    def _assertion(self, text: str) -> Found:
        try:
            expression = compile_expression(text)
            if "output" in expression.names and "output" not in self._names:
                return False, "the run has no output, because it failed"
            passed = bool(expression.evaluate(self._names))
        except TemplateError as error:
            return False, error.message
        return passed, "" if passed else self._behind(expression)

    def _behind(self, expression: Expression) -> str:
        """The values that made an expression false, as far as they are few and short."""
        shown: list[str] = []
        for path in sorted(expression.paths, key=str):
            value: object = self._names
            for part in path:
                value = _item(value, part)
            if value is not _ABSENT:
                spot = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in path)
                shown.append(f"{spot[1:]} is {_short(value)}")
        return "it is false" + (f": {', '.join(shown[:_MOST_SHOWN])}" if shown else "")

    def _judgement(self, check: Judged) -> Found:
        state = self.run.steps.get(CHECKS + check.name)
        if self.ending == "failed":
            return False, "not asked, because the run failed"
        if state is None or state.status in ("pending", "running", "cancelled"):
            return False, "the time of the run was up before the model had answered"
        if state.status == "succeeded" and is_object(state.value):
            return bool(state.value["passed"]), str(state.value["reason"])
        if state.error is not None:
            text = state.error.text.removeprefix(f"Step {state.path!r}: ")
            return False, f"{state.error.type}: {text}"
        return False, f"not asked: {state.reason}"


def _part(value: object, path: str) -> object:
    for part in path.split("."):
        value = _item(value, int(part) if is_list(value) and part.isdecimal() else part)
    return value


def _item(value: object, part: str | int) -> object:
    if is_object(value):
        return value.get(str(part), _ABSENT)
    if is_list(value) and isinstance(part, int) and -len(value) <= part < len(value):
        return value[part]
    return _ABSENT


def _has_content(value: object) -> bool:
    if value is _ABSENT or value is None:
        return False
    return bool(value.strip()) if isinstance(value, str) else True


def _short(value: object) -> str:
    text = dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
