"""Assertions over a finished run, for `Workflow(checks=[...])`, and what `Run.checks` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import attach

if TYPE_CHECKING:
    from .models.check import Assertion, Check, Judged, RequiredFields, RequiredSteps, TimeBound
    from .run_checks import CheckResult, CheckResults

__all__ = [
    "Assertion",
    "Check",
    "CheckResult",
    "CheckResults",
    "Judged",
    "RequiredFields",
    "RequiredSteps",
    "TimeBound",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Assertion": "llmorch.models.check",
        "Check": "llmorch.models.check",
        "CheckResult": "llmorch.run_checks",
        "CheckResults": "llmorch.run_checks",
        "Judged": "llmorch.models.check",
        "RequiredFields": "llmorch.models.check",
        "RequiredSteps": "llmorch.models.check",
        "TimeBound": "llmorch.models.check",
    },
)
