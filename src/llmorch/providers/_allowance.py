"""What a vendor says is left of a rate limit, out of the headers of its answer.

Source: https://platform.openai.com/docs/guides/rate-limits (2026-02), https://docs.claude.com/en/api/rate-limits
(2026-02). OpenAI and those like it send spans (`6m0s`, `120ms`), Anthropic moments (RFC 3339).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from .. import _clock
from ..requests import Allowance

__all__ = ["allowance_in"]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 86400.0


def allowance_in(headers: Mapping[str, str]) -> Allowance | None:
    """What is left, or None when the headers do not say.

    Example:
        >>> allowance_in({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1.5s"})
        Allowance(requests=7, requests_reset_s=1.5, tokens=None, tokens_reset_s=None)
    """
    requests, tokens = headers.get("x-ratelimit-remaining-requests"), headers.get("x-ratelimit-remaining-tokens")
    if requests is not None or tokens is not None:
        return Allowance(
            _count(requests),
            _seconds(headers.get("x-ratelimit-reset-requests")),
            _count(tokens),
            _seconds(headers.get("x-ratelimit-reset-tokens")),
        )
    requests = headers.get("anthropic-ratelimit-requests-remaining")
    tokens = headers.get("anthropic-ratelimit-tokens-remaining")
    if requests is not None or tokens is not None:
        return Allowance(
            _count(requests),
            _seconds(headers.get("anthropic-ratelimit-requests-reset")),
            _count(tokens),
            _seconds(headers.get("anthropic-ratelimit-tokens-reset")),
        )
    return None


def _count(given: str | None) -> int | None:
    if given is None or not given.isascii() or not given.isdigit() or len(given) > 12:
        return None
    return int(given)


def _seconds(given: str | None) -> float | None:
    """A span in any of the written forms, between 0 and a day; None for anything else."""
    if not given:
        return None
    text = given.strip()
    span = _of_number(text)
    if span is None:
        parts = _SPAN.findall(text)
        span = sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else _until(text)
    return span if span is not None and span <= _LONGEST_S else None


def _of_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _until(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - _clock.from_us(_clock.now_us())).total_seconds())
