"""A process whose run is judged by two models, the second of which does not answer before the process is killed."""

from __future__ import annotations

import sys
from typing import Any

import anyio

from llmorch import Orchestrator, Payload, Workflow
from llmorch.checks import Judged, TimeBound
from llmorch.ports import ProviderRequest
from llmorch.testing import ScriptedProvider
from tests.durability.processes_flow import opened

LEASE_S = 2.0
GOOD = {"passed": True, "reason": "It is."}


def workflow() -> Workflow[Any]:
    """A draft that is judged twice."""
    checks = [
        Judged("It is polite.", model="scripted:m", name="polite"),
        Judged("It is kind.", model="scripted:m", name="kind"),
        TimeBound(3600),
    ]
    made: Workflow[Any] = Workflow("judged", checks=checks)
    return made.returns(made.add(Payload("draft", "Write.", model="scripted:m")))


async def main(url: str) -> None:
    """Start it, say its id, and say when only the second judge has not answered."""
    answered = anyio.Event()

    async def kind(request: ProviderRequest) -> object:
        await answered.wait()
        print("hangs", flush=True)
        await anyio.sleep(600)
        return GOOD

    provider = ScriptedProvider({"draft": "Hi.", "polite": GOOD, "kind": kind})
    async with Orchestrator(opened(url, lease_s=LEASE_S), providers=[provider]) as orchestrator:
        handle = await orchestrator.start(workflow())
        print(handle.id, flush=True)
        async for event in handle.events():
            if getattr(event, "value", None) == {"reason": "It is.", "passed": True}:
                answered.set()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
