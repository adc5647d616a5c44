"""A message, whole or streamed, as a `ProviderResponse`.

Source: https://platform.claude.com/docs/en/api/messages/create and .../docs/en/build-with-claude/streaming (2026-11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import ContentRefused
from ..models.message import ToolCall
from ..models.usage import Usage
from ..requests import ProviderResponse
from ._answers import bad_answer, refused, truncated
from ._anthropic_request import REPLAY
from ._classify import Origin, classified, complaint_in
from ._loose_json import count_of, is_list, is_object, mended, parse, part_of, written
from ._sink import Progress
from ._sse import EventSplitter, LineTooLong

__all__ = ["StreamReader", "read_answer"]

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
_PLAIN = ("text", "tool_use")
_PIECES = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
_ARGUMENTS = ("input_json_delta", "partial_json")


class _Block:
    """One content block, perhaps still arriving."""

    __slots__ = ("given", "kind", "parts")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self.kind = given["type"] if isinstance(given.get("type"), str) else ""
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        """The text, the thinking or the arguments, as far as it has come."""
        name = "input" if self.kind == "tool_use" else "thinking" if self.kind == "thinking" else "text"
        start = self.given.get(name)
        if self.kind == "tool_use":  # a stream begins with {}, and says the rest in pieces
            return "".join(self.parts) or (written(start) if start is not None else "")
        return "".join([start if isinstance(start, str) else "", *self.parts])

    def kept(self, call_id: str) -> dict[str, Any]:
        """The block as the vendor wants it back; the arguments are left to the call."""
        made = {name: _plain(item) for name, item in self.given.items() if item is not None}
        if self.kind == "tool_use":
            made.pop("input", None)
            return {**made, "id": call_id}
        if self.kind in ("text", "thinking"):
            made[self.kind] = mended(self.text)
        elif self.parts:  # a tool the server itself has called
            made["input"] = _plain(_loaded("".join(self.parts)))
        return made


def read_answer(body: bytes, origin: Origin) -> ProviderResponse:
    """The answer in a body that came with status 200.

    Raises:
        BadAnswer: It is no message.
        ContentRefused: The model declined.
        ProviderError: The body holds an error.
    """
    try:
        parsed = parse(body)
    except ValueError as error:
        raise bad_answer(origin, f"no JSON ({error})", body) from None
    content = parsed.get("content") if is_object(parsed) else None
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not is_list(content):
        complaint = complaint_in(parsed)
        if complaint is not None:
            raise classified(origin, complaint)
        raise bad_answer(origin, "JSON that is no message", body)
    blocks = [_Block(block) for block in content if is_object(block)]
    text = "".join([block.text for block in blocks if block.kind == "text"])
    return _response(origin, blocks, text=text, about=parsed, final=parsed, usage=parsed.get("usage"))


def _response(
    origin: Origin,
    blocks: Collection[_Block],
    *,
    text: str,
    about: Mapping[str, Any],
    final: Mapping[str, Any],
    usage: Any,  # Any: whatever JSON a server sent
) -> ProviderResponse:
    """The answer; `about` tells of the model, `final` why it ended."""
    text = mended(text)
    reason = final.get("stop_reason")
    if reason == "refusal":
        raise _refused(origin, text, final.get("stop_details"))
    calls, replay = _used(blocks)
    told = _REASONS.get(reason, "other") if isinstance(reason, str) else "other"
    raw: dict[str, Any] = {"finish_reason": mended(reason) if isinstance(reason, str) else None}
    for name, source in (("id", about), ("stop_sequence", final)):
        if isinstance(source.get(name), str):
            raw[name] = mended(source[name])
    if replay:
        raw["replay"] = {REPLAY: replay}
    model = about.get("model")
    return ProviderResponse(
        text=text,
        tool_calls=tuple(calls),
        usage=_usage(usage),
        finish_reason="tool_calls" if calls and told in ("stop", "other") else told,
        model=mended(model) if isinstance(model, str) and model else origin.model,
        raw=raw,
    )


def _used(blocks: Collection[_Block]) -> tuple[list[ToolCall], list[dict[str, Any]]]:
    """The calls of tools, and the blocks where the vendor wants them back beside the calls."""
    calls: list[ToolCall] = []
    replay: list[dict[str, Any]] = []
    if all(block.kind == "text" for block in blocks):  # the usual case
        return calls, replay
    for block in blocks:
        call = _call(block, len(calls))
        calls += [call] if call is not None else []
        if call is not None or block.kind not in ("tool_use", ""):
            replay.append(block.kept(call.id if call is not None else ""))
    is_wanted = calls and any(block.get("type") not in _PLAIN for block in replay)
    return calls, replay if is_wanted else []


def _call(block: _Block, index: int) -> ToolCall | None:
    name = block.given.get("name")
    if block.kind != "tool_use" or not isinstance(name, str) or not name:
        return None
    return ToolCall(mended(str(block.given.get("id") or f"call_{index}")), mended(name), mended(block.text))


def _refused(origin: Origin, text: str, details: Any) -> ContentRefused:  # Any: whatever JSON a server sent
    explained = details.get("explanation") or details.get("category") if is_object(details) else None
    why = explained if isinstance(explained, str) else text
    return refused(origin, why, text=text or mended(why))


def _usage(given: Any) -> Usage | None:  # Any: whatever JSON a server sent
    """The tokens of one call: what was read from the cache and written to it is input, too."""
    if not is_object(given):
        return None
    fresh, said = count_of(given.get("input_tokens")), count_of(given.get("output_tokens"))
    read, stored = given.get("cache_read_input_tokens"), given.get("cache_creation_input_tokens")
    cached = 0 if read is None else count_of(read)
    kept = 0 if stored is None else count_of(stored)
    if fresh is None or said is None or cached is None or kept is None:
        return None
    details = given.get("output_tokens_details")
    thought = part_of(details, "thinking_tokens", said) if details is not None else 0
    return Usage(fresh + cached + kept, said, cached, kept, thought, 1)


def _plain(value: Any) -> Any:  # Any: whatever JSON a server sent
    """The value as it can be stored: texts mended, numbers finite."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if is_list(value):
        return [_plain(item) for item in value]
    if is_object(value):
        return {mended(name): _plain(item) for name, item in value.items()}
    return value


