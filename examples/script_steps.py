"""Scripts as steps: found by name in a folder, in two languages, beside one that comes with llmorch."""

from __future__ import annotations

from pathlib import Path

from llmorch import Orchestrator, Script, Workflow

wf = Workflow("loud")
text = wf.input("text", str)
counted = wf.add(Script("count_words", parameters={"least": 3}), input=text)
loud = wf.add(Script("shout"), input=counted["longest"])
found = wf.add(Script("json_extract", parameters={"fields": ["words", "year"]}), input=counted)
wf.returns({"loud": loud, "found": found["extracted"], "missing": found["missing_fields"]})

with Orchestrator(scripts=[Path(__file__).parent / "scripts"]) as orchestrator:
    run = orchestrator.run_sync(wf, text="to be or not to be, that is the question")
print(run.status, run.output)
