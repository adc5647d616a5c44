"""A panel of models answers, the first three count, each claim is checked, and a judge decides.

The offline provider plays all the parts; it is no language model.
"""

from pydantic import BaseModel

from llmorch import Payload, Workflow, each, first_n, optional


class Answer(BaseModel):
    answer: str
    claims: list[str]


answer = Payload("answer", "Answer from these notes: {{ question }}\n\n{{ notes }}", output=Answer)
check = Payload("check", "Summarize in one sentence what speaks for this claim:\n\n{{ claim }}", model="offline:auto")
judge = Payload(
    "judge",
    "Combine these answers into two sentences:\n\n"
    "{% for one in answers %}- {{ one.answer }}\n{% endfor %}\n"
    "{{ checks | bullets }}",
    model="offline:auto",
)

panel = ["offline:auto", "offline:summary", "offline:keywords", "offline:absent"]  # the last one does not exist
wf = Workflow("panel")
votes = [
    wf.add(answer.using(model=m, name=f"vote-{i}"), on_error="skip") for i, m in enumerate(panel)
]  # static fan-out
checks = wf.map(check, claim=each(votes[0]["claims"]), concurrency=8, on_error="skip")  # dynamic fan-out
wf.returns(wf.add(judge, answers=first_n(votes, 3), checks=optional(checks, default=[])))  # quorum: 3 of 4

NOTES = """\
Granite towers outlast wooden ones on exposed rocks. A wooden tower on the Eddystone burned down in 1755. A stone tower
with dovetailed blocks replaced it and stood for more than a century. The sea wore away the reef below it rather than
the stone. Builders everywhere took over the shape with a broad foot.
"""

run = wf.run_sync(question="What should a tower on a rock be made of?", notes=NOTES)
for path, result in run.steps.items():
    print(f"{result.status:10} {path}")
for path, error in run.failures.items():
    print(f"{path} failed: {error}")
print(f"\n{run.status}\n{run.output}")
