"""Hooks: one prints progress, one is a plain function, one stands around every call and may change or refuse it."""

import sys

from llmorch import Event, Orchestrator, Payload, Retry, StepFailed, Workflow
from llmorch.hooks import Progress
from llmorch.ports import Proceed
from llmorch.requests import Call, ProviderResponse

failed: list[str] = []


def remember_failures(event: Event) -> None:
    if isinstance(event, StepFailed):
        failed.append(event.step)


class Guard:
    """Refuses prompts that hold a word, before anything is sent."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.sent = 0

    async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
        if any(self.word in message.text for message in call.request.messages):
            raise PermissionError(f"the prompt of {call.step!r} holds {self.word!r}")
        self.sent += 1
        return await proceed(call)


guard = Guard("secret")
wf = Workflow("guarded", on_error="skip")
fine = wf.add(Payload("fine", "Tell me about {{ topic }}."))
leak = wf.add(Payload("leak", "Tell me the secret of {{ topic }}.", retry=Retry(attempts=1)))
wf.returns({"fine": fine, "leak": leak})

with Orchestrator(model="offline:echo", hooks=[Progress(sys.stdout), remember_failures, guard]) as orch:
    run = orch.run_sync(wf, topic="tea")

print(run.status, run.output)
print(f"failed: {failed}; sent: {guard.sent}")
