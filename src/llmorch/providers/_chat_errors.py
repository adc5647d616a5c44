"""Errors of a chat completion that stand elsewhere than in the status: in the answer, or in the vendor's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProviderError
from ._chat_dialect import ChatDialect
from ._classify import Complaint, Origin, classified
from ._loose_json import parse

if TYPE_CHECKING:
    from ._http import Reply

__all__ = ["BROKEN", "broken_off", "error_in_own_words"]

BROKEN = frozenset(("error", "insufficient_system_resource"))
"""Finish reasons of an answer that the server could not finish."""

_MAX_BODY = 1024 * 1024


def broken_off(
    origin: Origin,
    dialect: ChatDialect,
    reason: Any,  # Any: whatever JSON a server sent
    *places: Mapping[str, Any],
) -> ProviderError:
    """The error for an answer with such a finish reason; its cause stands under `error` in one of the places."""
    for place in places:
        if place.get("error"):
            complaint = dialect.complaint({"error": place["error"]})
            if complaint is not None:
                return classified(origin, complaint)
    return classified(origin, Complaint(text=f"the answer broke off with finish reason {reason!r}"))


def error_in_own_words(
    reply: Reply,
    origin: Origin,
    complaint: Callable[[Any], Complaint | None],  # Any: whatever JSON a server sent
) -> ProviderError | None:
    """The error for a status that is no success, read as this vendor writes it; None for one it says nothing about."""
    if reply.status in (200, 404) or len(reply.body) > _MAX_BODY:
        return None  # 404 is told with the models there are
    try:
        told = complaint(parse(reply.body))
    except ValueError:
        return None
    if told is None:
        return None
    return classified(origin, told, status=told.status or reply.status, headers=reply.headers)
