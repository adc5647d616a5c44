"""A panel: several models answer at once, and one answer is made of theirs. One of the models does not exist.

The offline provider plays all of them; it is no language model.
"""

from llmorch import Payload
from llmorch.patterns import panel

ask = Payload("ask", "Answer from these notes: {{ question }}\n\n{{ notes }}")
merge = Payload("merge", "Summarize in two sentences:\n\n{{ answers | join('\n') }}", model="offline:auto")
models = ["offline:auto", "offline:summary", "offline:absent"]
wf = panel(ask, models, synthesis=merge, quorum=2)

NOTES = """\
Granite towers outlast wooden ones on exposed rocks. A wooden tower on the Eddystone burned down in 1755. A stone tower
with dovetailed blocks replaced it and stood for more than a century.
"""

run = wf.run_sync(question="What should a tower on a rock be made of?", notes=NOTES)
for index, model in enumerate(models):
    print(f"{run.steps[f'ask-{index}'].status:10} {model}")
print(f"{run.status}: {run.output}")
