"""A journal of a run that has just begun, and events for it."""

from __future__ import annotations

from llmorch import Payload, Workflow
from llmorch.engine.journal import Journal
from llmorch.engine.state.run import RunState
from llmorch.events import RunStarted, Warned
from llmorch.ports import Claim, RunRow
from llmorch.stores.memory import MemoryStore

__all__ = ["journal_on", "note"]


async def journal_on(store: MemoryStore) -> Journal:
    state = RunState(Workflow.of(Payload("p", "x"), name="w").freeze())
    started = RunStarted("w", run_id="r", seq=1)
    state.apply(started)
    await store.create(RunRow("r", "w", "running", 1, "here", 1, 0), [started], definition=None)
    return Journal(store, Claim("r", 1, 1), state)


def note(text: str = "x") -> Warned:
    return Warned(None, "truncated", text)
