"""Two payloads and a function, wired by their names; the offline provider answers, which is no language model."""

from llmorch import Payload, Workflow, configure

configure(model="offline:auto")  # or "openai:gpt-5-mini", with OPENAI_API_KEY set

ARTICLE = """\
Bees tell each other where flowers are. A bee that has found a good field comes home and dances on the comb. The angle
of the dance shows the direction of the field from the sun. The length of the dance shows how far away the field is.
Other bees follow the dancer in the dark hive and feel her movements. Then they fly out and find a field that they have
never seen.
"""


def card(summary: str, keywords: str) -> str:
    return f"{keywords.upper()}\n{summary}"


wf = Workflow.of(
    Payload("summary", "Summarize in one sentence:\n\n{{ article }}"),
    Payload("keywords", "Name three keywords of this text:\n\n{{ article }}"),
    card,  # its parameters name the steps whose values it takes
    name="library-card",
)

print(wf.plan(article=ARTICLE))
run = wf.run_sync(article=ARTICLE)
print()
print(run.output)
print()
print(f"{run.status}: {run.usage.requests} calls, {run.usage.total_tokens} tokens, ${run.cost}")
