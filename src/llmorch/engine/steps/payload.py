"""A step that asks a model."""

from __future__ import annotations

from typing import Any

from ...events import StepSucceeded
from ...models.payload import Payload
from ..journal import Journal
from ..onion import CallPath
from ..services import Services
from ..state.step import StepState
from .output import output_spec

__all__ = ["run_payload"]


async def run_payload(
    state: StepState, payload: Payload[Any], args: dict[str, Any], *, journal: Journal, services: Services
) -> None:
    """Render, ask, read, and record the value together with the end of its call.

    Raises:
        LLMOrchError: There is no value.
    """
    messages = payload.render_data(args)
    path = CallPath(payload, output_spec(payload), state, journal=journal, services=services)
    reply = await path.reply(messages)
    journal.append(StepSucceeded(state.path, reply.value))
