"""What takes a streamed answer as it comes; known to the HTTP layer and to every wire format."""

from __future__ import annotations

import enum
from typing import Protocol

from ..requests import ProviderResponse

__all__ = ["AnswerSink", "Progress", "Sink"]


class Progress(enum.Enum):
    """What a sink says about the bytes it was given."""

    NOTHING = 1
    CONTENT = 2
    COMPLETE = 3
    OVER = 4


class Sink(Protocol):
    """Takes a stream as it comes."""

    def feed(self, chunk: bytes) -> Progress:
        """Take bytes: NOTHING of worth, CONTENT, the answer is COMPLETE, or the stream is OVER."""
        ...


class AnswerSink(Sink, Protocol):
    """A sink that puts a model's answer together."""

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before its terminal event.
            ProviderError: What else it held.
        """
        ...
