"""A step that asks a model."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from ...models.payload import Payload
from ..journal import Journal
from ..onion import CallPath
from ..services import Conductor, Services
from ..state.step import StepState

__all__ = ["run_payload"]


def run_payload(
    state: StepState,
    payload: Payload[Any],
    args: dict[str, Any],
    *,
    journal: Journal,
    services: Services,
    conductor: Conductor,
) -> Coroutine[Any, Any, None]:
    """Render, ask, read, and record the value together with the end of its call.

    Raises:
        LLMOrchError: There is no value.
    """
    errand = services.errands.of(payload, services)
    prompt = errand.prompt(payload, args)
    return CallPath(errand, state, journal, conductor).carry(prompt)
