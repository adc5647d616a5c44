"""A router: a message is classified, and the branch for it answers.

What the classifier says is scripted here; the branches only echo their prompt.
"""

from typing import Literal

from llmorch import Orchestrator, Payload
from llmorch.patterns import router
from llmorch.testing import ScriptedProvider

wf = router(
    Payload(
        "classify", "What is this? {{ message }}", output=Literal["bug", "praise", "other"], model="scripted:small"
    ),
    {
        "bug": Payload("ask-for-steps", "Ask for the steps that lead to: {{ message }}", model="offline:echo"),
        "praise": Payload("thank", "Thank for: {{ message }}", model="offline:echo"),
    },
    otherwise=Payload("pass-on", "Pass on to a person: {{ message }}", model="offline:echo"),
)


def kind(request: object) -> str:
    """Stands for a model."""
    text = str(request)
    return "bug" if "crash" in text else "praise" if "love" in text else "other"


with Orchestrator(providers=[ScriptedProvider({"route": kind})]) as orchestrator:
    for message in ("It crashes when I save.", "I love it.", "Where is your office?"):
        run = orchestrator.run_sync(wf, message=message)
        print(f"{run['route']:7} -> {run.steps['answer'].choice:10} {run.output}")
