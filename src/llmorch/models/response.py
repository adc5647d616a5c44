"""What one Payload produced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Generic, TypeVar

from .message import Message
from .usage import Usage

__all__ = ["Response"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Response(Generic[T]):
    """The answer to one payload and what it took.

    Attributes:
        value: The answer in the payload's output type.
        text: The answer as the model wrote it.
        messages: The prompt exactly as sent.
        usage: Tokens of every call it took.
        cost: US dollars, or None when a price is unknown; never silently 0.
        finish_reason: `stop`, `length`, `tool_calls`, `content_filter` or `other`.
        model: Full id of the model that answered, such as `openai:gpt-5-mini`.
        provider: Name of its provider.
        duration: From the first request to the last byte of the answer.
        calls: Requests it took, retries included.
        cached: True when no request was sent because the answer was in a cache.

    Example:
        >>> response = Payload("hi", "Say hi.", model="offline:echo").run_sync()
        >>> response.value, response.calls
        ('Say hi.', 1)
    """

    value: T
    text: str
    messages: tuple[Message, ...]
    usage: Usage
    cost: Decimal | None
    finish_reason: str
    model: str
    provider: str
    duration: timedelta
    calls: int = 1
    cached: bool = False
