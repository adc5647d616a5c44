"""An answer that is an error, as the class of DESIGN 8 it belongs to.

Vendors agree on statuses and on little else: the error stands in `error`, `detail` or `message`, as an object, a list
or text, sometimes under status 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import _json
from .._redact import redact
from ..errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from ._loose_json import is_object, mended, written
from ._retry_after import retry_after

__all__ = ["Complaint", "Origin", "complaint_in", "error_for", "shorten"]

_MAX_TEXT = 500
_MAX_READ = 65_536

_TOO_LONG = re.compile(
    r"context[ _]?(length|window|size)|maximum context|too many (input )?tokens|prompt is too long|input is too long"
    r"|exceeds? context limit|exceeds? the (available|maximum) (context|number of tokens)"
    r"|reduce the length of the messages|tokens.{0,40} must be <=",
    re.IGNORECASE,
)
_SPENT = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|credit balance|out of credits|billing (hard )?limit", re.IGNORECASE
)
_SPENT_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"}
_BAD_KEY = re.compile(
    r"(invalid|incorrect|wrong|missing|expired)[ _](x-)?(api[ _-]?key|token|credentials)|\bunauthorized\b",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"ContentPolicyViolation|content management policy", re.IGNORECASE)
_NO_SCHEMAS = re.compile(r"response_format|json_schema", re.IGNORECASE)
_REFUSED_CODES = {"content_filter", "content_policy_violation", "moderation_blocked"}
_STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "context_length_exceeded": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_error": 500,
    "overloaded_error": 529,
    "billing_error": 402,
    "timeout_error": 504,
    "request_too_large": 413,
    "conflict_error": 409,
    "service_unavailable": 503,
}


class Origin(NamedTuple):
    """Who was asked, for the text of an error. `variable` names the environment variable that holds the key."""

    provider: str
    host: str
    model: str
    variable: str = ""


class Complaint(NamedTuple):
    """A server's own words about what went wrong."""

    text: str = ""
    code: str = ""
    kind: str = ""
    status: int | None = None
    is_told: bool = True
    """False when the server sent no error of any known form, such as a page."""


def complaint_in(parsed: Any) -> Complaint | None:  # Any: whatever JSON a server sent
    """The complaint an answer holds, or None when it holds none."""
    if not is_object(parsed):
        return None
    error = parsed.get("error")
    if error is None or error is False or error == "":
        error = parsed.get("detail") or (parsed.get("message") if "choices" not in parsed else None)
    if not error:
        return None
    if not is_object(error):
        code, kind = parsed.get("code"), parsed.get("type")
        return Complaint(written(error), code if isinstance(code, str) else "", kind if isinstance(kind, str) else "")
    code = error.get("code")
    inner = error.get("innererror")
    if is_object(inner) and inner.get("code") == "ResponsibleAIPolicyViolation":
        code = "content_filter"  # Azure's word for it
    number = code if isinstance(code, int) and not isinstance(code, bool) else error.get("status")
    return Complaint(
        text=written(error.get("message") or error.get("detail") or error),
        code=code if isinstance(code, str) else "",
        kind=str(error.get("type") or ""),
        status=number if isinstance(number, int) and 400 <= number <= 599 else None,
    )


def shorten(text: str, most: int = _MAX_TEXT) -> str:
    """A server's text as an error may show it: without secrets, in one line, at most 500 characters.

    What is cut before it comes here is cut generously, or a secret that straddles the cut would not be known for one.
    """
    line = " ".join(redact(mended(text)).split())
    return line if len(line) <= most else f"{line[:most]}..."


def error_for(origin: Origin, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error for an answer whose status is no success."""
    complaint = None
    if len(body) <= 1024 * 1024:
        try:
            complaint = complaint_in(_json.loads(body))
        except (ValueError, RecursionError):
            complaint = None
    if complaint is None:
        complaint = Complaint(text=body[:_MAX_READ].decode("utf-8", "replace"), is_told=False)
    return classified(origin, complaint, status=status, headers=headers)


def classified(
    origin: Origin, complaint: Complaint, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """The error for a complaint.

    Args:
        status: HTTP status; None when the complaint came inside an answer that said 200.
    """
    told = status or complaint.status or _STATUS_OF_WORD.get(complaint.code) or _STATUS_OF_WORD.get(complaint.kind)
    asked = f"{origin.provider} at {origin.host}"
    said = shorten(complaint.text) or "no explanation"
    how = f"answered {told}" if told else "answered with an error"
    if _NO_SCHEMAS.search(complaint.text):
        said = f"{said}; if this server takes no JSON schemas, say so: capabilities=Capabilities(json_schema=False)"
    text = f"{asked} {how}{f' for model {origin.model!r}' if origin.model else ''}: {said}"
    about = _About(origin.provider, origin.model, told)
    return _by_status(told or 500, complaint, text, about, origin, retry_after(headers) if headers else None)


class _About(NamedTuple):
    provider: str
    model: str
    status: int | None


def _by_status(
    status: int, complaint: Complaint, text: str, about: _About, origin: Origin, wait_s: float | None
) -> ProviderError:
    names = about._asdict()
    if status == 402 or (status in (400, 429) and _is_spent(complaint)):
        return RateLimited(
            f"{text}; the account's money or quota is used up, and waiting does not mend that: check its billing",
            spend_limit=True,
            retry_after=wait_s,
            **names,
        )
    if status == 429:
        return RateLimited(f"{text}; wait, or give the orchestrator limits=", retry_after=wait_s, **names)
    if status in (401, 403) or (status in (400, 500) and _BAD_KEY.search(complaint.text)):  # so some proxies say it
        key = f"the key ({origin.variable} or api_key=)" if origin.variable else "the key (api_key=)"
        return AuthenticationFailed(f"{text}; check {key} and what it may use", **names)
    if status >= 500 or status in (408, 409, 425):
        error = ProviderUnavailable(f"{text}; it is the server's fault, try again later", **names)
        # Servers that are overloaded say when to come back, as 429 does; the class has no field for it.
        error.retry_after = wait_s
        return error
    return _refusal(status, complaint, text, names)


def _refusal(status: int, complaint: Complaint, text: str, names: dict[str, Any]) -> ProviderError:
    if status == 413 or complaint.code == "context_length_exceeded" or _TOO_LONG.search(complaint.text):
        return ContextTooLong(f"{text}; shorten the prompt or choose a model with a longer context", **names)
    if complaint.code in _REFUSED_CODES or complaint.kind in _REFUSED_CODES or _REFUSED.search(complaint.text):
        return ContentRefused(f"{text}; change the prompt or add a fallback", text=shorten(complaint.text), **names)
    if 300 <= status < 400:
        return BadAnswer(
            f"{text}; redirects are not followed, because they could carry the key away: set base_url", **names
        )
    if status < 400:
        return BadAnswer(f"{text}; that is not the format of this API: check base_url", **names)
    if status in (404, 405) and not complaint.is_told:
        return BadRequest(f"{text}; there is nothing at this address: check base_url", **names)
    if not names["model"]:
        return BadRequest(f"{text}; the same request will fail again: check base_url", **names)
    return BadRequest(
        f"{text}; the same request will fail again: change the model, the settings or the prompt", **names
    )


def _is_spent(complaint: Complaint) -> bool:
    return complaint.code in _SPENT_CODES or complaint.kind in _SPENT_CODES or bool(_SPENT.search(complaint.text))
