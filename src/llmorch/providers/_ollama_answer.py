"""An answer of Ollama's `/api/chat`, whole or streamed, as a `ProviderResponse`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md and .../api/types.go (2026-11), and what servers that
speak like it do otherwise: no `done_reason`, tool arguments as text, calls without ids, streams under the name of JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ProviderError, StreamTruncated
from ..models.message import ToolCall
from ..requests import ProviderResponse
from ._answers import bad_answer, truncated
from ._classify import Complaint, Origin, classified, complaint_in
from ._deltas import Deltas
from ._loose_json import is_list, is_object, mended, parse, usage_of, written
from ._ndjson import LineSplitter
from ._ollama_request import THINKING
from ._sink import Progress
from ._sse import LineTooLong

__all__ = ["StreamReader", "read_answer"]

_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
_DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_MAX_NANOSECONDS = 2**63


def read_answer(body: bytes, origin: Origin) -> ProviderResponse:
    """The answer in a body that came with status 200.

    Raises:
        BadAnswer: It is no answer of this API.
        StreamTruncated: It is a stream, and its end is missing.
        ProviderError: The body holds an error.
    """
    try:
        parsed = parse(body)
    except ValueError as error:
        if b"\n" in body.strip():  # a stream that calls itself JSON, or that was not asked for
            return _of_lines(body, origin)
        raise bad_answer(origin, f"no JSON ({error})", body) from None
    message = parsed.get("message") if is_object(parsed) else None
    if not is_object(message):
        complaint = _complaint(parsed)
        if complaint is not None:
            raise classified(origin, complaint)
        raise bad_answer(origin, "JSON that is no chat answer", body)
    if parsed.get("done") is False:
        raise truncated(origin, "ended before the answer did")
    gathered = _Gathered()
    gathered.take(message, parsed)
    return gathered.response(_text(message.get("content")), parsed, origin)


def _of_lines(body: bytes, origin: Origin) -> ProviderResponse:
    reader = StreamReader(origin, lambda _: None)
    try:
        reader.feed(body)
        return reader.response()
    except StreamTruncated:
        if reader.has_begun:
            raise
        raise bad_answer(origin, "no JSON", body) from None


def _complaint(parsed: Any) -> Complaint | None:  # Any: whatever JSON a server sent
    """What the server says went wrong; `message`, where other vendors say it, is the answer here."""
    return complaint_in({name: parsed.get(name) for name in ("error", "detail")}) if is_object(parsed) else None


def _text(given: Any) -> str:  # Any: whatever JSON a server sent
    return given if isinstance(given, str) else ""


class _Gathered:
    """What an answer holds besides its text."""

    __slots__ = ("_calls", "_thinking")

    def __init__(self) -> None:
        self._thinking: list[str] = []
        self._calls: dict[str, ToolCall] = {}

    def take(self, message: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        """Take the thinking and the tool calls of one event; true when there were any."""
        thinking = _text(message.get("thinking"))
        if thinking:
            self._thinking.append(thinking)
        known = len(self._calls)
        calls = message.get("tool_calls")
        for given in calls if is_list(calls) else ():
            self._call(given, event)
        return bool(thinking) or len(self._calls) > known

    def _call(self, given: Any, event: Mapping[str, Any]) -> None:  # Any: whatever JSON a server sent
        function = given.get("function") if is_object(given) else None
        if not is_object(function) or not isinstance(function.get("name"), str) or not function["name"]:
            return
        arguments = function.get("arguments")
        name = mended(function["name"])
        text = mended(written(arguments)) if arguments is not None else "{}"
        told = given.get("id")
        key = mended(told) if isinstance(told, str) else ""
        if not key or key in self._calls:  # most versions give none; the same bytes make the same one
            seed = f"{written(event.get('created_at'))}\0{len(self._calls)}\0{name}\0{text}"
            key = f"call_{hashlib.sha256(seed.encode('utf-8', 'replace')).hexdigest()[:16]}"
        self._calls[key] = ToolCall(key, name, text)

    def response(self, text: str, final: Mapping[str, Any], origin: Origin) -> ProviderResponse:
        """The whole answer, given the event that ended it."""
        reason = final.get("done_reason")
        told = _REASONS.get(reason, "other") if isinstance(reason, str) else "other"
        raw: dict[str, Any] = {"finish_reason": mended(reason) if isinstance(reason, str) else None}
        for name in _DURATIONS:
            span = final.get(name)
            if type(span) is int and 0 <= span < _MAX_NANOSECONDS:
                raw[name] = span
        if self._thinking and self._calls:
            raw["replay"] = {THINKING: mended("".join(self._thinking))}
        model = final.get("model")
        counts = {"prompt_tokens": final.get("prompt_eval_count"), "completion_tokens": final.get("eval_count")}
        return ProviderResponse(
            text=mended(text),
            tool_calls=tuple(self._calls.values()),
            usage=usage_of(counts),
            finish_reason="tool_calls" if self._calls and told in ("stop", "other") else told,
            model=mended(model) if isinstance(model, str) and model else origin.model,
            raw=raw,
        )


class StreamReader:
    """Takes the bytes of a streamed answer, one JSON object a line, and puts the answer together.

    Args:
        on_delta: Called with the text that each read of the network brought.
    """

    def __init__(self, origin: Origin, on_delta: Callable[[str], None]) -> None:
        self._origin = origin
        self._splitter = LineSplitter()
        self._deltas = Deltas(on_delta)
        self._gathered = _Gathered()
        self._final: Mapping[str, Any] | None = None
        self.has_begun = False

    def feed(self, chunk: bytes) -> Progress:
        """Take the bytes of one read.

        Raises:
            StreamTruncated: A line is no JSON.
            BadAnswer: A line is over 1 MiB.
            ProviderError: The stream holds an error.
        """
        if self._final is not None:
            return Progress.OVER
        try:
            return self._take(self._splitter.feed(chunk))
        except LineTooLong as error:
            raise bad_answer(self._origin, f"a stream in which {error}", b"") from None

    def _take(self, lines: list[bytes]) -> Progress:
        moved = False
        failure: ProviderError | None = None
        for line in lines:
            try:
                moved = self._line(line) or moved
            except ProviderError as error:
                failure = error
                break
            if self._final is not None:
                break  # nothing after the end counts
        self._deltas.flush()
        if failure is not None:
            raise failure
        if self._final is not None:
            return Progress.OVER
        return Progress.CONTENT if moved else Progress.NOTHING

    def _line(self, line: bytes) -> bool:
        """Take one line; true when it brought content."""
        try:
            event = parse(line)
        except ValueError as error:
            raise truncated(self._origin, f"holds a line that is no JSON ({error})") from None
        self.has_begun = True
        if not is_object(event):
            return False
        message = event.get("message")
        if not is_object(message):
            complaint = _complaint(event)
            if complaint is not None:
                raise classified(self._origin, complaint)
            message = {}
        content = _text(message.get("content"))
        if content:
            self._deltas.add(content)
        moved = self._gathered.take(message, event) if len(message) > 2 or not content else False
        if event.get("done") is True:
            self._final = event
        return bool(content) or moved

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before the answer did.
        """
        if self._final is None:
            self._take(self._splitter.end())
        if self._final is None:
            raise truncated(self._origin, "ended before the answer did")
        return self._gathered.response(self._deltas.close(), self._final, self._origin)
