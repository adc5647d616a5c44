"""The same question several times, and a judge who takes the best answer."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from ..definition.functions import step
from ..definition.node import first_n
from ..models.payload import Payload
from ..workflow import Workflow

__all__ = ["Best", "best_of_n", "chosen_of"]

T = TypeVar("T")


class Best(BaseModel):
    """What a judge says.

    Attributes:
        index: Of the best candidate, counted from 0.
    """

    index: int
    reason: str = ""


@step(inline=True, pure=True, version="1")
def chosen_of(candidates: list[Any], index: int) -> Any:
    """The candidate of that index.

    Raises:
        ValueError: There is none.
    """
    if 0 <= index < len(candidates):
        return candidates[index]
    raise ValueError(f"the judge took candidate {index}, but there are 0 to {len(candidates) - 1}")


def best_of_n(
    ask: Payload[T], judge: Payload[Any], *, n: int = 3, least: int | None = None, name: str = "best-of-n"
) -> Workflow[T]:
    """A workflow that asks the same question n times at once, has a judge choose, and gives the best answer.

    Args:
        ask: Asked n times; a temperature above 0 makes the answers differ.
        judge: Reads `{{ candidates }}`, a list; its output is a `Best`, or has an `index`.
        least: How many candidates suffice, where some fail; the slower ones are not waited for. Default all.

    Example:
        >>> ask = Payload("name", "A name for {{ thing }}?", temperature=1)
        >>> wf = best_of_n(ask, Payload("judge", "The best of {{ candidates | json }}?", output=Best), n=2)
        >>> [step.name for step in wf.freeze().steps]
        ['name-0', 'name-1', 'judge', 'best']
    """
    wf: Workflow[Any] = Workflow(name)
    tries = [wf.add(ask.using(name=f"{ask.name}-{index}"), on_error="skip") for index in range(n)]
    candidates = first_n(tries, n if least is None else least)
    verdict = wf.add(judge, name="judge", candidates=candidates)
    return wf.returns(wf.add(chosen_of, name="best", candidates=candidates, index=verdict["index"]))
