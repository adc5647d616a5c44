"""A chat completion as a `ProviderResponse`; here in one piece, in `_chat_stream` as it comes.

Source: https://platform.openai.com/docs/api-reference/chat/object (2026-02), and what compatible servers do otherwise:
the finish reason `stop` after tool calls, content in parts, arguments as objects, ids missing or given twice, thinking
beside the text, errors under status 200.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import _json
from ..models.message import ToolCall
from ..models.usage import Usage
from ..requests import ProviderResponse
from ._answers import bad_answer, refused
from ._chat_dialect import ChatDialect
from ._chat_errors import BROKEN, broken_off
from ._chat_schema import WRAPPED
from ._chat_thinking import Thinking, as_data, has_thinking
from ._classify import Origin, classified
from ._loose_json import is_list, is_object, mended, parse, written

__all__ = ["PLAIN", "Found", "arguments_in", "first_choice", "list_in", "read_answer", "text_in"]

PLAIN = ChatDialect()
"""What is taken for granted of a server that is only known to speak chat completions."""

_REASONS = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def read_answer(
    body: bytes, origin: Origin, *, dialect: ChatDialect = PLAIN, wrapped: bool = False
) -> ProviderResponse:
    """The answer in a body that came with status 200.

    Args:
        wrapped: The answer stands inside an object, under `value`.

    Raises:
        BadAnswer: It is no chat completion.
        ContentRefused: The model declined.
        ProviderError: The body holds an error.
    """
    try:
        parsed = parse(body)
    except ValueError as error:
        raise bad_answer(origin, f"no JSON ({error})", body) from None
    complaint = dialect.complaint(parsed)
    if complaint is not None and not parsed.get("choices"):
        raise classified(origin, complaint)
    choice = first_choice(parsed.get("choices")) if is_object(parsed) else None
    message = choice.get("message") if choice is not None else None
    reason = choice.get("finish_reason") if choice is not None else None
    if choice is not None and isinstance(reason, str) and reason in BROKEN:
        raise broken_off(origin, dialect, reason, choice, parsed)
    if not is_object(message):
        raise bad_answer(origin, "JSON that is no chat completion", body)
    thinking = None
    if has_thinking(message):
        thinking = Thinking()
        thinking.take(message)
    found = Found(
        text=text_in(message.get("content")),
        refusal=text_in(message.get("refusal")),
        calls=_tool_calls(message.get("tool_calls")),
        reason=reason,
        usage=dialect.usage(parsed.get("usage")),
        about=parsed,
        thinking=thinking,
    )
    return found.response(origin, dialect, wrapped=wrapped)


@dataclass(slots=True)
class Found:
    """What an answer held, whole or streamed.

    Attributes:
        calls: Id, name and arguments of each tool call.
        reason: The finish reason, of whatever type the server sent.
        about: The object that holds the model's name and the ids.
    """

    text: str
    refusal: str
    calls: list[tuple[str, str, str]]
    reason: Any  # Any: whatever JSON a server sent
    usage: Usage | None
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    thinking: Thinking | None = None

    def response(self, origin: Origin, dialect: ChatDialect, *, wrapped: bool) -> ProviderResponse:
        """All of it as an answer.

        Raises:
            ContentRefused: The model declined.
        """
        text = mended(self.text)
        if self.refusal or self.reason == "content_filter":
            raise refused(origin, mended(self.refusal) or text)
        told = _REASONS.get(self.reason, "other") if isinstance(self.reason, str) else "other"
        model = self.about.get("model")
        calls = _made(self.calls) if self.calls else ()
        return ProviderResponse(
            text=_unwrapped(text) if wrapped else text,
            tool_calls=calls,
            usage=self.usage,
            finish_reason="tool_calls" if calls and told in ("stop", "other") else told,
            model=mended(model) if isinstance(model, str) and model else origin.model,
            raw=self._raw(dialect, has_calls=bool(calls)),
        )

    def _raw(self, dialect: ChatDialect, *, has_calls: bool) -> dict[str, Any]:
        raw: dict[str, Any] = {"finish_reason": mended(self.reason) if isinstance(self.reason, str) else None}
        for name in ("id", "system_fingerprint", "service_tier"):
            if isinstance(self.about.get(name), str):
                raw[name] = mended(self.about[name])
        if self.thinking is not None:
            if self.thinking.excerpt:
                raw["reasoning"] = self.thinking.excerpt
            replay = as_data(dialect.replay(self.thinking)) if dialect.replay is not None and has_calls else None
            if replay:
                raw["replay"] = replay
        return raw


def _unwrapped(text: str) -> str:
    """The value inside the object that stood around it; any other text stays for the output check to judge."""
    try:
        parsed = _json.loads(text)
        return _json.dumps(parsed[WRAPPED]) if is_object(parsed) and list(parsed) == [WRAPPED] else text
    except (ValueError, RecursionError):
        return text


def _made(given: Iterable[tuple[str, str, str]]) -> tuple[ToolCall, ...]:
    """The calls that have a name, each under an id of its own."""
    made: dict[str, ToolCall] = {}
    for index, (id, name, arguments) in enumerate(given):
        if name:
            own = mended(id)
            if not own or own == "null" or own in made:
                own = f"call_{index}"
            while own in made:
                own += "_"
            made[own] = ToolCall(own, mended(name), mended(arguments))
    return tuple(made.values())


def list_in(given: Any) -> list[Any]:  # Any: whatever JSON a server sent
    """The list, or an empty one for anything else."""
    return given if is_list(given) else []


def first_choice(choices: Any) -> Mapping[str, Any] | None:  # Any: as above
    """The answer asked for: the choice of index 0, whatever else `n` brings."""
    if is_list(choices):
        for choice in choices:
            if is_object(choice) and not choice.get("index"):
                return choice
    return None


def text_in(content: Any) -> str:  # Any: as above
    """The text of a content, which may come in parts; thinking among them is no text."""
    if isinstance(content, str):
        return content
    if content is None:  # so it is with nearly every refusal
        return ""
    parts = (part.get("text") for part in list_in(content) if is_object(part))
    return "".join(part for part in parts if isinstance(part, str))


def _tool_calls(given: Any) -> list[tuple[str, str, str]]:  # Any: as above
    found: list[tuple[str, str, str]] = []
    for call in list_in(given):
        function = call.get("function") if is_object(call) else None
        if is_object(function) and isinstance(function.get("name"), str):
            found.append((str(call.get("id") or ""), function["name"], arguments_in(function)))
    return found


def arguments_in(function: Mapping[str, Any]) -> str:
    """The arguments' JSON text; some servers send them as an object."""
    given = function.get("arguments")
    return written(given) if given is not None else ""
