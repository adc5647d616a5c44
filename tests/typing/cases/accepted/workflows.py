"""A workflow keeps the types of its steps and its output."""

from pathlib import Path
from typing import Any, assert_type

from pydantic import BaseModel

from llmorch import (
    Block,
    Default,
    Node,
    Orchestrator,
    Payload,
    Ref,
    Run,
    RunContext,
    RunHandle,
    Workflow,
    each,
    first_n,
    first_of,
    optional,
    step,
)
from llmorch.items import Items


class Facts(BaseModel):
    title: str
    claims: list[str]


async def count(claims: list[str]) -> int:
    return len(claims)


def shout(text: str, ctx: RunContext) -> str:
    return text.upper()


@step(version="1", pure=True)
def measure(text: str) -> float:
    return len(text) / 2


extract = Payload("extract", "List the claims made in:\n{{ article }}", output=Facts)
check = Payload("check", "Is this true? {{ claim }}", output=bool)
draft = Payload("draft", "Write a post titled {{ title }} from:\n{{ claims | bullets }}")

wf = Workflow("article-to-post", on_error="skip")
wf.input("audience", str, default="engineers")
facts = wf.add(extract)
assert_type(facts, Node[Facts])
assert_type(facts.name, str)
assert_type(facts["claims"], Ref[Any])
assert_type(facts.pick(lambda f: f.claims), Ref[list[str]])

counted = wf.add(count, claims=facts["claims"])
assert_type(counted, Node[int])
assert_type(wf.add(shout, text="hello", name="loud"), Node[str])
assert_type(wf.add(measure, text="hello"), Node[float])
checks = wf.map(check, claim=each(facts["claims"]), concurrency=8, on_error="skip")
assert_type(checks, Node[list[bool]])
assert_type(wf.map(count, claims=each([["a"], ["b"]]), name="counts", on_error=Default(None)), Node[list[int]])

post = wf.add(
    draft,
    title=facts.pick(lambda f: f.title),
    claims=optional(facts["claims"], default=[]),
    after=[counted],
    when="facts.title",
    timeout=30,
    bind={"name": "x"},
)
assert_type(post, Node[str])

either = Workflow("either")
one, two = either.add(draft, name="one"), either.add(draft, name="two")
either.add(shout, text=first_of(one, two), name="a")
either.add(count, claims=first_n([one, two], 1), name="b")

done = wf.returns(post)
assert_type(done, Workflow[str])
assert_type(Workflow("w").returns(counted), Workflow[int])

wide: Node[object] = post
nested = Workflow("outer")
assert_type(nested.add(done, name="inner"), Node[str])
anything: Workflow[Any] = Workflow.of(extract, draft, name="talk")


async def run() -> None:
    result = await done.run(article="text")
    assert_type(result, Run[str])
    assert_type(result.output, str)
    assert_type(result[facts], Facts)
    assert_type(result[facts].claims, list[str])
    async with Orchestrator(model="offline:echo") as orchestrator:
        assert_type((await orchestrator.run(done, article="text")).output, str)
        handle = await orchestrator.start(done, {"article": "text"}, idempotency_key="k")
        assert_type(handle, RunHandle[str])
        assert_type((await handle.result()).output, str)
        async for place, checked in handle.items(checks):
            assert_type(place, int)
            assert_type(checked, bool)
        assert_type(handle.items("checks"), Items[Any])
        async with orchestrator.stream(done, article="text") as events:
            assert_type(events.items(checks), Items[bool])
        assert_type((await orchestrator.run(extract, article="text")).output, Facts)
        async for index, each_run in orchestrator.batch(done, [{"article": "a"}]):
            assert_type(index, int)
            assert_type(each_run, Run[str])


assert_type(done.run_sync(article="text").output, str)
print(done.plan(article="text"))

# Documents and files
assert_type(done.to_dict(), dict[str, Any])
assert_type(done.to_yaml(), str)
done.save("post.yaml")
done.save(Path("post.json"))
read = Workflow.load(Path("post.yaml"), code=[Facts, count, shout, measure])
assert_type(read, Workflow[Any])
assert_type(Workflow.load("post.yaml", code={"app.models:Facts": Facts}, max_steps=10), Workflow[Any])
assert_type(Workflow.from_yaml(done.to_yaml(), code=(count,)), Workflow[Any])
assert_type(Workflow.from_dict(done.to_dict()), Workflow[Any])
assert_type(nested.add(read, name="read"), Node[Any])
assert_type(done.replace("post", draft), Workflow[str])
assert_type(done.with_block(Block("b", "x")), Workflow[str])
