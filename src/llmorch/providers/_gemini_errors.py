"""What Gemini says when it does not answer.

Source: https://ai.google.dev/gemini-api/docs/troubleshooting and https://cloud.google.com/apis/design/errors (2026-10),
and what the service does otherwise: errors inside a list, a bad key as 400, and "check your plan and billing" for a
limit of requests per minute.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .. import _json
from ..errors import AuthenticationFailed, ProviderError, RateLimited
from ._classify import Complaint, Origin, classified, complaint_in, shorten
from ._loose_json import is_list, is_object, parse
from ._retry_after import retry_after

__all__ = ["error_in", "headers_with_wait", "plain_error", "special_error", "unwrapped"]

_MAX_BODY = 1024 * 1024
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_SPENT = re.compile(
    r"PerDay|\bper day\b|\blimit: 0\b|credits? (is|are) depleted|spend(ing)? (cap|limit)", re.IGNORECASE
)
_NO_HEADERS: Mapping[str, str] = {}


def unwrapped(parsed: Any) -> Any:  # Any: whatever JSON a server sent
    """The answer itself, where it came as the only item of a list."""
    return parsed[0] if is_list(parsed) and len(parsed) == 1 else parsed


def error_in(origin: Origin, parsed: Any) -> ProviderError | None:  # Any: whatever JSON a server sent
    """The error an answer with status 200 holds, or None when it holds none."""
    complaint = complaint_in(parsed)
    if complaint is None:
        return None
    found = _special(origin, parsed, complaint, complaint.status, _NO_HEADERS)
    return found or classified(origin, complaint, headers=_with_wait(_NO_HEADERS, parsed))


def special_error(
    origin: Origin, body: bytes, *, status: int, headers: Mapping[str, str] = _NO_HEADERS
) -> ProviderError | None:
    """The error for what Gemini says in its own way; None when the classes of its status hold."""
    parsed = _read(body)
    complaint = complaint_in(parsed)
    return None if complaint is None else _special(origin, parsed, complaint, status, headers)


def plain_error(body: bytes) -> bytes:
    """The body with its error as an object, where it came inside a list."""
    parsed = _read(body)
    return body if parsed is None else _json.dumps(parsed).encode("ascii")


def headers_with_wait(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
    """The headers, with the wait that the body asks for where they name none."""
    return _with_wait(headers, _read(body))


def _read(body: bytes) -> Any:  # Any: whatever JSON a server sent
    """The JSON of a body, out of its list; None when it is none, or cannot be written again."""
    try:
        parsed = unwrapped(parse(body)) if len(body) <= _MAX_BODY else None
        _json.dumps(parsed)
    except ValueError:
        return None
    return parsed


def _special(
    origin: Origin,
    parsed: Any,  # Any: whatever JSON a server sent
    complaint: Complaint,
    status: int | None,
    headers: Mapping[str, str],
) -> ProviderError | None:
    details = [*_details(parsed)]
    said = shorten(complaint.text)
    asked = f" for model {origin.model!r}" if origin.model else ""
    text = f"{origin.provider} at {origin.host} answered {status}{asked}: {said}"
    names: dict[str, Any] = {"provider": origin.provider, "model": origin.model, "status": status}
    if status == 400 and any(str(detail.get("reason")).startswith("API_KEY_") for detail in details):
        key = f"{origin.variable} or api_key=" if origin.variable else "api_key="
        return AuthenticationFailed(f"{text}; check the key ({key}) and what it may use", **names)
    if status == 429:
        wait_s = retry_after(_with_wait(headers, parsed))
        is_spent = bool(_SPENT.search(complaint.text)) or any(_is_daily(detail) for detail in details)
        advice = (
            "waiting does not soon mend that: check the account's plan"
            if is_spent
            else "wait, or give the orchestrator limits="
        )
        return RateLimited(f"{text}; {advice}", spend_limit=is_spent, retry_after=wait_s, **names)
    return None


def _details(parsed: Any) -> Iterator[dict[str, Any]]:  # Any: whatever JSON a server sent
    error = parsed.get("error") if is_object(parsed) else None
    details = error.get("details") if is_object(error) else None
    if is_list(details):
        yield from (detail for detail in details if is_object(detail))


def _is_daily(detail: Mapping[str, Any]) -> bool:
    """Whether it tells of a quota of a day that is used up."""
    violations = detail.get("violations")
    if not is_list(violations):
        return False
    return any(is_object(violation) and "PerDay" in str(violation.get("quotaId")) for violation in violations)


def _with_wait(headers: Mapping[str, str], parsed: Any) -> Mapping[str, str]:  # Any: whatever JSON a server sent
    if retry_after(headers) is not None:
        return headers
    for detail in _details(parsed):
        told = _DELAY.fullmatch(str(detail.get("retryDelay")))
        if told is not None and math.isfinite(float(told[1])):
            return {**headers, "retry-after": told[1]}
    return headers