def _loaded(text: str) -> Any:  # Any: as above
    try:
        return parse(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return {}


class StreamReader:
    """Takes the bytes of a streamed message and puts the answer together.

    Args:
        on_delta: Called with the text that each read of the network brought.
    """

    def __init__(self, origin: Origin, on_delta: Callable[[str], None]) -> None:
        self._origin = origin
        self._on_delta = on_delta
        self._splitter = EventSplitter()
        self._text: list[str] = []
        self._blocks: dict[object, _Block] = {}
        self._about: Mapping[str, Any] = {}
        self._final: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._is_counted = False
        self._half = ""
        self._thinks = False
        self._is_over = False

    def feed(self, chunk: bytes) -> Progress:
        """Take the bytes of one read.

        Raises:
            StreamTruncated: An event is no JSON.
            BadAnswer: A line is over 1 MiB.
            ProviderError: The stream holds an error.
        """
        if self._is_over:
            return Progress.OVER
        try:
            return self._take(self._splitter.feed(chunk))
        except LineTooLong as error:
            raise bad_answer(self._origin, f"a stream in which {error}", b"") from None

    def _take(self, events: list[bytes]) -> Progress:
        start = len(self._text)
        moved = False
        for event in events:
            moved = self._event(event) or moved
            if self._is_over:
                break
        if len(self._text) > start:
            self._deliver("".join(self._text[start:]))
        if self._is_over:
            return Progress.OVER
        return Progress.CONTENT if moved else Progress.NOTHING

    def _deliver(self, text: str) -> None:
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
            raise truncated(self._origin, f"holds an event that is no JSON ({error})") from None
        if not is_object(parsed):
            return False
        kind = parsed.get("type")
        if kind == "content_block_delta":
            return self._delta(parsed.get("index"), parsed.get("delta"))
        if kind == "content_block_start":
            return self._begun(parsed.get("index"), parsed.get("content_block"))
        if kind == "content_block_stop":
            self._thinks = False
        elif kind == "message_start" and is_object(parsed.get("message")):
            self._about = parsed["message"]
            self._count(self._about.get("usage"))
        elif kind == "message_delta":
            self._ended(parsed)
        elif kind == "message_stop":
            self._is_over = True
        elif kind == "ping":
            return self._thinks  # thinking that is not shown sends nothing else, for minutes
        else:
            self._other(parsed)
        return False

    def _other(self, parsed: dict[str, Any]) -> None:
        complaint = complaint_in(parsed) if parsed.get("type") == "error" or "error" in parsed else None
        if complaint is not None:
            raise classified(self._origin, complaint)

    def _begun(self, index: Any, given: Any) -> bool:  # Any: whatever JSON a server sent
        if not is_object(given):
            return False
        block = self._blocks[_key(index)] = _Block(given)
        self._thinks = block.kind == "thinking"
        if block.kind == "text" and block.text:
            self._text.append(block.text)
        return True

    def _delta(self, index: Any, delta: Any) -> bool:  # Any: as above
        if not is_object(delta):
            return False
        kind = delta.get("type")
        block = self._blocks.get(_key(index))
        if block is None:
            block = self._blocks[_key(index)] = _Block({"type": "text" if kind == "text_delta" else ""})
        if kind == "signature_delta":
            block.given["signature"] = delta.get("signature")
            return True
        if kind == "citations_delta":
            known = block.given.get("citations")
            block.given["citations"] = [*(known if is_list(known) else []), delta.get("citation")]
            return True
        wanted, name = _PIECES.get(block.kind, _ARGUMENTS)
        piece = delta.get(name)
        if kind != wanted or not isinstance(piece, str) or not piece:
            return False
        block.parts.append(piece)
        if block.kind == "text":
            self._text.append(piece)
        return True

    def _ended(self, parsed: dict[str, Any]) -> None:
        delta = parsed.get("delta")
        if is_object(delta):
            self._final.update((name, item) for name, item in delta.items() if item is not None)
        usage = parsed.get("usage")
        self._is_counted = self._is_counted or (is_object(usage) and usage.get("output_tokens") is not None)
        self._count(usage)

    def _count(self, usage: Any) -> None:  # Any: whatever JSON a server sent
        """Counts are totals so far: a later one replaces an earlier one, and none means no news."""
        if is_object(usage):
            self._usage.update((name, item) for name, item in usage.items() if item is not None)

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before `message_stop`.
            ContentRefused: The model declined.
        """
        if not self._is_over:
            self._take(self._splitter.end())
        if not self._is_over:
            raise truncated(self._origin, "ended before the answer did")
        if self._half:
            self._on_delta(mended(self._half))
            self._half = ""
        return _response(
            self._origin,
            self._blocks.values(),
            text="".join(self._text),
            about=self._about,
            final=self._final,
            usage=self._usage if self._is_counted else None,  # the count at the start holds none of the answer
        )


def _key(index: Any) -> object:  # Any: whatever JSON a server sent
    return index if isinstance(index, int | str) else None
