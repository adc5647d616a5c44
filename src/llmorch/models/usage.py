"""Tokens and requests that calls used."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tally", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and requests; adds with `+`.

    `input_tokens` and `output_tokens` are totals. `cached_tokens` and `cache_write_tokens` are parts of the input,
    `reasoning_tokens` is part of the output. `requests` counts calls to a provider.

    Example:
        >>> Usage(input_tokens=10, requests=1) + Usage(output_tokens=5, requests=1)
        Usage(input_tokens=10, output_tokens=5, cached_tokens=0, cache_write_tokens=0, reasoning_tokens=0, requests=2)
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
        )

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


class Tally:
    """A sum of usage that grows in place: the log of a run adds to it with every call."""

    __slots__ = (
        "cache_write_tokens", "cached_tokens", "input_tokens", "output_tokens", "reasoning_tokens", "requests",
    )  # fmt: skip

    def __init__(self) -> None:
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.cache_write_tokens = 0
        self.reasoning_tokens = 0
        self.requests = 0

    def add_tokens(self, usage: Usage) -> None:
        """Add what a call used, all but its request, which counts when it starts."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
            self.cached_tokens += usage.cached_tokens
            self.cache_write_tokens += usage.cache_write_tokens
            self.reasoning_tokens += usage.reasoning_tokens
        self.requests += usage.requests - 1

    def usage(self) -> Usage:
        """The sum so far."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
            self.requests,
        )
