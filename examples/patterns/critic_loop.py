"""A critic loop: a draft is written and judged until the critic is content.

What the models say is scripted here, so that the loop can be seen turning; give the payloads real models instead.
"""

from llmorch import Orchestrator, Payload
from llmorch.patterns import Verdict, critic_loop
from llmorch.testing import ScriptedProvider

wf = critic_loop(
    Payload("write", "Write a line on {{ topic }}.{% if feedback %} Mind: {{ feedback }}{% endif %}"),
    Payload("criticise", "Judge this line on {{ topic }}:\n{{ draft }}", output=Verdict),
    most_rounds=4,
)

said = {
    "draft": ["The sea is big.", "The sea is big and old.", "The sea was old before the first keel."],
    "verdict": [
        Verdict(approved=False, feedback="say something one can see"),
        Verdict(approved=False, feedback="no two adjectives"),
        Verdict(approved=True),
    ],
}
provider = ScriptedProvider(said)
with Orchestrator(providers=[provider], model="scripted:writer") as orchestrator:
    run = orchestrator.run_sync(wf, topic="the sea")
for turn in range(run.steps["refine"].iterations or 0):
    print(f"{turn}: {run[f'refine@{turn}/draft']} | {run[f'refine@{turn}/verdict'].feedback or 'approved'}")
print(f"asked last: {provider.requests_of('draft')[-1].messages[-1].text}")
print(f"output: {run.output}")
