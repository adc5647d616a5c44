"""A run that outlives its process: one process is killed in the middle of a call, another one finishes the run.

The offline provider answers. In the first process it falls silent at the last step, as a server may, so that the kill
comes while a call is in flight: that call is the only thing that is done twice.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from llmorch import Orchestrator, Payload, RunResumed, StepStarted, Workflow
from llmorch.providers.offline import Offline

TEXT = """Lighthouses warn ships of rocks. A keeper lit the lamp every evening and cleaned the lens every morning.
Today the lamps light themselves, and the keepers are gone."""


def headline(summary: str) -> str:
    return summary.split(".")[0].upper()


wf = Workflow.of(
    Payload("summary", "Summarize in two sentences:\n\n{{ article }}", model="offline:auto"),
    headline,
    Payload("post", "{{ headline }}\n\n{{ summary }}", model="offline:echo"),
    name="post",
)


class Silent(Offline):
    """Answers nothing at the step `post`."""

    async def complete(self, request, *, on_delta=None):
        if request.step == "post":
            print("in flight", flush=True)
            await anyio.sleep_forever()
        return await super().complete(request, on_delta=on_delta)


async def first(store: str) -> None:
    async with Orchestrator(store, providers=[Silent()]) as orch:
        handle = await orch.start(wf, article=TEXT)
        print(handle.id, flush=True)  # the run is in the file
        await handle.result()


async def second(store: str, run_id: str) -> None:
    async with Orchestrator(store, workflows=[wf]) as orch:  # entering takes up what was left
        handle = orch.attach(run_id)
        run = await handle.result()
        log = [event async for event in handle.events()]
    print(run.status, "|", run.output.splitlines()[0])
    (resumed,) = (event for event in log if isinstance(event, RunResumed))
    print("taken up at event", resumed.seq, "to run again:", *resumed.reset)
    for path, step in run.steps.items():
        starts = sum(isinstance(event, StepStarted) and event.step == path for event in log)
        lost = sum(call.duration is None for call in step.calls)
        print(f"{path:<9} started {starts}x, {len(step.calls)} calls, {lost} of them without an answer")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder, 'runs.db')}"
        with subprocess.Popen([sys.executable, __file__, store], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            run_id = child.stdout.readline().strip()
            print("in the first process:", child.stdout.readline().strip())
            child.kill()
        print("killed:", child.returncode)
        anyio.run(second, store, run_id)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        anyio.run(first, sys.argv[1])
    else:
        main()
