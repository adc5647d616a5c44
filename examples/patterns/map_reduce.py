"""Map-reduce: a document is split, its parts are read at once, and the findings are put together.

The offline provider plays the model; it is no language model.
"""

from pathlib import Path

from llmorch import Payload
from llmorch.patterns import map_reduce

wf = map_reduce(
    Payload("read", "Summarize in one sentence:\n\n{{ part }}", model="offline:auto"),
    Payload("combine", "What the parts say:\n{{ findings | bullets }}", model="offline:echo"),
    most_characters=1500,
)

document = Path(__file__).parents[1].joinpath("data/lighthouses.md").read_text(encoding="utf-8")
run = wf.run_sync(document=document)
print(f"{len(document)} characters in {len(run['split'])} parts")
print(run.output)
