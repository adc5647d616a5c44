"""One writes, another judges, until the judge is content."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from ..models.payload import Payload
from ..workflow import Workflow

__all__ = ["Verdict", "critic_loop"]

T = TypeVar("T")


class Verdict(BaseModel):
    """What a critic says.

    Attributes:
        approved: It is good as it is.
        feedback: Else what to change.
    """

    approved: bool
    feedback: str = ""


def critic_loop(
    write: Payload[T], criticise: Payload[Any], *, most_rounds: int = 3, name: str = "critic-loop"
) -> Workflow[T]:
    """A workflow that has something written and criticised until the critic approves; it gives the last draft.

    Each round is kept: `run["refine@0/draft"]`, `run["refine@0/verdict"]`, and so on.

    Args:
        write: Reads the critic's words as `{{ feedback }}`, empty in the first round.
        criticise: Reads `{{ draft }}`; its output is a `Verdict`, or has these fields.
        most_rounds: The last draft is taken when it is not approved by then.

    Example:
        >>> write = Payload("write", "Write about {{ topic }}. {{ feedback }}")
        >>> wf = critic_loop(write, Payload("judge", "Judge: {{ draft }}", output=Verdict))
        >>> [step.name for step in wf.freeze().steps], list(wf.inputs)
        (['refine'], ['topic'])
    """
    round_of: Workflow[Any] = Workflow("round")
    round_of.input("feedback", str, default="")
    draft = round_of.add(write, name="draft")
    verdict = round_of.add(criticise, name="verdict")
    round_of.returns({"draft": draft, "verdict": verdict})
    wf: Workflow[Any] = Workflow(name)
    refined = wf.loop(
        round_of,
        name="refine",
        until="output.verdict.approved",
        max_iterations=most_rounds,
        carry={"feedback": "output.verdict.feedback"},
    )
    return wf.returns(refined["draft"])
