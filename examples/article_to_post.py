"""An article becomes a post: typed facts from one vendor's model, the text from another's.

Scripted stand-ins take the vendors' places here, so that no key is needed and the answers are known. Without the call
of `configure` the same program asks the vendors themselves, once their keys are set.
"""

from pydantic import BaseModel

from llmorch import Block, Payload, Workflow, configure
from llmorch.testing import ScriptedProvider


class Facts(BaseModel):
    title: str
    claims: list[str]


configure(
    providers=[
        ScriptedProvider(
            {
                "extract": Facts(
                    title="Bees dance", claims=["Bees dance on the comb.", "The angle shows the direction."]
                )
            },
            name="openai",
        ),
        ScriptedProvider({"draft": "Bees dance. The angle says where, the length says how far."}, name="anthropic"),
    ]
)

voice = Block("voice", "You write in {{ style }} style for {{ audience }}.", role="system")
extract = Payload("extract", "List the claims made in:\n{{ article }}", model="openai:gpt-5-mini", output=Facts)
draft = Payload(
    "draft",
    voice,
    "Write a post titled {{ title }} from:\n{{ claims | bullets }}",
    model="anthropic:claude-sonnet-4-5",
    fallback=["openai:gpt-5.2"],
    timeout=60,
)

wf = Workflow("article-to-post")
wf.input("audience", str, default="engineers")
facts = wf.add(extract)  # {{ article }} names nothing known: it becomes an input of the workflow
post = wf.add(draft, title=facts["title"], claims=facts["claims"], style="plain")

text = "Bees dance on the comb. The angle of the dance shows the direction of the field from the sun."
print(wf.plan(article=text))  # order, calls, tokens, US dollars, critical path; nothing is sent
run = wf.run_sync(article=text)
print()
for message in run.steps["draft"].response.messages:
    print(f"[{message.role}] {message.text}")
print()
print(run.output)
print(run[facts].title, run.cost, run.usage)
