"""A streamed chat completion, put together as it comes.

Source: https://platform.openai.com/docs/api-reference/chat-streaming (2026-02), and what compatible servers do
otherwise: no `[DONE]`, usage in any chunk or in none, deltas without content, chunks without choices, tool calls
without an index or all under index 0, errors inside the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..requests import ProviderResponse
from ._answers import bad_answer, truncated
from ._chat_answer import PLAIN, Found, arguments_in, first_choice, list_in, text_in
from ._chat_dialect import ChatDialect
from ._chat_errors import BROKEN, broken_off
from ._chat_thinking import Thinking, has_thinking
from ._classify import Origin, classified
from ._loose_json import is_object, mended, parse
from ._sink import Progress
from ._sse import EventSplitter, LineTooLong

__all__ = ["StreamReader"]


class _OpenCalls:
    """The tool calls that are still arriving, in the order in which they began."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[list[str]] = []  # id, name and the pieces of the arguments
        self._by_index: dict[object, list[str]] = {}

    def take(self, given: Mapping[str, Any], position: int) -> None:
        """Take a piece; `position` is its place in the list it came in."""
        function = given.get("function")
        named = function if is_object(function) else {}
        id = given["id"] if isinstance(given.get("id"), str) else ""
        name = named["name"] if isinstance(named.get("name"), str) else ""
        call = self._of(given.get("index"), id, name, position)
        call[0] = call[0] or id
        call[1] = call[1] or name
        call.append(arguments_in(named))

    def _of(self, index: Any, id: str, name: str, position: int) -> list[str]:  # Any: whatever JSON a server sent
        key: object = index if isinstance(index, int) else None
        if key is None:  # without an index, a call goes on until another id comes
            key = id or (next(reversed(self._by_index)) if self._by_index else position)
        call = self._by_index.get(key)
        # Some servers send every call of a turn under index 0: another id and a name begin another call.
        if call is None or (id and name and call[0] and call[0] != id):
            call = ["", ""]
            self._calls.append(call)
            self._by_index.pop(key, None)
            self._by_index[key] = call
        return call

    def all(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments of each."""
        return [(call[0], call[1], "".join(call[2:])) for call in self._calls]


class StreamReader:
    """Takes the bytes of a streamed chat completion and puts the answer together.

    Args:
        on_delta: Called with the text that each read of the network brought.
        wrapped: The answer stands inside an object; it is then given to `on_delta` once, when it is whole.
    """

    def __init__(
        self,
        origin: Origin,
        on_delta: Callable[[str], None],
        *,
        dialect: ChatDialect = PLAIN,
        wrapped: bool = False,
    ) -> None:
        self._origin = origin
        self._on_delta = on_delta
        self._dialect = dialect
        self._wrapped = wrapped
        self._splitter = EventSplitter()
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls = _OpenCalls()
        self._thinking: Thinking | None = None
        self._reason: Any = None  # Any: whatever JSON a server sent
        self._usage: Any = None  # Any: as above
        self._about: Mapping[str, Any] = {}
        self._is_named = False
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
            raise bad_answer(self._origin, f"a stream in which {error}", b"") from None

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
            raise truncated(self._origin, f"holds an event that is no JSON ({error})") from None
        if not is_object(parsed):
            return False
        usage = parsed.get("usage")
        if usage is not None:
            self._usage = usage
        if self._reason is not None:
            return False
        if not self._is_named:  # the first chunk that names a model counts; some begin with one that names nothing
            self._is_named = bool(parsed.get("model"))
            self._about = parsed if self._is_named else self._about or parsed
        choice = first_choice(parsed.get("choices"))
        if choice is None or parsed.get("error"):
            self._complain(parsed)
        if choice is None:
            return False
        moved = self._delta(choice.get("delta"))
        reason = choice.get("finish_reason") or None
        if isinstance(reason, str) and reason in BROKEN:
            raise broken_off(self._origin, self._dialect, reason, choice, parsed)
        self._reason = reason
        return moved

    def _complain(self, parsed: Mapping[str, Any]) -> None:
        complaint = self._dialect.complaint(parsed)
        if complaint is not None:
            raise classified(self._origin, complaint)

    def _delta(self, delta: Any) -> bool:  # Any: whatever JSON a server sent
        if not is_object(delta):
            return False
        content = delta.get("content")
        if isinstance(content, str) and content:
            self._text.append(content)
            if len(delta) == 1 or (len(delta) == 2 and "role" in delta):  # the common case
                return True
        return self._rest(delta, content)

    def _rest(self, delta: dict[str, Any], content: Any) -> bool:  # Any: as above
        """Take what a delta holds besides a text; true when it brought content."""
        if has_thinking(delta):
            if self._thinking is None:
                self._thinking = Thinking()
            self._thinking.take(delta)
            if content and not isinstance(content, str):
                text = text_in(content)
                if text:
                    self._text.append(text)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refusal.append(refusal)
        for position, call in enumerate(list_in(delta.get("tool_calls"))):
            if is_object(call):
                self._calls.take(call, position)
        return any(value for name, value in delta.items() if name != "role")

    def response(self) -> ProviderResponse:
        """The whole answer, once the stream has ended.

        Raises:
            StreamTruncated: It ended before the answer did.
            ContentRefused: The model declined.
        """
        self._take(self._splitter.end())
        if self._reason is None and not self._is_over:
            raise truncated(self._origin, "ended before the answer did")
        if self._half:
            self._on_delta(mended(self._half))
        found = Found(
            text="".join(self._text),
            refusal="".join(self._refusal),
            calls=self._calls.all(),
            reason=self._reason,
            usage=self._dialect.usage(self._usage),
            about=self._about,
            thinking=self._thinking,
        )
        answer = found.response(self._origin, self._dialect, wrapped=self._wrapped)
        if self._wrapped and answer.text:
            self._on_delta(answer.text)
        return answer
