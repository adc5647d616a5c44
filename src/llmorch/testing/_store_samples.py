"""One event of every class that a log may hold, with the values that are hardest to keep."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..events import (
    Answer,
    CallFinished,
    CallStarted,
    CheckFinished,
    Event,
    LoopTurned,
    MapExpanded,
    RunCancelRequested,
    RunFinished,
    RunResumed,
    RunStarted,
    RunWaiting,
    StepAnswered,
    StepCancelled,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepWaiting,
    ToolFinished,
    ToolStarted,
    Warned,
)
from ..models.failure import Failure
from ..models.message import ToolCall
from ..models.usage import Usage

__all__ = ["DATA", "TEXT", "every_event"]

TEXT = "Grüße, 東京, 😀👩\u200d🚀, \u202eשלום, \x00, \x7f, \u2028, \u2029, \u0085, \r\n\t, \"quoted\", '{}', \\u0041 \\"
"""Text that a store must keep as it is."""

DATA: dict[str, Any] = {  # Any: JSON data
    "z first": [1, True, 1.0, None, "", [], {}, [[["deep"]]]],
    "a second": {"": "empty key", "é": 0.1, "1": 1e300, "negative": -1.5e-300, "0": -0.0},
    "ints": [2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63) - 1, 10**40],
    "text": TEXT,
}
"""Data that a store must keep as they are, keys in this order."""

_FAILURE = Failure(
    "RateLimited",
    f"wait: {TEXT}",
    "draft[1]",
    {"status": 429, "retry_after": 1.5, "spend_limit": False, "model": None},
    Failure("builtins.KeyError", "'x'"),
)
_USAGE = Usage(input_tokens=10, output_tokens=2**40, cached_tokens=4, requests=1)
_ANSWER = Answer(None, (ToolCall("call/1", "weather", '{"city": "Bergen"}'),), {"signed": ["…", {"n": 2**70}]})


def every_event() -> list[Event]:
    """Fresh events without a place in a log yet."""
    return [
        RunStarted("tea", "ab" * 32, DATA, "parent", {"usd": "0.10"}, 1.5, ("one", "Zwei, 'drei'"), {"by": TEXT}),
        RunResumed(3, ("a", "b[0].c"), {"calls": 2}),
        RunCancelRequested(),
        StepStarted("draft", "f" * 64),
        CallStarted("draft", 1, "openai", "gpt", Decimal("0.000100"), True, 1200, True),
        CallFinished("draft", 1, _FAILURE, None, None, None, None, 2**60),
        CallFinished("draft", 2, None, _USAGE, Decimal("1E-9"), "tool_calls", _ANSWER),
        ToolStarted("draft", 2, "call/1", "weather", '{"city":"Bergen"}'),
        ToolFinished("draft", 2, "call/1", "weather", TEXT),
        ToolFinished("draft", 2, "call/2", "weather", None, _FAILURE),
        MapExpanded("each", 0),
        LoopTurned("again", 2, True, DATA),
        StepWaiting("ask", "Which?", {"type": "object", "properties": {"b": {}, "a": {}}}, 1_800_000_000_000_000),
        StepAnswered("ask", DATA, "Ada"),
        StepSucceeded("draft", DATA, True, "parent/draft"),
        StepSucceeded("number", 10**30),
        StepSkipped("other", "when is false"),
        StepFailed("third", _FAILURE),
        StepCancelled("fourth", "a sibling failed"),
        Warned(None, "truncated", TEXT),
        CheckFinished("short", False, "too long"),
        RunWaiting(("ask", "other ask")),
        RunFinished("failed", _FAILURE, _USAGE, Decimal("123456789012345678.000000001")),
    ]
