"""A request as the body of Ollama's `/api/chat`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md and .../api/types.go (2026-11).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from .. import _json
from ..errors import BadRequest
from ..models.message import File, Image, Message, Text, ToolCall
from ..models.values import Data
from ..requests import ProviderRequest
from ._classify import Origin
from ._loose_json import is_object
from ._ollama_schema import answer_schema, tool_schema
from ._vendor import encoded

__all__ = ["THINKING", "body_of"]

THINKING = "ollama_thinking"
"""Under which name a model's thinking is kept with a message that called tools."""


def body_of(request: ProviderRequest, origin: Origin, *, stream: bool, options: Mapping[str, Data]) -> bytes:
    """The body as bytes; `extra` overrides every field but `stream`, and its `options` one by one.

    Args:
        options: Model options of every request; the settings of the call override them.

    Raises:
        BadRequest: A message holds what this API does not take, or `extra` holds what is no JSON.
    """
    body: dict[str, Any] = {"model": request.model, "messages": _messages(request, origin)}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": _read(tool_schema, tool.schema, request, origin),
                },
            }
            for tool in request.tools
        ]
    if request.output_schema is not None:
        body["format"] = _read(answer_schema, request.output_schema, request, origin)
    body.update(request.extra)
    chosen = _options(request, origin, options)
    if chosen:
        body["options"] = chosen
    body["stream"] = stream  # unset would mean a stream
    return encoded(body, request, origin)


def _options(request: ProviderRequest, origin: Origin, options: Mapping[str, Data]) -> dict[str, Any]:
    given = request.settings.given()
    if "max_tokens" in given:
        given["num_predict"] = given.pop("max_tokens")
    own = request.extra.get("options")
    if own is not None and not isinstance(own, Mapping):
        raise _refused("has options= in extra that are no mapping; give them as {'num_ctx': 8192}", request, origin)
    return {**options, **given, **(own or {})}


def _read(make: Any, schema: Mapping[str, Data], request: ProviderRequest, origin: Origin) -> Any:  # Any: JSON data
    try:
        return make(schema)
    except (TypeError, ValueError) as error:
        raise _refused(f"has a schema that cannot be written as JSON ({error}); check it", request, origin) from None


def _messages(request: ProviderRequest, origin: Origin) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    made: list[dict[str, Any]] = []
    for message in request.messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        made.append(_message(message, names, request, origin))
    return made


def _message(message: Message, names: Mapping[str, str], request: ProviderRequest, origin: Origin) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    if not isinstance(message.content, str):
        images = _images(message.content, request, origin)
        if images:
            made["images"] = images
    thinking = message.vendor.get(THINKING)
    if message.role == "assistant" and isinstance(thinking, str) and thinking:
        made["thinking"] = thinking
    if message.tool_calls:
        made["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        if message.tool_call_id in names:
            made["tool_name"] = names[message.tool_call_id]
        made["tool_call_id"] = message.tool_call_id
    return made


def _call(call: ToolCall) -> dict[str, Any]:
    """A call with its arguments as an object, which is all Ollama reads."""
    try:
        arguments = _json.loads(call.arguments or "{}")
        _json.dumps(arguments)  # NaN is read, but is no JSON
    except (ValueError, RecursionError):
        arguments = None
    if not is_object(arguments):
        arguments = {"arguments": call.arguments}
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}


def _images(parts: Sequence[Text | Image | File], request: ProviderRequest, origin: Origin) -> list[str]:
    images: list[str] = []
    for part in parts:
        if isinstance(part, File):
            raise _refused("holds a File, which Ollama does not take; give its text", request, origin)
        if isinstance(part, Image):
            images.append(_image(part.url, request, origin))
    return images


def _image(url: str, request: ProviderRequest, origin: Origin) -> str:
    """The bytes of a `data:` URL in base64."""
    head, comma, data = url.partition(",")
    if not comma or head[:5].lower() != "data:":
        raise _refused(
            "holds an Image by address, which Ollama does not fetch; give it as a data: URL", request, origin
        )
    raw = unquote_to_bytes(data)
    if head.lower().endswith(";base64"):
        raw = b"".join(raw.split())
        try:
            raw = base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
        except binascii.Error as error:
            raise _refused(f"holds an Image whose data: URL is no base64 ({error})", request, origin) from None
    if not raw:
        raise _refused("holds an Image without bytes", request, origin)
    return base64.b64encode(raw).decode("ascii")


def _refused(what: str, request: ProviderRequest, origin: Origin) -> BadRequest:
    of = f"of step {request.step!r} " if request.step else ""
    return BadRequest(
        f"a request {of}to {origin.provider} {what}", provider=origin.provider, model=origin.model, step=request.step
    )
