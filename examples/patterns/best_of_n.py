"""Best of n: the same question three times, and a judge who takes the best answer.

What the models say is scripted here; give the payloads real models instead.
"""

from llmorch import Orchestrator, Payload
from llmorch.patterns import Best, best_of_n
from llmorch.testing import ScriptedProvider

wf = best_of_n(
    Payload("slogan", "A slogan for {{ product }}.", temperature=1),
    Payload(
        "judge", "Which is best?\n{% for one in candidates %}{{ loop.index0 }}: {{ one }}\n{% endfor %}", output=Best
    ),
    n=3,
)

said = {
    "slogan-0": "Boots for walking.",
    "slogan-1": "Walk further.",
    "slogan-2": "The best boots there are.",
    "judge": Best(index=1, reason="it is short and promises something"),
}
with Orchestrator(providers=[ScriptedProvider(said)], model="scripted:any") as orchestrator:
    run = orchestrator.run_sync(wf, product="walking boots")
print(f"candidates: {[run[f'slogan-{index}'] for index in range(3)]}")
print(f"best: {run.output} ({run['judge'].reason})")
