"""A chat completion, whole or streamed, as a `ProviderResponse`.

Source: https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming (2026-02), and what compatible
servers do otherwise: no `[DONE]`, usage in any chunk or in none, deltas without content, chunks without choices, the
finish reason `stop` after tool calls, content in parts, arguments as objects, errors under status 200.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import _json
from ..errors import BadAnswer, ContentRefused, StreamTruncated
from ..models.message import ToolCall
from ..models.usage import Usage
from ..requests import ProviderResponse
from ._chat_schema import WRAPPED
from ._classify import Origin, classified, complaint_in, shorten
from ._loose_json import is_list, is_object, mended, parse, usage_of, written
from ._sink import Progress
from ._sse import EventSplitter, LineTooLong

__all__ = ["StreamReader", "read_answer"]

_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def read_answer(body: bytes, origin: Origin, *, wrapped: bool = False) -> ProviderResponse:
    """The answer in a body that came with status 200.

    Raises:
        BadAnswer: It is no chat completion.
        ContentRefused: The model declined.
        ProviderError: The body holds an error.
    """
    try:
        parsed = parse(body)
    except ValueError as error:
        raise _bad_answer(origin, f"no JSON ({error})", body) from None
    complaint = complaint_in(parsed)
    if complaint is not None and not parsed.get("choices"):
        raise classified(origin, complaint)
    choice = _first(parsed.get("choices")) if is_object(parsed) else None
    message = choice.get("message") if choice is not None else None
    if choice is None or not is_object(message):
        raise _bad_answer(origin, "JSON that is no chat completion", body)
    return _response(
        origin,
        text=_text(message.get("content")),
        refusal=_text(message.get("refusal")),
        calls=_tool_calls(message.get("tool_calls")),
        reason=choice.get("finish_reason"),
        usage=usage_of(parsed.get("usage")),
        parsed=parsed,
        wrapped=wrapped,
    )


def _response(
    origin: Origin,
    *,
    text: str,
    refusal: str,
    calls: tuple[ToolCall, ...],
    reason: Any,  # Any: whatever JSON a server sent
    usage: Usage | None,
    parsed: Mapping[str, Any],
    wrapped: bool,
) -> ProviderResponse:
    text = mended(text)
    if refusal or reason == "content_filter":
        said = mended(refusal) or text
        raise ContentRefused(
            f"{origin.provider} model {origin.model!r} declined to answer: {shorten(said) or 'no explanation'}; change "
            "the prompt or add a fallback",
            text=said,
            provider=origin.provider,
            model=origin.model,
            status=200,
        )
    told = _REASONS.get(reason, "other") if isinstance(reason, str) else "other"
    model = parsed.get("model")
    raw: dict[str, Any] = {"finish_reason": mended(reason) if isinstance(reason, str) else None}
    for name in ("id", "system_fingerprint", "service_tier"):
        if isinstance(parsed.get(name), str):
            raw[name] = mended(parsed[name])
    return ProviderResponse(
        text=_unwrapped(text) if wrapped else text,
        tool_calls=calls,
        usage=usage,
        finish_reason="tool_calls" if calls and told in ("stop", "other") else told,
        model=mended(model) if isinstance(model, str) and model else origin.model,
        raw=raw,
    )


def _unwrapped(text: str) -> str:
    """The value inside the object that stood around it; any other text stays for the output check to judge."""
    try:
        parsed = _json.loads(text)
        return _json.dumps(parsed[WRAPPED]) if is_object(parsed) and list(parsed) == [WRAPPED] else text
    except (ValueError, RecursionError):
        return text


def _bad_answer(origin: Origin, what: str, body: bytes) -> BadAnswer:
    start = shorten(body[:200].decode("utf-8", "replace"))
    return BadAnswer(
        f"{origin.provider} at {origin.host} answered with {what} for model {origin.model!r}, beginning {start!r}; "
        "check base_url",
        provider=origin.provider,
        model=origin.model,
        status=200,
    )


def _list(given: Any) -> list[Any]:  # Any: whatever JSON a server sent
    return given if is_list(given) else []


def _first(choices: Any) -> Mapping[str, Any] | None:  # Any: as above
    """The answer asked for: the choice of index 0, whatever else `n` brings."""
    for choice in _list(choices):
        if is_object(choice) and not choice.get("index"):
            return choice
    return None


def _text(content: Any) -> str:  # Any: as above
    if isinstance(content, str):
        return content
    if content is None:  # so it is with nearly every refusal
        return ""
    parts = (part.get("text") for part in _list(content) if is_object(part))
    return "".join(part for part in parts if isinstance(part, str))


def _tool_calls(given: Any) -> tuple[ToolCall, ...]:  # Any: as above
    if not given:
        return ()
    calls = [_tool_call(call, index) for index, call in enumerate(_list(given))]
    return tuple(call for call in calls if call is not None)


def _tool_call(given: Any, index: int) -> ToolCall | None:  # Any: as above
    function = given.get("function") if is_object(given) else None
    if not is_object(function) or not isinstance(function.get("name"), str):
        return None
    return ToolCall(
        mended(str(given.get("id") or f"call_{index}")),
        mended(function["name"]),
        mended(_arguments(function.get("arguments"))),
    )


def _arguments(given: Any) -> str:  # Any: as above
    return written(given) if given is not None else ""


class _OpenCall:
    """A tool call that is still arriving."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class StreamReader:
    """Takes the bytes of a streamed chat completion and puts the answer together.

    Args:
        on_delta: Called with the text that each read of the network brought.
        wrapped: The answer stands inside an object; it is then given to `on_delta` once, when it is whole.
    """

    def __init__(self, origin: Origin, on_delta: Callable[[str], None], *, wrapped: bool = False) -> None:
        self._origin = origin
        self._on_delta = on_delta
        self._wrapped = wrapped
        self._splitter = EventSplitter()
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[object, _OpenCall] = {}
        self._reason: Any = None  # Any: whatever JSON a server sent
        self._usage: Any = None  # Any: as above
        self._about: Mapping[str, Any] = {}
        self._half = ""
        self._is_over = False

    def feed(self, chunk: bytes) -> Progress:
        """Take the bytes of one read.

        Raises:
            StreamTruncated: An event is no JSON.
            BadAnswer: A line is over 1 MiB.
            ProviderError: The stream holds an error.
        """
        try:
            return self._take(self._splitter.feed(chunk))
        except LineTooLong as error:
            if self._reason is not None:
                return Progress.OVER
            raise _bad_answer(self._origin, f"a stream in which {error}", b"") from None

    def _take(self, events: list[bytes]) -> Progress:
        start = len(self._text)
        moved = False
        for event in events:
            if event == b"[DONE]":
                self._is_over = True
                break
            moved = self._event(event) or moved
        if len(self._text) > start:
            self._deliver("".join(self._text[start:]) if len(self._text) > start + 1 else self._text[start])
        if self._is_over:
            return Progress.OVER
        if self._reason is not None:
            return Progress.COMPLETE
        return Progress.CONTENT if moved else Progress.NOTHING

    def _deliver(self, text: str) -> None:
        if self._wrapped:
            return
        if self._half or not text.isascii():
            text = self._half + text
            self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
            text = mended(text[:-1] if self._half else text)
        if text:
            self._on_delta(text)

    def _event(self, event: bytes) -> bool:
        """Take one event; true when it brought content."""
        try:
            parsed = parse(event)
        except ValueError as error:
            if self._reason is not None:
                return False  # the answer is complete: nothing after its end counts
            raise self._truncated(f"holds an event that is no JSON ({error})") from None
        if not is_object(parsed):
            return False
        usage = parsed.get("usage")
        if usage is not None:
            self._usage = usage
        if self._reason is not None:
            return False
        self._about = self._about or parsed
        choice = _first(parsed.get("choices"))
        if choice is None:
            complaint = complaint_in(parsed)
            if complaint is not None:
                raise classified(self._origin, complaint)
            return False
        moved = self._delta(choice.get("delta"))
        self._reason = choice.get("finish_reason") or None
        return moved

    def _delta(self, delta: Any) -> bool:  # Any: whatever JSON a server sent
        if not is_object(delta):
            return False
        content = delta.get("content")
        if content:
            text = content if isinstance(content, str) else _text(content)
            if text:
                self._text.append(text)
            if len(delta) <= 2:  # content, and perhaps the role: the common case
                return True
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refusal.append(refusal)
        for position, call in enumerate(_list(delta.get("tool_calls"))):
            if is_object(call):
                self._tool_delta(call, position)
        return any(value for name, value in delta.items() if name != "role")

    def _tool_delta(self, given: dict[str, Any], position: int) -> None:
        key = given.get("index")
        if not isinstance(key, int):  # without an index, a call goes on until another id comes
            key = given.get("id") or (next(reversed(self._calls)) if self._calls else position)
        call = self._calls.setdefault(key, _OpenCall()) if isinstance(key, int | str) else _OpenCall()
        function = given.get("function")
        if isinstance(given.get("id"), str):
            call.id = call.id or given["id"]
        if is_object(function):
            if isinstance(function.get("name"), str):
                call.name = call.name or function["name"]
            call.arguments.append(_arguments(function.get("arguments")))

    def _truncated(self, what: str) -> StreamTruncated:
        return StreamTruncated(
            f"the stream of {self._origin.provider} at {self._origin.host} for model {self._origin.model!r} {what}; "
            "try again",
            provider=self._origin.provider,
            model=self._origin.model,
            status=200,
        )

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before the answer did.
            ContentRefused: The model declined.
        """
        self._take(self._splitter.end())
        if self._reason is None and not self._is_over:
            raise self._truncated("ended before the answer did")
        if self._half:
            self._on_delta(mended(self._half))
        calls = (
            ToolCall(mended(call.id or f"call_{index}"), mended(call.name), mended("".join(call.arguments)))
            for index, call in enumerate(self._calls.values())
        )
        answer = _response(
            self._origin,
            text="".join(self._text),
            refusal="".join(self._refusal),
            calls=tuple(call for call in calls if call.name),
            reason=self._reason,
            usage=usage_of(self._usage),
            parsed=self._about,
            wrapped=self._wrapped,
        )
        if self._wrapped and answer.text:
            self._on_delta(answer.text)
        return answer
