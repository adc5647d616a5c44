"""How long a server asks to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from .. import _clock

__all__ = ["retry_after"]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms`, else `retry-after` as seconds or HTTP date; None when absent or garbage.

    A moment in the past gives 0.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after (2022-06); `retry-after-ms` as OpenAI and Azure
    send it (https://github.com/openai/openai-python, 2026-01).

    Example:
        >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after": "soon"})
        (1.5, None)
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    return seconds if seconds is not None or given is None else _until(given)


def _number(given: str | None) -> float | None:
    try:
        value = float(given or "")
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - _clock.from_us(_clock.now_us())).total_seconds())
