"""One plans, one answers by the plan, one criticises the answer until it is good."""

from __future__ import annotations

from typing import Any, TypeVar

from ..models.payload import Payload
from ..workflow import Workflow
from .critic_loop import critic_loop

__all__ = ["planner_responder_critic"]

T = TypeVar("T")


def planner_responder_critic(
    plan: Payload[Any],
    respond: Payload[T],
    *,
    criticise: Payload[Any],
    most_rounds: int = 3,
    name: str = "planner-responder-critic",
) -> Workflow[T]:
    """A workflow of a plan and a critic loop that follows it.

    Args:
        plan: Says how to go about the task.
        respond: Reads the plan as `{{ plan }}` and the critic's words as `{{ feedback }}`, empty in the first round.
        criticise: Reads `{{ draft }}` and, if it likes, `{{ plan }}`; its output is a `Verdict`, or has these fields.
        most_rounds: The last answer is taken when it is not approved by then.

    Example:
        >>> from llmorch.patterns import Verdict
        >>> plan = Payload("plan", "Plan: {{ task }}")
        >>> respond = Payload("respond", "Do {{ task }} by {{ plan }}. {{ feedback }}")
        >>> judge = Payload("judge", "Does {{ draft }} follow {{ plan }}?", output=Verdict)
        >>> wf = planner_responder_critic(plan, respond, criticise=judge)
        >>> [step.name for step in wf.freeze().steps], list(wf.inputs)
        (['plan', 'answer'], ['task'])
    """
    wf: Workflow[T] = Workflow(name)
    wf.add(plan, name="plan")
    return wf.returns(wf.add(critic_loop(respond, criticise, most_rounds=most_rounds), name="answer"))
