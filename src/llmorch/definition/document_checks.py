"""The checks of a workflow as they stand in documents and in stored definitions.

```yaml
checks:
  - required_steps: [facts, post]
  - {time_bound: 5, step: post}
  - required_fields: [title, author.name]
  - {assertion: results.facts.claims | length >= 3, name: enough claims}
  - {judged: The post names its sources., model: "openai:gpt-5-mini"}
```
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, assert_never

from pydantic import ValidationError

from ..models.check import (
    AnyCheck,
    Assertion,
    Judged,
    RequiredFields,
    RequiredSteps,
    TimeBound,
    own_name_of,
)
from ..models.values import Data
from .document_read import Reader

__all__ = ["checks_from", "checks_to"]

_KINDS: Final[dict[str, tuple[type[AnyCheck], str, tuple[str, ...]]]] = {  # key -> class, its field, other fields
    "required_steps": (RequiredSteps, "steps", ()),
    "time_bound": (TimeBound, "seconds", ("step",)),
    "required_fields": (RequiredFields, "fields", ("step",)),
    "assertion": (Assertion, "expression", ()),
    "judged": (Judged, "criterion", ("model",)),
}


def checks_to(checks: Iterable[AnyCheck]) -> list[Data]:
    """The checks as plain data; a name that is made of what the check says is left out."""
    return [_check_to(check) for check in checks]


def _check_to(check: AnyCheck) -> dict[str, Data]:
    written: dict[str, Data]
    match check:
        case RequiredSteps(steps=steps):
            written = {"required_steps": list(steps)}
        case TimeBound(seconds=seconds, step=step):
            written = {"time_bound": seconds, **({} if step is None else {"step": step})}
        case RequiredFields(fields=fields, step=step):
            written = {"required_fields": list(fields), **({} if step is None else {"step": step})}
        case Assertion(expression=expression):
            written = {"assertion": expression}
        case Judged(criterion=criterion, model=model):
            written = {"judged": criterion, **({} if model is None else {"model": model})}
        case _:
            assert_never(check)
    if check.name != own_name_of(check):
        written["name"] = check.name
    return written


def checks_from(reader: Reader, given: Data, at: str) -> tuple[AnyCheck, ...]:
    """The checks that stand there; what is none becomes a fault."""
    found = (_check_from(reader, item, f"{at}[{index}]") for index, item in enumerate(reader.sequence(given, at)))
    return tuple(check for check in found if check is not None)


def _check_from(reader: Reader, given: Data, at: str) -> AnyCheck | None:
    kinds = [key for key in _KINDS if isinstance(given, dict) and key in given]
    if isinstance(given, dict) and len(kinds) != 1:
        reader.fault(at, f"a check has exactly one of {', '.join(_KINDS)}; this has {' and '.join(kinds) or 'none'}")
        return None
    kind, field, others = _KINDS[kinds[0]] if kinds else (Assertion, "", ())
    fields = reader.mapping(given, at, known=(*kinds, "name", *others))
    if fields is None or fields.keys() - {*kinds, "name", *others}:
        return None
    own: dict[str, Any] = {field if key in kinds else key: value for key, value in fields.items()}  # Any: as above
    try:
        made = kind.model_validate({"name": "?", **own})
        return made if "name" in own else made.model_copy(update={"name": own_name_of(made)})
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            reader.fault(at, f"{kinds[0] if item['loc'][0] == field else item['loc'][0]}: {item['msg']}")
        return None
