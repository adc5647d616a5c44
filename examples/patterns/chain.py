"""A chain: keywords, then a title, each made of what came before.

The offline provider plays the model; it is no language model.
"""

from llmorch import Payload
from llmorch.patterns import chain

wf = chain(
    Payload("summary", "Summarize in two sentences:\n\n{{ text }}", model="offline:auto"),
    Payload("keywords", "List keywords of:\n\n{{ text }}", model="offline:keywords"),
    Payload("title", "About {{ text }}", model="offline:echo"),
    name="title-of",
)

TEXT = """\
Lighthouses were lit by wood and coal before oil lamps came. Oil lamps burned steadily and needed a keeper who trimmed
the wick. The lens of Fresnel gathered the light of a lamp into a beam. With it a lamp was seen twenty miles away.
"""

run = wf.run_sync(text=TEXT)
for path in run.steps:
    print(f"{path}: {run[path]}")
