"""Each marked line is a mistake that both checkers report."""

from pydantic import BaseModel

from llmorch import Node, Orchestrator, Payload, Workflow, each, first_n


class Facts(BaseModel):
    title: str


async def count(text: str) -> int:
    return len(text)


extract = Payload("extract", "List {{ article }}", output=Facts)
draft = Payload("draft", "Write {{ title }}")

wf = Workflow("w")
facts = wf.add(extract)
counted = wf.add(count, text=facts["title"])
done = wf.returns(facts)

Workflow("w", on_error="explode")  # error
Workflow("w", colour="red")  # error
wf.add(draft, on_error="explode")  # error
wf.add(draft, when=True)  # error
wf.add(draft, timeout="soon")  # error
wf.add(5)  # error
wf.add("draft")  # error
wf.map(draft, title=each(5))  # error
wf.map(draft, title=each(["a"]), concurrency="all")  # error
first_n([facts])  # error

wrong_node: Node[str] = counted  # error
wrong_list: Node[list[str]] = wf.map(count, text=each(["a"]), name="many")  # error
facts.pick(lambda f: f.claims)  # error
facts.name = "other"  # error
wrong_workflow: Workflow[int] = done  # error


async def run() -> None:
    result = await done.run(article="text")
    text: str = result.output  # error
    result[facts].claims  # error
    number: str = result[counted]  # error
    async with Orchestrator(concurrency="all") as orchestrator:  # error
        other: int = (await orchestrator.run(done, article="text")).output  # error
        await orchestrator.run(done, timeout="soon", article="text")  # error
