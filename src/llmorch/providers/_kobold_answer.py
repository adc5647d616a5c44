"""An answer of KoboldCpp's generate API, whole or streamed, as a `ProviderResponse`.

Source: https://github.com/LostRuins/koboldcpp/blob/concedo/koboldcpp.py (`handle_sse_stream`, 2026-11).
KoboldAI gives `text` only; KoboldCpp gives the finish reason and the tokens, too. A stream's last event is the one with
a finish reason; versions without one do not say whether an answer is whole, and are taken for cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..requests import ProviderResponse
from ._answers import bad_answer, truncated
from ._classify import Complaint, Origin, classified, complaint_in
from ._deltas import Deltas
from ._loose_json import is_list, is_object, mended, parse, usage_of
from ._sink import Progress
from ._sse import EventSplitter, LineTooLong

__all__ = ["StreamReader", "read_answer"]

_REASONS = {"stop": "stop", "length": "length"}


def read_answer(body: bytes, origin: Origin, *, stop: Iterable[str]) -> ProviderResponse:
    """The answer in a body that came with status 200; its text ends before the first of `stop`.

    Raises:
        BadAnswer: It is no answer of this API.
        ProviderError: The body holds an error.
    """
    try:
        parsed = parse(body)
    except ValueError as error:
        raise bad_answer(origin, f"no JSON ({error})", body) from None
    results = parsed.get("results") if is_object(parsed) else None
    first = results[0] if is_list(results) and results else None
    if not is_object(first) or not isinstance(first.get("text"), str):
        complaint = complaint_in(parsed)
        if complaint is not None:
            raise classified(origin, complaint)
        raise bad_answer(origin, "JSON that holds no result", body)
    return _response(_cut(first["text"], stop), first, origin)


def _cut(text: str, stop: Iterable[str]) -> str:
    """The text before the first stop sequence: not every server takes it away."""
    places = (text.find(mark) for mark in stop if mark)
    return text[: min((place for place in places if place >= 0), default=len(text))]


def _response(text: str, result: dict[str, Any], origin: Origin) -> ProviderResponse:
    reason = result.get("finish_reason")
    if reason == "error":
        raise classified(origin, Complaint("the generation failed", status=500))
    return ProviderResponse(
        text=mended(text),
        usage=usage_of(result),
        finish_reason=_REASONS.get(reason, "other") if isinstance(reason, str) else "other",
        model=origin.model,
        raw={"finish_reason": mended(reason) if isinstance(reason, str) else None},
    )


class StreamReader:
    """Takes the bytes of a streamed answer and puts it together.

    Args:
        on_delta: Called with the text that each read of the network brought.
    """

    def __init__(self, origin: Origin, on_delta: Callable[[str], None]) -> None:
        self._origin = origin
        self._splitter = EventSplitter()
        self._deltas = Deltas(on_delta)
        self._final: dict[str, Any] | None = None

    def feed(self, chunk: bytes) -> Progress:
        """Take the bytes of one read.

        Raises:
            StreamTruncated: An event is no JSON.
            BadAnswer: A line is over 1 MiB.
            ProviderError: The stream holds an error.
        """
        if self._final is not None:
            return Progress.OVER
        try:
            events = self._splitter.feed(chunk)
        except LineTooLong as error:
            raise bad_answer(self._origin, f"a stream in which {error}", b"") from None
        return self._take(events)

    def _take(self, events: list[bytes]) -> Progress:
        moved = False
        try:
            for event in events:
                moved = self._event(event) or moved
                if self._final is not None:
                    break  # nothing after the end counts
        finally:
            self._deltas.flush()
        if self._final is not None:
            return Progress.OVER
        return Progress.CONTENT if moved else Progress.NOTHING

    def _event(self, event: bytes) -> bool:
        """Take one event; true when it brought content."""
        try:
            parsed = parse(event)
        except ValueError as error:
            raise truncated(self._origin, f"holds an event that is no JSON ({error})", advice="try again") from None
        if not is_object(parsed):
            return False
        token = parsed.get("token")
        if not isinstance(token, str):
            complaint = complaint_in(parsed)
            if complaint is not None:
                raise classified(self._origin, complaint)
            token = ""
        if token:
            self._deltas.add(token)
        if isinstance(parsed.get("finish_reason"), str):
            self._final = parsed
        return bool(token)

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before the answer did.
        """
        if self._final is None:
            self._take(self._splitter.end())
        if self._final is None:
            raise truncated(
                self._origin,
                "ended without a finish reason",
                advice="try again, or give Kobold(streaming=False) if it never has one",
            )
        return _response(self._deltas.close(), {"finish_reason": self._final["finish_reason"]}, self._origin)
