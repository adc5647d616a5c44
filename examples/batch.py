"""One workflow over many rows, a few at a time; runs come back as they end, each with the index of its row."""

import anyio

from llmorch import Orchestrator, Payload, Workflow

wf = Workflow.of(
    Payload("tags", "Name two keywords of this review:\n\n{{ review }}"),
    Payload("line", "{{ product }}: {{ tags }}", model="offline:echo"),
    name="tag-review",
)

rows = [
    {"product": "kettle", "review": "The kettle boils fast. The handle of the kettle stays cool while it boils."},
    {"product": "lamp", "review": "The lamp flickers. After a week the lamp flickers so much that I returned it."},
    {"product": "chair", "review": "A comfortable chair. The legs of the chair scratch the floor, the chair wobbles."},
]


async def main() -> None:
    async with Orchestrator(model="offline:auto") as orch:
        found: dict[int, str] = {}
        async for index, run in orch.batch(wf, rows, concurrency=2):
            found[index] = run.output if run.error is None else f"failed: {run.error}"
        for index in sorted(found):
            print(index, found[index])


anyio.run(main)
