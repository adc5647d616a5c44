"""A request as the body of a chat completion.

Source: https://platform.openai.com/docs/api-reference/chat/create (2026-02).
"""

from __future__ import annotations

from typing import Any

from ..errors import BadRequest
from ..models.message import File, Image, Message, Part, Text
from ..models.settings import Settings
from ..models.values import Data
from ..requests import ProviderRequest
from ._classify import Origin
from ._vendor import encoded

__all__ = ["body_of"]

_NOTHING_SET = vars(Settings())  # the usual case: told at a glance, where `given()` walks all fields


def body_of(
    request: ProviderRequest,
    origin: Origin,
    *,
    stream: bool,
    max_tokens_name: str,
    response_format: dict[str, Data] | None,
) -> bytes:
    """The body as bytes; `extra` overrides every field but `stream`.

    Raises:
        BadRequest: A message holds a part this API does not take, or `extra` holds what is no JSON.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, origin, request.step) for message in request.messages],
    }
    if vars(request.settings) != _NOTHING_SET:
        for name, value in request.settings.given().items():
            body[max_tokens_name if name == "max_tokens" else name] = value
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in request.tools
        ]
    if response_format is not None:
        body["response_format"] = response_format
    if stream:
        body["stream_options"] = {"include_usage": True}
    if request.extra:
        body.update(request.extra)
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    else:
        body.pop("stream_options", None)
    return encoded(body, request, origin)


def _message(message: Message, origin: Origin, step: str | None) -> dict[str, Any]:
    content = message.content
    made: dict[str, Any] = {
        "role": message.role,
        "content": content if isinstance(content, str) else [_part(part, origin, step) for part in content],
    }
    if message.tool_calls:
        made["content"] = made["content"] or None
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made


def _part(part: Part, origin: Origin, step: str | None) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": {"url": part.url}}
        case File() if part.url.startswith("data:"):
            return {"type": "file", "file": {"filename": part.name or "file", "file_data": part.url}}
        case File():
            raise BadRequest(
                f"a message {_of(step)}holds a File by address, which {origin.provider} does not fetch; give it as a "
                "data: URL",
                provider=origin.provider,
                model=origin.model,
                step=step,
            )


def _of(step: str | None) -> str:
    return f"of step {step!r} " if step else ""
