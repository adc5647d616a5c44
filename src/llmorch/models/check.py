"""Assertions over a finished run, as values that a workflow carries: what is asked, and under which name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Final, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from .._clock import seconds as in_seconds
from .base import Value, positional

__all__ = [
    "AnyCheck",
    "Assertion",
    "Check",
    "Judged",
    "Judgement",
    "RequiredFields",
    "RequiredSteps",
    "TimeBound",
    "as_checks",
    "own_name_of",
]

_LONGEST: Final = 100  # characters of a name that is made of what a check says
_LONGEST_GIVEN: Final = 200


def _one_line(name: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError("is one line of text")
    return _not_blank(name)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must say something")
    return text


def _dotted(path: str) -> str:
    if not all(part.strip() for part in path.split(".")):
        raise ValueError("is a field, or fields with single dots between, such as 'author.name'")
    return path


_Text = Annotated[str, AfterValidator(_not_blank)]
_FieldPath = Annotated[str, AfterValidator(_dotted)]


class Check(Value):
    """What all checks have: the name their result is found by in `Run.checks`.

    Example:
        >>> from llmorch.checks import TimeBound
        >>> isinstance(TimeBound(60), Check)
        True
    """

    name: Annotated[str, AfterValidator(_one_line)] = Field(max_length=_LONGEST_GIVEN)


class RequiredSteps(Check):
    """Each of these steps succeeded; one that was skipped, or took its default after a failure, did not.

    Args:
        steps: Names of steps of the workflow itself.
        name: Default: `required steps: ` and their names.

    Example:
        >>> RequiredSteps("facts", "post").name
        'required steps: facts, post'
    """

    steps: tuple[_Text, ...] = Field(min_length=1, strict=False)

    @positional
    def __init__(self, *steps: str, name: str | None = None) -> None:
        self._fill(steps=steps, name=_named(name, f"required steps: {', '.join(map(str, steps))}"))


class TimeBound(Check):
    """The run took no longer than this, from its begin to the end of its last step; or one step did.

    Args:
        seconds: The most it may take, in seconds or as a timedelta.
        step: The step that is meant; unset, the whole run. One that did not run took no time.
        name: Default: `at most 60 s`, with the step before it.

    Example:
        >>> TimeBound(60).name, TimeBound(2.5, "post").name
        ('at most 60 s', 'post: at most 2.5 s')
    """

    seconds: Annotated[float, BeforeValidator(in_seconds)] = Field(gt=0, allow_inf_nan=False)
    step: _Text | None = None

    @positional
    def __init__(self, seconds: float | timedelta, step: str | None = None, *, name: str | None = None) -> None:
        own = f"{'' if step is None else f'{step}: '}at most {_seconds(seconds)} s"
        self._fill(seconds=seconds, step=step, name=_named(name, own))


class RequiredFields(Check):
    """The output, or a step's value, has each of these fields with something in it: not null, and no blank text.

    Args:
        fields: Names of fields; dots lead into objects, and numbers into lists, such as `authors.0.name`.
        step: The step whose value is meant; unset, the run's output.
        name: Default: `required fields: ` and their names.

    Example:
        >>> RequiredFields("title", "author.name").name
        'required fields: title, author.name'
    """

    fields: tuple[_FieldPath, ...] = Field(min_length=1, strict=False)
    step: _Text | None = None

    @positional
    def __init__(self, *fields: str, step: str | None = None, name: str | None = None) -> None:
        own = f"required fields{'' if step is None else f' of {step}'}: {', '.join(map(str, fields))}"
        self._fill(fields=fields, step=step, name=_named(name, own))


class Assertion(Check):
    """An expression is true of the run, in the language of `when`.

    Args:
        expression: Over `results` (step name -> value), `execution_order` (names of steps in the order in which they
            ended), `output`, `inputs`, `status` and `duration` (seconds).
        name: Default: the expression.

    Example:
        >>> Assertion("results.facts.claims | length >= 3").name
        'results.facts.claims | length >= 3'
    """

    expression: _Text

    @positional
    def __init__(self, expression: str, *, name: str | None = None) -> None:
        self._fill(expression=expression, name=_named(name, expression))


class Judged(Check):
    """A model is asked whether the output meets a criterion: one call, recorded and paid for like those of steps.

    Args:
        criterion: What the output must be; a template over `output`, `inputs` and `results` (step name -> value).
        model: Who judges; unset, the orchestrator's default model.
        name: Default: the criterion.

    Example:
        >>> Judged("The post names its sources.", model="openai:gpt-5-mini").name
        'The post names its sources.'
    """

    criterion: _Text
    model: str | None = Field(default=None, min_length=1)

    @positional
    def __init__(self, criterion: str, *, model: str | None = None, name: str | None = None) -> None:
        self._fill(criterion=criterion, model=model, name=_named(name, criterion))


AnyCheck: TypeAlias = RequiredSteps | TimeBound | RequiredFields | Assertion | Judged


class Judgement(BaseModel):
    """What a judging model answers; the reason first, because a model decides better after it has said why.

    Example:
        >>> Judgement(reason="It names two.", passed=True).passed
        True
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    passed: bool


def as_checks(given: Iterable[AnyCheck]) -> tuple[AnyCheck, ...]:
    """The checks of a workflow.

    Raises:
        TypeError: It is no sequence of checks.
    """
    found = tuple(given) if isinstance(given, Iterable) and not isinstance(given, BaseModel) else None
    if found is None:
        raise TypeError(f"checks= takes several: write [{given!r}]")
    for check in cast("tuple[object, ...]", found):
        if not isinstance(check, AnyCheck):
            raise TypeError(
                f"checks= takes RequiredSteps, TimeBound, RequiredFields, Assertion and Judged of llmorch.checks, not "
                f"{type(check).__name__}"
            )
    return found


def own_name_of(check: AnyCheck) -> str:
    """The name it has when none is given."""
    match check:
        case RequiredSteps():
            return RequiredSteps(*check.steps).name
        case TimeBound():
            return TimeBound(check.seconds, check.step).name
        case RequiredFields():
            return RequiredFields(*check.fields, step=check.step).name
        case Assertion():
            return Assertion(check.expression).name
        case Judged():
            return Judged(check.criterion).name


def _named(given: str | None, own: str) -> str:
    """The name that was given, else one line of what the check says."""
    if given is not None:
        return given
    line = " ".join(str(own).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _seconds(span: float | timedelta) -> object:
    found: object = in_seconds(span)
    return f"{found:g}" if isinstance(found, int | float) else found
