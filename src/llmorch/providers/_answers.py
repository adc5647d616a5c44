"""The errors of an answer that came with status 200 and is none: one wording for all vendors."""

from __future__ import annotations

from ..errors import BadAnswer, ContentRefused, StreamTruncated
from ._classify import Origin, shorten

__all__ = ["bad_answer", "refused", "truncated"]


def bad_answer(origin: Origin, what: str, body: bytes, *, advice: str = "check base_url") -> BadAnswer:
    """The error for a body in another format than the vendor's.

    Args:
        what: What came instead, such as `no JSON`.
        body: Its beginning is shown.
    """
    start = shorten(body[:4000].decode("utf-8", "replace"), 200)
    return BadAnswer(
        f"{origin.provider} at {origin.host} answered with {what} for model {origin.model!r}, beginning {start!r}; "
        f"{advice}",
        provider=origin.provider,
        model=origin.model,
        status=200,
    )


def truncated(origin: Origin, what: str, *, advice: str = "try again") -> StreamTruncated:
    """The error for a stream that ended, or broke, before its terminal event; `what` it did."""
    return StreamTruncated(
        f"the stream of {origin.provider} at {origin.host} for model {origin.model!r} {what}; {advice}",
        provider=origin.provider,
        model=origin.model,
        status=200,
    )


def refused(origin: Origin, why: str, *, text: str | None = None) -> ContentRefused:
    """The error for a model that declined to answer.

    Args:
        why: What it said, or the vendor's explanation.
        text: What it said, where that is something else.
    """
    return ContentRefused(
        f"{origin.provider} model {origin.model!r} declined to answer: {shorten(why) or 'no explanation'}; change the "
        "prompt or add a fallback",
        text=why if text is None else text,
        provider=origin.provider,
        model=origin.model,
        status=200,
    )
