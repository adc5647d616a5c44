"""A request as the body of a chat completion.

Source: https://platform.openai.com/docs/api-reference/chat/create (2026-02). Instructions go out as `system` for every
model: reasoning models take it for `developer`, and no other vendor knows that word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadRequest
from ..models.message import File, Image, Message, Part, Text, ToolCall
from ..models.settings import Settings
from ..models.values import Data
from ..requests import ProviderRequest
from ._chat_dialect import ChatDialect
from ._classify import Origin
from ._vendor import encoded

__all__ = ["body_of"]

_NOTHING_SET = vars(Settings())  # the usual case: told at a glance, where `given()` walks all fields


def body_of(
    request: ProviderRequest,
    origin: Origin,
    dialect: ChatDialect,
    *,
    stream: bool,
    tools: Sequence[Mapping[str, Any]],
    response_format: Mapping[str, Data] | None,
) -> bytes:
    """The body as bytes; `extra` overrides every field but `stream`.

    Raises:
        BadRequest: A message holds a part this API does not take, or `extra` holds what is no JSON.
    """
    body: dict[str, Any] = {"model": request.model, "messages": _Messages(request, origin, dialect).written()}
    if dialect.defaults:
        body.update(dialect.defaults)
    if vars(request.settings) != _NOTHING_SET:
        for name, value in request.settings.given().items():
            body[dialect.names.get(name, name)] = value
    if tools:
        body["tools"] = tools
    elif dialect.declares_tools:
        body.update(_declared(request.messages))
    if response_format is not None:
        body["response_format"] = response_format
    if stream and dialect.asks_for_usage:
        body["stream_options"] = {"include_usage": True}
    if request.extra:
        body.update(request.extra)
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    else:
        body.pop("stream_options", None)
    return encoded(body, request, origin)


def _declared(messages: tuple[Message, ...]) -> dict[str, Any]:
    """The tools that were called, none of which may be called again."""
    names = dict.fromkeys(call.name for message in messages for call in message.tool_calls)
    if not names:
        return {}
    empty: dict[str, Any] = {"type": "object", "properties": {}}
    tools = [{"type": "function", "function": {"name": name, "parameters": empty}} for name in names]
    return {"tools": tools, "tool_choice": "none"}


class _Messages:
    """Writes the messages of one request."""

    __slots__ = ("_dialect", "_has_calls", "_names", "_origin", "_request")

    def __init__(self, request: ProviderRequest, origin: Origin, dialect: ChatDialect) -> None:
        self._request = request
        self._origin = origin
        self._dialect = dialect
        self._has_calls = False
        self._names: dict[str, str] = {}

    def written(self) -> list[dict[str, Any]]:
        messages = self._request.messages
        if self._dialect.give_back is not None:
            self._has_calls = any(message.tool_calls for message in messages)
        return [self._message(message) for message in messages]

    def _message(self, message: Message) -> dict[str, Any]:
        content = message.content
        made: dict[str, Any] = {
            "role": message.role,
            "content": content if isinstance(content, str) else [self._part(part) for part in content],
        }
        if message.tool_calls:
            made["content"] = made["content"] or None
            made["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.tool_call_id is not None:
            made["tool_call_id"] = self._id(message.tool_call_id)
            if self._dialect.names_tools and message.tool_call_id in self._names:
                made["name"] = self._names[message.tool_call_id]
        if self._dialect.give_back is not None and message.role == "assistant":
            self._dialect.give_back(message, made, self._has_calls)
        return made

    def _call(self, call: ToolCall) -> dict[str, Any]:
        self._names[call.id] = call.name
        return {
            "id": self._id(call.id),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }

    def _id(self, given: str) -> str:
        return given if self._dialect.call_id is None else self._dialect.call_id(given)

    def _part(self, part: Part) -> dict[str, Any]:
        match part:
            case Text():
                return {"type": "text", "text": part.text}
            case Image():
                return {"type": "image_url", "image_url": {"url": part.url}}
            case File():
                made = _file(part) if self._dialect.file is None else self._dialect.file(part)
                if made is None:
                    raise self._refused()
                return made

    def _refused(self) -> BadRequest:
        step = self._request.step
        of = f"of step {step!r} " if step else ""
        return BadRequest(
            f"a message {of}holds a File by address, which {self._origin.provider} does not fetch; give it as a "
            "data: URL",
            provider=self._origin.provider,
            model=self._origin.model,
            step=step,
        )


def _file(part: File) -> dict[str, Any] | None:
    if not part.url.startswith("data:"):
        return None
    return {"type": "file", "file": {"filename": part.name or "file", "file_data": part.url}}
