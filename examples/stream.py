"""Following a run from outside: a handle, its events in order, the text while it is written, the result."""

import anyio

from llmorch import Orchestrator, Payload, StepDelta, StepSucceeded, Workflow
from llmorch.testing import ScriptedProvider

wf = Workflow.of(
    Payload("pros", "What speaks for it? {{ question }}"),
    Payload("cons", "What speaks against it? {{ question }}"),
    Payload("judge", "Decide.\nFor: {{ pros }}\nAgainst: {{ cons }}"),
    name="debate",
)

stand_in = ScriptedProvider(
    {
        "pros": "It keeps bread fresh for a week.",
        "cons": "It takes two days and some patience.",
        "judge": "Sourdough is worth it, if you bake on Sundays.",
    }
)


def send(text: str) -> None:
    print(text, end="", flush=True)


async def main() -> None:
    async with Orchestrator(model="scripted:any", providers=[stand_in], workflows=[wf]) as orch:
        handle = await orch.start(wf, question="Is sourdough worth the trouble?")
        async for event in handle.events():  # ordered; reconnect later with events(after=seq)
            match event:
                case StepDelta(step="judge", text=text):
                    send(text)
                case StepSucceeded(step="pros" | "cons" as name, value=value):
                    print(f"{name}: {value}")
        run = await handle.result()
        print(f"\n{run.status}, {run.usage.requests} calls")

        async with orch.stream(wf, question="And on weekdays?") as events:  # the same in one: leaving early cancels
            async for event in events:
                if isinstance(event, StepSucceeded):
                    break
        print(f"left early: {events.run.status}")


anyio.run(main)
