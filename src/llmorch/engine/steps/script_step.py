"""A step that runs a script; of one that is declared pure, a result may come from the response cache."""

from __future__ import annotations

from collections.abc import Mapping

from ..._json import dumps, loads
from ...definition.fingerprint import script_fingerprint
from ...events import StepSucceeded
from ...models.script import Script
from ...models.values import Data
from ...policies.cache import keep, key_of, recall
from ...ports import ProviderResponse
from ...scripts.identity import script_fingerprint_parts
from ..journal import Journal
from ..services import Services
from ..state.step import StepState
from .script import run_script

__all__ = ["run_script_step"]


async def run_script_step(
    state: StepState, script: Script, args: Mapping[str, Data], *, journal: Journal, services: Services
) -> None:
    """Run it, or recall what it gave to the same input, and record the value.

    Raises:
        StepError: It is not there, or fails.
        TimedOut: It took longer than its timeout.
    """
    cache = services.cache if script.pure and services.cache_all else None
    key = ""
    if cache is not None:
        key = key_of(script_fingerprint(script_fingerprint_parts(script, services.scripts), args), 0)
        known = await recall(cache, key)
        if known is not None:
            journal.append(StepSucceeded(state.path, loads(known.text), cached=True))
            return
    value = await run_script(script, args, path=state.path, roots=services.scripts)
    if cache is not None:
        kept = ProviderResponse(dumps(value), finish_reason="stop", model="script")
        await keep(cache, key, response=kept, ttl_s=services.cache_ttl_s)
    journal.append(StepSucceeded(state.path, value))
