"""What a transport raises, as errors of llmorch that hold neither the request nor its headers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from .._redact import redact
from ..errors import BadAnswer, BadRequest, LLMOrchError, ProviderUnavailable, StreamTruncated, TimedOut
from ._http_body import Unreadable

__all__ = ["rebuilt"]

_MAX_TEXT = 300


def rebuilt(error: Exception, *, provider: str, host: str, model: str, streaming: bool = False) -> LLMOrchError:
    """A new error that says the same.

    Args:
        streaming: The error came in the middle of a stream.
    """
    about = f"{provider} at {host}"
    text = f"{type(error).__name__}: {redact(str(error))[:_MAX_TEXT]}".rstrip(": ")
    if isinstance(error, Unreadable):
        return BadAnswer(
            f"{about} answered with {redact(str(error))}, which is not its format; check base_url and what stands "
            "between here and the server",
            provider=provider,
            model=model,
        )
    if _is_bad_http(error):
        return BadAnswer(
            f"{about} did not answer in HTTP ({text}); check base_url, its scheme and its port",
            provider=provider,
            model=model,
        )
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.InvalidURL):
        return BadRequest(
            f"the request to {about} cannot be sent ({text}); check base_url and headers",
            provider=provider,
            model=model,
        )
    if _is_timeout(error):
        if not isinstance(error, httpx.ConnectTimeout):
            return TimedOut(f"{about} took too long ({text}); try again, or give the call a longer timeout")
        text = "no connection in time"
    elif streaming and not _was_reset(error):
        return StreamTruncated(
            f"{about} closed the connection in the middle of its answer ({text}); try again",
            provider=provider,
            model=model,
        )
    elif isinstance(error, httpx.ConnectTimeout):  # so httpx-aiohttp calls whatever kept a connection from standing
        text = redact(str(error))[:_MAX_TEXT]
    return ProviderUnavailable(
        f"{about} cannot be reached or broke the connection ({text}); check base_url, the network and whether the "
        "server runs, then try again",
        provider=provider,
        model=model,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _is_timeout(error: Exception) -> bool:
    """httpx-aiohttp calls a broken connection a ConnectTimeout; only its cause tells."""
    if not isinstance(error, httpx.TimeoutException | TimeoutError):
        return False
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("aiohttp"):
        return True
    return isinstance(cause, TimeoutError)


def _was_reset(error: Exception) -> bool:
    """aiohttp tells a reset in the middle of a body only in the text of its error."""
    return "ConnectionResetError" in str(error) or any(isinstance(link, OSError) for link in _chain(error))


def _is_bad_http(error: Exception) -> bool:
    if isinstance(error, httpx.RemoteProtocolError):
        return not any(words in str(error) for words in ("disconnected", "closed connection", "incomplete"))
    return any(kind.__name__ == "ClientResponseError" for kind in type(error).__mro__)
