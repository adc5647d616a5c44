"""What generateContent answers, whole or streamed, as a `ProviderResponse`.

Source: https://ai.google.dev/api/generate-content#GenerateContentResponse, https://ai.google.dev/gemini-api/docs/thinking
and .../thought-signatures (2026-10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..requests import ProviderResponse
from ._answers import bad_answer, truncated
from ._classify import Origin
from ._gemini_collect import Collected
from ._gemini_errors import error_in, unwrapped
from ._loose_json import is_list, is_object, mended, parse
from ._sink import Progress
from ._sse import EventSplitter, LineTooLong

__all__ = ["StreamReader", "read_answer"]

_MAX_TAIL = 16 * 1024

_ADVICE = "check base_url, or try again"


def read_answer(body: bytes, origin: Origin) -> ProviderResponse:
    """The answer in a body that came with status 200.

    A list of answers is read as the stream it is: so they come where nobody asked for events.

    Raises:
        BadAnswer: It is no answer of generateContent.
        ContentRefused: The prompt was blocked, or the model declined.
        ProviderError: The body holds an error.
    """
    try:
        parsed = parse(body)
    except ValueError as error:
        raise bad_answer(origin, f"no JSON ({error})", body, advice=_ADVICE) from None
    collected = Collected(origin)
    for chunk in parsed if is_list(parsed) else [parsed]:
        if is_object(chunk):
            _take(collected, chunk, origin)
    if not collected.has_begun:
        raise bad_answer(origin, "JSON that holds no candidate", body, advice=_ADVICE)
    return collected.answer()


def _take(collected: Collected, chunk: dict[str, Any], origin: Origin) -> bool:
    """Take one answer of a stream, or raise the error it is; true when it brought content."""
    if not chunk.get("candidates") and not chunk.get("promptFeedback"):
        error = error_in(origin, chunk)
        if error is not None:
            raise error
    return collected.take(chunk)


class StreamReader:
    """Takes the bytes of a streamed answer and puts it together.

    Args:
        on_delta: Called with the text that each read of the network brought.
    """

    def __init__(self, origin: Origin, on_delta: Callable[[str], None]) -> None:
        self._origin = origin
        self._on_delta = on_delta
        self._splitter = EventSplitter()
        self._collected = Collected(origin)
        self._half = ""
        self._tail = b""

    def feed(self, chunk: bytes) -> Progress:
        """Take the bytes of one read.

        Raises:
            StreamTruncated: An event is no JSON.
            BadAnswer: A line is over 1 MiB.
            ProviderError: The stream holds an error.
        """
        self._tail = (self._tail + chunk)[-_MAX_TAIL:]
        try:
            return self._progress(self._splitter.feed(chunk))
        except LineTooLong as error:
            if self._collected.is_complete:
                return Progress.OVER
            raise bad_answer(self._origin, f"a stream in which {error}", b"", advice=_ADVICE) from None

    def _progress(self, events: list[bytes]) -> Progress:
        collected = self._collected
        start = len(collected.text)
        moved = False
        for event in events:
            moved = self._event(event) or moved
        if len(collected.text) > start:
            self._deliver("".join(collected.text[start:]))
        if collected.is_complete:
            return Progress.OVER if collected.is_over else Progress.COMPLETE
        return Progress.CONTENT if moved else Progress.NOTHING

    def _deliver(self, text: str) -> None:
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        text = mended(text[:-1] if self._half else text)
        if text:
            self._on_delta(text)

    def _event(self, event: bytes) -> bool:
        try:
            parsed = parse(event)
        except ValueError as error:
            if self._collected.is_complete or event == b"[DONE]":
                return False
            raise truncated(self._origin, f"holds an event that is no JSON ({error})") from None
        parsed = unwrapped(parsed)
        if not is_object(parsed):
            return False
        if self._collected.is_complete:
            return self._collected.take(parsed)
        return _take(self._collected, parsed, self._origin)

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before the answer did.
            ContentRefused: The prompt was blocked, or the model declined.
            ProviderError: It ended with an error outside of its events.
        """
        self._progress(self._splitter.end())
        if not self._collected.is_complete:
            error = self._bare_error()
            raise error if error is not None else truncated(self._origin, "ended before the answer did")
        if self._half:
            self._on_delta(mended(self._half))
            self._half = ""
        return self._collected.answer()

    def _bare_error(self) -> Exception | None:
        """The error in lines that are no events: so Gemini ends a stream it cannot go on with."""
        lines = self._tail.splitlines()
        if len(self._tail) == _MAX_TAIL:
            del lines[0]  # its beginning is cut off
        lines = [line for line in lines if not line.startswith((b"data:", b":", b"event:", b"id:"))]
        try:
            return error_in(self._origin, unwrapped(parse(b"\n".join(lines))))
        except ValueError:
            return None
