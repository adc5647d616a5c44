"""A person decides: a draft is read, a tool is allowed or not, and no process waits meanwhile."""

import asyncio
import tempfile
from pathlib import Path

from llmorch import Approval, Default, Orchestrator, Payload, Workflow, tool
from llmorch.ports import ProviderResponse, ToolCall
from llmorch.testing import ScriptedProvider


@tool(requires_approval=True)
def publish(title: str) -> str:
    """Publish the post."""
    return f"published as {title.lower().replace(' ', '-')}.html"


wf = Workflow("post")
wf.add(Payload("draft", "Write a post on {{ topic }}."))
wf.ask("review", "May this be published?\n{{ draft }}", answer=Approval)
wf.ask("teaser", "A teaser for {{ topic }}?", timeout=3600, on_error=Default("none"))
wf.returns(wf.add(Payload("post", "Publish, minding '{{ review.note }}':\n{{ draft }}", tools=[publish])))

# The provider stands in for a vendor's model.
WANTS = ProviderResponse("", (ToolCall("1", "publish", '{"title": "Bees Dance"}'),), finish_reason="tool_calls")
SCRIPT = {"draft": "Bees dance to tell where flowers are.", "post": [WANTS, "The post is out."]}


def office(store: str) -> Orchestrator:
    return Orchestrator(store, model="scripted:m", providers=[ScriptedProvider(SCRIPT)], workflows=[wf])


async def main(store: str) -> None:
    async with office(store) as orchestrator:  # a process that begins the run, and ends
        run = await orchestrator.run(wf, topic="bees")
        print(run.status, [question.step for question in run.questions])

    async with Orchestrator(store, recover=False) as orchestrator:  # one without the code, such as a web page's
        (found,) = await orchestrator.runs(status="waiting")
        await orchestrator.answer(found.id, "teaser", "How do bees talk?", by="Ben")
        await orchestrator.answer(found.id, "review", Approval(approved=True, note="shorter"), by="Ada")

    async with office(store) as orchestrator:  # one that has the code goes on
        handle = orchestrator.attach(found.id)
        run = await handle.result()
        print(run.status, run["review"].note, "|", run["teaser"])
        (question,) = run.questions
        print(question.question)
        await handle.answer(question.step, True)
        run = await handle.result()
        print(run.status, run.output)
        print(run.steps["post"].calls[0].tools[0].result)


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(f"sqlite:///{Path(folder)}/runs.db"))
