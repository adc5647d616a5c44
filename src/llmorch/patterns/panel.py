"""Several models answer the same question, and one answer is made of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..definition.node import first_n
from ..models.payload import Payload
from ..workflow import Workflow

__all__ = ["panel"]

T = TypeVar("T")


def panel(
    ask: Payload[object],
    models: Sequence[str],
    *,
    synthesis: Payload[T],
    quorum: int | None = None,
    name: str = "panel",
) -> Workflow[T]:
    """A workflow that puts a question to several models at once and makes one answer of what they say.

    A model that fails is done without.

    Args:
        ask: The question; its model is replaced.
        synthesis: Reads the answers as `{{ answers }}`, a list in the order of `models`.
        quorum: How many answers suffice; the slower ones are not waited for. Default more than half.

    Example:
        >>> ask = Payload("ask", "Who wrote {{ book }}?")
        >>> merge = Payload("merge", "One answer from: {{ answers | json }}")
        >>> wf = panel(ask, ["openai:gpt-5.2", "gemini:gemini-3-pro"], synthesis=merge)
        >>> [step.name for step in wf.freeze().steps]
        ['ask-0', 'ask-1', 'merge']
    """
    wf: Workflow[T] = Workflow(name)
    votes = [
        wf.add(ask.using(model=model, name=f"{ask.name}-{index}"), on_error="skip")
        for index, model in enumerate(models)
    ]
    enough = len(votes) // 2 + 1 if quorum is None else quorum
    return wf.returns(wf.add(synthesis, answers=first_n(votes, enough)))
