"""The prompt and what followed it: tool calls with their results, and answers sent back to be mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from ...models.message import Message, ToolCall
from ...models.values import Data
from ..state.step import CallRecord, StepState
from .output import OutputSpec
from .tool_words import results_in_words, wish_in_words

__all__ = ["Turn", "conversation", "replay_of", "rounds_of", "turns_of", "unanswered"]


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer that did not end the conversation.

    Attributes:
        model: Provider and model that gave it.
        text: What it wrote.
        calls: Tools it asked for; none, when the answer did not fit the output type.
        results: What the tools gave, one for each call.
        replay: What the vendor wants back with the answer.
    """

    model: tuple[str, str]
    text: str
    calls: tuple[ToolCall, ...] = ()
    results: tuple[str, ...] = ()
    replay: Mapping[str, Data] | None = None


def turns_of(state: StepState, *, before: int | None = None) -> list[Turn]:
    """The turns that the log of a step tells, without one that is not over.

    Args:
        before: Only those of calls with a smaller number.
    """
    turns: list[Turn] = []
    for call in state.calls if before is None else state.calls[: before - 1]:
        answer = call.answer
        if answer is None:
            continue
        if answer.tool_calls:
            results = [state.tool_result(call.number, wanted.id) for wanted in answer.tool_calls]
            if None not in results:
                told = tuple(result for result in results if result is not None)
                turns.append(Turn(call.model, answer.text or "", answer.tool_calls, told, replay_of(answer.vendor)))
        elif answer.text is not None and call.number > state.since:  # one from before is not worth mending
            turns.append(Turn(call.model, answer.text))
    return turns


def unanswered(state: StepState) -> CallRecord | None:
    """The last answer, if it asks for tools that have not all given a result: the step was left in that round."""
    for call in reversed(state.calls):
        answer = call.answer
        if answer is None:
            continue
        is_open = any(state.tool_result(call.number, wanted.id) is None for wanted in answer.tool_calls)
        return call if is_open else None
    return None


def replay_of(raw: Mapping[str, Data]) -> Mapping[str, Data] | None:
    """What a vendor wants back with an answer."""
    replay = raw.get("replay") if raw else None
    return cast("Mapping[str, Data]", replay) if isinstance(replay, Mapping) else None


def rounds_of(turns: Iterable[Turn]) -> int:
    """How many of them have used tools."""
    return sum(bool(turn.calls) for turn in turns)


def conversation(
    prompt: tuple[Message, ...],
    turns: Iterable[Turn],
    output: OutputSpec,
    *,
    model: tuple[str, str],
    path: str,
    in_words: bool,
) -> tuple[Message, ...]:
    """What the model is told next.

    Tool results count whichever model asked for them; an answer to be mended is shown only to the one that gave it.

    Args:
        model: Provider and name of the model that is asked.
        in_words: It has no native tool calling.
    """
    messages = prompt
    for turn in turns:
        is_own = turn.model == model
        if turn.calls and in_words:
            wish = turn.text if is_own and turn.text else wish_in_words(turn.calls)
            results = results_in_words(turn.calls, turn.results)
            messages = (*messages, Message("assistant", wish), Message("user", results))
        elif turn.calls:
            asked = Message("assistant", turn.text, tool_calls=turn.calls, vendor=(is_own and turn.replay) or {})
            answers = (
                Message("tool", result, tool_call_id=call.id)
                for call, result in zip(turn.calls, turn.results, strict=True)
            )
            messages = (*messages, asked, *answers)
        elif is_own:
            messages = output.repaired(messages, turn.text, path)
    return messages
