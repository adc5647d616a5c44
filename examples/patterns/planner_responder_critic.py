"""Planner, responder, critic: a plan is made once, and the answer is improved until it follows the plan.

What the models say is scripted here; give the payloads real models instead.
"""

from llmorch import Orchestrator, Payload
from llmorch.patterns import Verdict, planner_responder_critic
from llmorch.testing import ScriptedProvider

wf = planner_responder_critic(
    Payload("plan", "Three steps to: {{ task }}", output=list[str]),
    Payload("respond", "Do: {{ task }}\nSteps:\n{{ plan | numbered }}\n{{ feedback }}"),
    criticise=Payload("criticise", "Does it follow {{ plan | json }}?\n{{ draft }}", output=Verdict),
)

said = {
    "plan": [["boil water", "warm the pot", "steep four minutes"]],
    "draft": ["Boil water, add tea.", "Boil water, warm the pot, steep the tea for four minutes."],
    "verdict": [Verdict(approved=False, feedback="You left out the pot."), Verdict(approved=True)],
}
with Orchestrator(providers=[ScriptedProvider(said)], model="scripted:any") as orchestrator:
    run = orchestrator.run_sync(wf, task="make tea")
print(f"plan: {', '.join(run['plan'])}")
for path, step in run.steps.items():
    if path.endswith("/verdict"):
        print(f"{path}: {step.value}")
print(f"output: {run.output}")
