"""Checks over a finished run: steps, time, fields, an expression, and a criterion that a model judges."""

from pydantic import BaseModel

from llmorch import Payload, Workflow, configure
from llmorch.checks import Assertion, Judged, RequiredFields, RequiredSteps, TimeBound
from llmorch.testing import ScriptedProvider


class Reply(BaseModel):
    greeting: str
    text: str
    refund: int


ANSWER = {"greeting": "Dear Ada,", "text": "We are sorry, and refund the whole amount.", "refund": 40}
VERDICT = {"reason": "It apologizes and names the refund.", "passed": True}

# The provider stands in for a vendor's model; the judge could be another one: Judged(..., model="anthropic:...").
configure(model="scripted:m", providers=[ScriptedProvider({"reply": ANSWER, "~check/kind": VERDICT})])

wf = Workflow(
    "complaint",
    checks=[
        RequiredSteps("reply"),
        TimeBound(30),
        RequiredFields("greeting", "text"),
        Assertion("output.refund <= inputs.paid / 2", name="refund"),
        Judged("The answer to {{ inputs.complaint }} is kind and says what happens next.", name="kind"),
    ],
)
wf.input("paid", int)
wf.add(Payload("reply", "Answer this complaint of somebody who paid {{ paid }}:\n{{ complaint }}", output=Reply))

print(wf.plan(complaint="It broke after a day.", paid=40))
run = wf.run_sync(complaint="It broke after a day.", paid=40)
print()
for check in run.checks.values():
    print("passed" if check.passed else "FAILED", f"{check.name}: {check.detail}" if check.detail else check.name)
print(f"{run.status}: {run.usage.requests} calls, checks {'passed' if run.checks.passed else 'failed'}")
